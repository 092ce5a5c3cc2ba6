"""A store in an S3 bucket, at AWS or at any server that speaks S3 and honours `If-None-Match: *`.

Retries are ours, not boto3's, because only we know that a refused put may be our own put whose answer was lost.
"""

import hashlib
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from tasks.errors import ConfigError, ObjectMissing, StoreError
from tasks.store.multipart import PART_BYTES, Upload
from tasks.store.ranges import open_reader
from tasks.store.retry import Retry, TryAgain
from tasks.store.types import ObjectRef, ObjectStat, Source, check_key, content_digest, content_key, digest

T = TypeVar("T")
MARK = "farm-put"  # metadata: which call created the object
MISSING = {"404", "NoSuchKey", "NotFound"}
TAKEN = {"412", "PreconditionFailed"}
PASSING = {"SlowDown", "RequestTimeout", "ConditionalRequestConflict", "OperationAborted", "InternalError", "BadDigest"}
CONFIG = {
    "403": "check the credentials and the bucket's policy",
    "301": "the bucket is in another region; set AWS_DEFAULT_REGION",
    "NoSuchBucket": "create the bucket, or check FARM_STORE",
    "501": "this server cannot put conditionally; the farm needs If-None-Match",
}


class Taken(Exception):
    """Inside: a conditional put found another object."""


class S3Store:
    """Objects below `prefix` in `bucket`; one client, safe to share between threads."""

    def __init__(
        self,
        bucket: str,
        prefix: str = "",
        *,
        endpoint: str = "",
        retry: Retry | None = None,
        timeout_seconds: float = 15.0,  # of silence, not of a transfer; a pod waits for no answer longer than a step
        part_bytes: int = PART_BYTES,
        page_keys: int = 1000,
    ) -> None:
        self._bucket, self._prefix, self._part_bytes = bucket, f"{prefix}/" if prefix else "", part_bytes
        self._page_keys, self._retry = page_keys, retry or Retry()
        self._client = _client(endpoint, timeout_seconds)

    @property
    def url(self) -> str:
        return f"s3://{self._bucket}/{self._prefix}".rstrip("/")

    def put_once(self, key: str, source: Source) -> bool:
        if isinstance(source, bytes) or source.stat().st_size <= self._part_bytes:
            return self._put_small(key, source if isinstance(source, bytes) else source.read_bytes())
        return self._put_large(key, source)

    def put_content(self, source: Source, suffix: str = "") -> ObjectRef:
        sha256, size = digest(source)
        ref = ObjectRef(content_key(sha256, suffix), sha256, size)
        with suppress(ObjectMissing):
            if self.stat(ref.key).size == size:
                return ref
            self.delete(ref.key)  # damaged from outside: S3 never shows half an upload
        self.put_once(ref.key, source)
        return ref

    def get(self, key: str) -> bytes:
        promised = content_digest(key)

        def attempt(_maybe_done: bool) -> bytes:
            data = self._object(key)[1]
            if promised and hashlib.sha256(data).hexdigest() != promised:
                raise TryAgain(f"object {key} in {self.url} arrived with another digest; if this stays, run farm fsck")
            return data

        return self._run(f"get {key}", attempt)

    def fetch(self, key: str, path: Path) -> None:
        size, promised, running = self.stat(key).size, content_digest(key), hashlib.sha256()
        temporary = path.with_name(f".{path.name}-{uuid.uuid4().hex}.tmp")
        try:
            with temporary.open("xb") as file:
                for start in range(0, size, self._part_bytes):
                    part = self._read_range(key, start, min(self._part_bytes, size - start))
                    running.update(part)
                    file.write(part)
            if promised and running.hexdigest() != promised:
                raise StoreError(f"object {key} in {self.url} is damaged: its bytes have another digest; run farm fsck")
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)

    def open_range(self, key: str, start: int = 0, num_bytes: int | None = None) -> BinaryIO:
        return open_reader(lambda at, wanted: self._read_range(key, at, wanted), self.stat(key).size, start, num_bytes)

    def stat(self, key: str) -> ObjectStat:
        head = self._call(f"stat {key}", self._client.head_object, **self._place(key))
        return ObjectStat(key, int(head["ContentLength"]), head["LastModified"].timestamp())

    def exists(self, key: str) -> bool:
        try:
            self.stat(key)
        except ObjectMissing:
            return False
        return True

    def list(self, prefix: str = "") -> Iterator[ObjectStat]:
        page: dict[str, Any] = {"NextContinuationToken": None}
        while "NextContinuationToken" in page:
            token = page["NextContinuationToken"]
            more = {"ContinuationToken": token} if token else {}
            place = {"Bucket": self._bucket, "Prefix": self._prefix + prefix, "MaxKeys": self._page_keys}
            page = self._call(f"list {prefix}", self._client.list_objects_v2, **place, **more)
            for entry in page.get("Contents", ()):
                key = str(entry["Key"]).removeprefix(self._prefix)
                yield ObjectStat(key, int(entry["Size"]), entry["LastModified"].timestamp())

    def delete(self, key: str) -> None:
        with suppress(ObjectMissing):
            self._call(f"delete {key}", self._client.delete_object, **self._place(key))

    def write_pointer(self, key: str, value: bytes) -> None:
        self._call(f"point {key}", self._client.put_object, **self._place(key), Body=value)

    def swap_pointer(self, key: str, expected: bytes, value: bytes) -> bool:
        mark = uuid.uuid4().hex

        def attempt(maybe_done: bool) -> bool:
            try:
                now, held = self._object(key)
                if maybe_done and now["Metadata"].get(MARK) == mark:
                    return True
                if held != expected:
                    return False
                place = {**self._place(key), "IfMatch": now["ETag"], "Metadata": {MARK: mark}}
                self._send(self._client.put_object, **place, Body=value)
            except (Taken, ObjectMissing):
                return False
            return True

        return self._run(f"point {key}", attempt)

    def sweep(self, older_than_seconds: float) -> int:
        page = self._call("list uploads", self._client.list_multipart_uploads, Bucket=self._bucket, Prefix=self._prefix)
        limit = time.time() - older_than_seconds
        old = [upload for upload in page.get("Uploads", ()) if upload["Initiated"].timestamp() < limit]
        for upload in old:
            place = {"Bucket": self._bucket, "Key": upload["Key"], "UploadId": upload["UploadId"]}
            with suppress(ObjectMissing):
                self._call("abort upload", self._client.abort_multipart_upload, **place)
        return len(old)

    def _place(self, key: str) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": self._prefix + check_key(key)}

    def _put_small(self, key: str, data: bytes) -> bool:
        mark = uuid.uuid4().hex
        place = {**self._place(key), "IfNoneMatch": "*", "Metadata": {MARK: mark}}

        def attempt(maybe_done: bool) -> bool:
            try:
                self._send(self._client.put_object, **place, Body=data)
            except Taken:
                return maybe_done and self._made_by(key, mark)
            return True

        return self._run(f"put {key}", attempt)

    def _put_large(self, key: str, path: Path) -> bool:
        mark = uuid.uuid4().hex
        place = self._place(key)
        if self.exists(key):
            return False
        upload = Upload(self._client, place, path, self._part_bytes)
        self._call(f"put {key}", upload.begin, metadata={MARK: mark})
        try:
            for number in upload.part_numbers():
                self._call(f"put {key} part {number}", upload.send, number=number)

            def complete(maybe_done: bool) -> bool:
                try:
                    self._guard(upload.complete)
                except (Taken, ObjectMissing):  # the upload is gone once it is complete
                    return maybe_done and self._made_by(key, mark)
                return True

            created = self._run(f"put {key}", complete)
        except BaseException:
            upload.abandon()
            raise
        if not created:
            upload.abandon()
        return created

    def _made_by(self, key: str, mark: str) -> bool:
        """Tell whether the object that is in the way is the one this very call put."""
        try:
            return bool(self._send(self._client.head_object, **self._place(key))["Metadata"].get(MARK) == mark)
        except ObjectMissing as exc:
            raise TryAgain("the object in the way has gone") from exc

    def _object(self, key: str, **more: str) -> tuple[dict[str, Any], bytes]:
        def read() -> tuple[dict[str, Any], bytes]:
            answer = self._client.get_object(**self._place(key), **more)
            body = answer["Body"]  # not `with body as ...`: that yields the raw stream, without botocore's checks
            try:
                return answer, bytes(body.read())
            finally:
                body.close()

        return self._guard(read)

    def _read_range(self, key: str, start: int, num_bytes: int) -> bytes:
        def attempt(_maybe_done: bool) -> bytes:
            _, data = self._object(key, Range=f"bytes={start}-{start + num_bytes - 1}")
            if len(data) != num_bytes:
                raise TryAgain(f"{len(data)} of {num_bytes} bytes arrived")
            return data

        return self._run(f"get {key}", attempt)

    def _call(self, what: str, action: Callable[..., Any], **kwargs: object) -> Any:
        return self._run(what, lambda _maybe_done: self._send(action, **kwargs))

    def _run(self, what: str, attempt: Callable[[bool], T]) -> T:
        try:
            return self._retry.run(what, attempt)
        except ObjectMissing as exc:
            raise ObjectMissing(f"{what}: not in {self.url}") from exc

    def _send(self, action: Callable[..., Any], **kwargs: object) -> Any:
        return self._guard(lambda: action(**kwargs))

    def _guard(self, action: Callable[[], T]) -> T:
        """Run one request and sort its failure. Raises: TryAgain, Taken, ObjectMissing, ConfigError, StoreError."""
        from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

        try:
            return action()
        except ClientError as exc:
            raise self._sorted(exc.response) from exc
        except NoCredentialsError as exc:
            raise ConfigError(f"{self.url}: {exc}; set AWS_ACCESS_KEY_ID or give the pod a role") from exc
        except BotoCoreError as exc:  # connection, time-out, truncated body, checksum
            raise TryAgain(str(exc)) from exc

    def _sorted(self, response: dict[str, Any]) -> Exception:
        error, status = response.get("Error", {}), int(response["ResponseMetadata"]["HTTPStatusCode"])
        code, said = str(error.get("Code", "")), str(error.get("Message", ""))
        advice = CONFIG.get(code) or CONFIG.get(str(status))
        if advice:
            return ConfigError(f"{self.url}: {code} {said}; {advice}")
        if code in MISSING or code == "NoSuchUpload":
            return ObjectMissing(code)
        if code in TAKEN:
            return Taken()
        if code in PASSING or status >= 500 or status == 429:
            return TryAgain(f"{status} {code} {said}")
        return StoreError(f"{self.url}: {status} {code} {said}")


def _client(endpoint: str, timeout_seconds: float) -> Any:
    import boto3
    from botocore.config import Config
    from botocore.session import get_session

    config = Config(
        retries={"total_max_attempts": 1},
        connect_timeout=min(10.0, timeout_seconds),
        read_timeout=timeout_seconds,
        max_pool_connections=16,
        s3={"addressing_style": "path"} if endpoint else {},
    )
    # A session of our own: the default session is not safe to use from two threads at once.
    session = get_session()
    session.register_component("data_loader", _service_models())
    return boto3.session.Session(botocore_session=session).client("s3", endpoint_url=endpoint or None, config=config)


@lru_cache(maxsize=1)
def _service_models() -> Any:
    """Return what knows S3's interface: read and parsed once for all of a process's stores, and of its forks'."""
    from botocore.loaders import create_loader

    return create_loader()
