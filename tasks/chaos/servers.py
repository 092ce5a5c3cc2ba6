"""The object store that chaos breaks: S3 over HTTP behind a proxy that loses one call in twenty."""

import logging
import random
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from tasks.errors import ConfigError
from tasks.store.faults import Fault, faulty_proxy

HANG_SECONDS = 0.5


@dataclass
class Faults:
    """Breaks a share of all requests, each kind as often, and counts what it did. `share` may change at any time."""

    share: float
    seed: int
    requests: Counter[str] = field(default_factory=Counter)
    broken: Counter[str] = field(default_factory=Counter)
    by_kind: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._random, self._lock = random.Random(self.seed), threading.Lock()

    def choose(self, verb: str, path: str) -> Fault | None:
        """Return what goes wrong with a request."""
        with self._lock:
            self.requests[verb] += 1
            if self._random.random() >= self.share:
                return None
            fault = self._random.choice(list(Fault))
            self.broken[verb] += 1
            self.by_kind[fault.value] += 1
            return fault


@contextmanager
def object_store(faults: Faults) -> Iterator[tuple[str, str]]:
    """Yield an S3 address whose calls fail as told, and the address of the same store without faults.

    Raises: ConfigError when the S3 server is not installed.
    """
    try:
        from moto.server import ThreadedMotoServer
    except ImportError as exc:
        raise ConfigError("chaos needs an S3 server to break: pip install 'avatar-farm[dev]'") from exc
    import boto3

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    with ExitStack() as stack:
        server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        server.start()
        stack.callback(server.stop)
        host, port = server.get_host_and_port()
        sound = f"http://{host}:{port}"
        boto3.session.Session().client("s3", endpoint_url=sound).create_bucket(Bucket="chaos")
        broken = stack.enter_context(faulty_proxy(sound, faults.choose, hang_seconds=HANG_SECONDS))
        yield broken, sound
