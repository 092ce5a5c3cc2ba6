"""One multipart upload: parts may be sent again, and only completing it makes an object."""

from contextlib import suppress
from pathlib import Path
from typing import Any

PART_BYTES = 32 << 20  # up to 10,000 parts: objects of 320 GB


class Upload:
    """Send `path` to `place` (Bucket, Key) in parts of `part_bytes`; nothing is visible before complete()."""

    def __init__(self, client: Any, place: dict[str, str], path: Path, part_bytes: int) -> None:
        self._client, self._place, self._path, self._part_bytes = client, place, path, part_bytes
        self._id = ""
        self._etags: dict[int, str] = {}

    def begin(self, metadata: dict[str, str]) -> None:
        """Open the upload."""
        self._id = self._client.create_multipart_upload(**self._place, Metadata=metadata)["UploadId"]

    def part_numbers(self) -> range:
        """Return the parts' numbers, from 1."""
        return range(1, -(-self._path.stat().st_size // self._part_bytes) + 1)

    def send(self, number: int) -> None:
        """Send one part; sending it again replaces it."""
        with self._path.open("rb") as file:
            file.seek((number - 1) * self._part_bytes)
            data = file.read(self._part_bytes)
        answer = self._client.upload_part(**self._place, UploadId=self._id, PartNumber=number, Body=data)
        self._etags[number] = answer["ETag"]

    def complete(self) -> None:
        """Make the object, if its key is still free."""
        parts = [{"ETag": etag, "PartNumber": number} for number, etag in sorted(self._etags.items())]
        self._client.complete_multipart_upload(
            **self._place, UploadId=self._id, MultipartUpload={"Parts": parts}, IfNoneMatch="*"
        )

    def abandon(self) -> None:
        """Give the parts back; what fails here is swept later."""
        from botocore.exceptions import BotoCoreError, ClientError

        with suppress(BotoCoreError, ClientError):
            self._client.abort_multipart_upload(**self._place, UploadId=self._id)
