"""The page's files, read once and served from memory under their digests."""

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
"""What is served, by ending; other files (licences, the list of vendored ones) stay here."""


@dataclass(frozen=True, slots=True)
class PageFile:
    """One file as it is served."""

    body: bytes
    content_type: str
    etag: str


def load_files(folder: Path = FOLDER) -> dict[str, PageFile]:
    """Read every file of the page, by its path below the folder."""
    files = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix in TYPES and path.is_file():
            body = path.read_bytes()
            etag = hashlib.sha256(body).hexdigest()[:20]
            name = path.relative_to(folder).as_posix()
            files[name] = PageFile(body, TYPES[path.suffix], etag)
    return files
