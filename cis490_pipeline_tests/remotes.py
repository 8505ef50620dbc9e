"""Places elsewhere for tests: an S3 server on this machine, and fsspec's own file systems."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec
import pytest
import s3fs

from cis490_pipeline.domain import Address


def upload(folder: Path, address: Address) -> None:
    """Copy a folder's files to an address, as somebody's own tool would."""
    fs = fsspec.filesystem(address.protocol)
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            fs.pipe_file(f"{address}/{path.relative_to(folder).as_posix()}", path.read_bytes())


def contents(address: Address) -> dict[str, bytes]:
    """Return every file below an address, by relative name."""
    fs = fsspec.filesystem(address.protocol)
    fs.invalidate_cache()
    root = fs._strip_protocol(str(address))
    return {name.removeprefix(f"{root}/"): fs.cat_file(name) for name in fs.find(root)}


def replace(address: Address, name: str, content: bytes) -> None:
    fs = fsspec.filesystem(address.protocol)
    if address.protocol == "file":
        # As another machine does it: a new file renamed over the old one.
        fs.rm_file(f"{address}/{name}")
    fs.pipe_file(f"{address}/{name}", content)


@contextmanager
def counted_requests(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[tuple[str, str]]]:
    """Count requests to S3 of this process, by method and key."""
    seen: Counter[tuple[str, str]] = Counter()
    call = s3fs.S3FileSystem._call_s3

    async def count(self: Any, method: str, *args: Any, **kwargs: Any) -> Any:
        seen[method, str(kwargs.get("Key", kwargs.get("Prefix", "")))] += 1
        return await call(self, method, *args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(s3fs.S3FileSystem, "_call_s3", count)
        yield seen
