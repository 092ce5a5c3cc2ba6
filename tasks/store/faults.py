"""An HTTP proxy that breaks answers on purpose, to show that the store survives it.

Used by the store's tests and by `farm chaos`. It passes requests on to a real S3 server and, when its `choose` function
says so, answers with an error instead, hangs, cuts the body short, or loses the answer after the server did the work.
"""

import http.client
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


class Fault(StrEnum):
    """What goes wrong with one request."""

    ERROR_500 = "500"
    ERROR_503 = "503"
    TIMEOUT = "timeout"  # never answered, never done
    TRUNCATED = "truncated"  # done; the answer's body ends half-way (or, having none, is lost)
    LOST_ANSWER = "lost answer"  # done; the connection closes before the answer


Choose = Callable[[str, str], Fault | None]  # (verb, path with query) -> what to break


@contextmanager
def faulty_proxy(endpoint: str, choose: Choose, *, hang_seconds: float = 30.0) -> Iterator[str]:
    """Serve on a free port of 127.0.0.1 and yield the address to use in place of `endpoint`."""
    server = _Proxy(endpoint, choose, hang_seconds)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Proxy(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = True

    def __init__(self, endpoint: str, choose: Choose, hang_seconds: float) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.backend = urlsplit(endpoint).netloc
        self.choose, self.hang_seconds = choose, hang_seconds
        self.closing = threading.Event()

    def handle_error(self, request: object, client_address: object) -> None:
        """Keep quiet: connections that break are what this server is for."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Proxy

    def handle_one_request(self) -> None:
        self.raw_requestline = self.rfile.readline(65537)
        if not self.raw_requestline:
            self.close_connection = True
        elif self.parse_request():
            self._serve()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (the base class names it so)
        """Log nothing."""

    def _serve(self) -> None:
        body = self._request_body()
        fault = self.server.choose(self.command, self.path)
        if fault is Fault.TIMEOUT:
            self.server.closing.wait(self.server.hang_seconds)
            return self._hang_up()
        if fault in (Fault.ERROR_500, Fault.ERROR_503):
            return self._answer(int(fault), {}, b"", len(b""))
        status, headers, data = self._pass_on(body)
        if fault is Fault.LOST_ANSWER or (fault is Fault.TRUNCATED and not data):
            return self._hang_up()
        whole = int(headers.get("Content-Length", len(data)))  # HEAD names a length without sending it
        if fault is Fault.TRUNCATED:
            self._answer(status, headers, data[: len(data) // 2], whole)
            return self._hang_up()
        return self._answer(status, headers, data, whole)

    def _request_body(self) -> bytes:
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            return self._chunked_body()
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _chunked_body(self) -> bytes:
        data = bytearray()
        while size := int(self.rfile.readline().split(b";")[0], 16):
            data += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return bytes(data)

    def _pass_on(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection(self.server.backend, timeout=60)
        try:
            headers = {k: v for k, v in self.headers.items() if k.lower() not in ("transfer-encoding", "expect")}
            connection.request(self.command, self.path, body, {**headers, "Content-Length": str(len(body))})
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()

    def _answer(self, status: int, headers: dict[str, str], data: bytes, length: int) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in ("content-length", "connection", "transfer-encoding"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(data)
        self.wfile.flush()

    def _hang_up(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)
