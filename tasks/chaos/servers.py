"""The object store that chaos breaks: S3 over HTTP behind a proxy that loses one call in twenty."""

import logging
import random
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import cycle
from urllib.parse import parse_qs, urlsplit

from tasks.errors import ConfigError
from tasks.store.faults import Fault, faulty_proxy

TIMEOUT_SECONDS = 2.0  # how long a chaos worker's client waits for an answer: less than HANG_SECONDS
HANG_SECONDS = 3.0
PART_BYTES = 16 << 10  # a segment's latents are larger, so they go up in parts


@dataclass
class Faults:
    """Breaks a share of all requests, the kinds of each verb in turn, and counts. `share` may change at any time."""

    share: float
    seed: int
    requests: Counter[str] = field(default_factory=Counter)
    broken: Counter[tuple[str, Fault]] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._random, self._lock = random.Random(self.seed), threading.Lock()
        self._turns: defaultdict[str, Iterator[Fault]] = defaultdict(lambda: cycle(Fault))

    def choose(self, method: str, path: str) -> Fault | None:
        """Return what goes wrong with a request."""
        verb = verb_of(method, path)
        with self._lock:
            self.requests[verb] += 1
            if self._random.random() >= self.share:
                return None
            fault = next(self._turns[verb])
            self.broken[verb, fault] += 1
            return fault

    def broken_of(self, verb: str) -> int:
        """Return how many requests of a verb were broken."""
        return sum(self.broken[verb, fault] for fault in Fault)


def verb_of(method: str, path: str) -> str:
    """Return what S3 calls a request: a listing is more than a GET, a part is not a whole object."""
    asked = parse_qs(urlsplit(path).query, keep_blank_values=True)
    if method == "GET" and "list-type" in asked:
        return "LIST"
    return "PUT part" if method == "PUT" and "partNumber" in asked else method


@contextmanager
def object_store(faults: Faults) -> Iterator[tuple[str, str]]:
    """Yield an S3 address whose calls fail as told, and the address of the same store without faults.

    Raises: ConfigError when the S3 server is not installed.
    """
    try:
        from moto.s3 import models
        from moto.server import ThreadedMotoServer
    except ImportError as exc:
        raise ConfigError("chaos needs an S3 server to break: pip install 'avatar-farm[dev]'") from exc
    import boto3

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    with ExitStack() as stack:
        least = vars(models)["S3_UPLOAD_PART_MIN_SIZE"]
        stack.callback(setattr, models, "S3_UPLOAD_PART_MIN_SIZE", least)
        vars(models)["S3_UPLOAD_PART_MIN_SIZE"] = PART_BYTES
        server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        server.start()
        stack.callback(server.stop)
        host, port = server.get_host_and_port()
        sound = f"http://{host}:{port}"
        boto3.session.Session().client("s3", endpoint_url=sound).create_bucket(Bucket="chaos")
        broken = stack.enter_context(faulty_proxy(sound, faults.choose, hang_seconds=HANG_SECONDS))
        yield broken, sound
