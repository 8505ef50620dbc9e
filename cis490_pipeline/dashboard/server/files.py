"""Static files of the page, read once and served from memory with their digests as ETags."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parents[1] / "static"
TYPES: Final = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
"""Content types of served files; others (licences, the list of vendored files) are not served."""


@dataclass(frozen=True, slots=True)
class PageFile:
    """Static file with its type and ETag."""

    body: bytes
    content_type: str
    etag: str


def load_files(folder: Path = FOLDER) -> dict[str, PageFile]:
    """Read all static files, by path below the folder."""
    files = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix in TYPES and path.is_file():
            body = path.read_bytes()
            etag = hashlib.sha256(body).hexdigest()[:20]
            name = path.relative_to(folder).as_posix()
            files[name] = PageFile(body, TYPES[path.suffix], etag)
    return files
