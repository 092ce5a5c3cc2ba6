"""From a path as the manifest writes it to a file inside the manifest's folder, or an s3:// address; nothing else."""

import re
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from tasks.errors import MediaError
from tasks.manifest.findings import did_you_mean

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_S3_PART = r"/[A-Za-z0-9_=+@,~-][A-Za-z0-9._=+@,~-]{0,199}"  # what a store takes as a part of a key
_S3 = re.compile(rf"s3://[a-z0-9][a-z0-9.-]{{1,61}}[a-z0-9]({_S3_PART}){{1,20}}")


class BadMedia(MediaError):
    """A file that a manifest names cannot be used, and by which rule."""

    def __init__(self, rule: str, message: str) -> None:
        super().__init__(message)
        self.rule = rule


def is_s3(text: str) -> bool:
    """Whether the path is an s3:// address rather than a file."""
    return text.startswith("s3://")


def check_s3(text: str) -> None:
    """Refuse an s3 address that names no object. Raises BadMedia."""
    if not _S3.fullmatch(text):
        raise BadMedia(
            "path-s3", f"{text!r} is not an s3 address; write s3://bucket/key, of letters, digits and ._=+@,~-"
        )


def locate(text: str, folder: Path) -> Path:
    """Return the regular file that a manifest's path means.

    Raises: BadMedia when it is absolute, leaves the folder (by `..` or a link), has another scheme or does not exist.
    """
    relative = _relative(text, folder)
    root = folder.resolve()
    try:
        path = (root / relative).resolve()
        exists = path.exists()
    except (OSError, RuntimeError, ValueError) as exc:
        raise BadMedia("path-characters", f"{text!r} cannot be a path; use letters, digits, '-', '_', '/'") from exc
    if not path.is_relative_to(root):
        message = f"{text!r} is a link that leads out of the manifest's folder; copy the file into the folder"
        raise BadMedia("path-link", message)
    if not exists:
        neighbours = [item.name for item in path.parent.iterdir()][:1000] if path.parent.is_dir() else []
        raise BadMedia("media-missing", f"there is no file {text!r}; {_nearest(path.name, neighbours)}")
    if not path.is_file():
        raise BadMedia("media-not-a-file", f"{text!r} is not a regular file; name the file itself")
    return path


def _relative(text: str, folder: Path) -> PurePosixPath:
    if "\0" in text or "\\" in text or any(ord(character) < 32 for character in text):
        raise BadMedia("path-characters", f"{text!r} has characters that no path may have; separate folders with '/'")
    if text.lower().startswith("file:"):
        return _from_url(text, folder)
    if _SCHEME.match(text):
        scheme = text.split(":", 1)[0]
        message = f"{text!r} has the scheme {scheme!r}, only files and s3:// are read; download it beside the manifest"
        raise BadMedia("path-scheme", message)
    path = PurePosixPath(text)
    if path.is_absolute() or text.startswith("~"):
        message = f"{text!r} is absolute, paths are relative to the manifest's folder; copy the file there"
        raise BadMedia("path-absolute", message)
    if ".." in path.parts:
        message = f"{text!r} leaves the manifest's folder by '..'; copy the file into the folder"
        raise BadMedia("path-leaves-folder", message)
    return path


def _from_url(text: str, folder: Path) -> PurePosixPath:
    parts = urlsplit(text)
    path = PurePosixPath(unquote(parts.path))
    root = PurePosixPath(folder.resolve())
    if parts.netloc not in ("", "localhost") or ".." in path.parts or "\0" in str(path):
        raise BadMedia("path-scheme", f"{text!r} is not a file of this machine; write a path relative to the manifest")
    if not path.is_relative_to(root):
        raise BadMedia("path-absolute", f"{text!r} lies outside the manifest's folder; copy the file there")
    return path.relative_to(root)


def _nearest(name: str, neighbours: list[str]) -> str:
    if not neighbours:
        return "the folder is not there either; paths are relative to the manifest"
    return did_you_mean(name, neighbours)
