"""Real servers for tests: S3 over HTTP and PostgreSQL, each started once per test process on demand."""

import atexit
import logging
import uuid
from functools import lru_cache
from typing import Any


@lru_cache(maxsize=1)
def s3_endpoint() -> str:
    """Start an S3 server on a free port of 127.0.0.1 and return its address."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    atexit.register(server.stop)
    host, port = server.get_host_and_port()
    return f"http://{host}:{port}"


@lru_cache(maxsize=1)
def s3_client() -> Any:
    """Return a plain client of the S3 server."""
    import boto3

    return boto3.session.Session().client("s3", endpoint_url=s3_endpoint())


def new_bucket() -> str:
    """Create an empty bucket on the S3 server and return its name."""
    name = f"farm-{uuid.uuid4().hex[:12]}"
    s3_client().create_bucket(Bucket=name)
    return name
