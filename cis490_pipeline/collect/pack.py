"""Pack the agent as one file that runs on a bare Python 3.9 or later, without this package."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

SHEBANG = b"#!/usr/bin/env python3\n"
LEFT_OUT = frozenset({"pack.py"})
_EPOCH = (1980, 1, 1, 0, 0, 0)
_FILE_MODE = 0o100644 << 16
_MAIN = """\
# Syntax of every Python 3, and of 2: an older one reads this far and says what is wrong.
import sys

if sys.version_info < (3, 9):
    sys.exit("this agent needs Python 3.9 or later, got %d.%d" % sys.version_info[:2])

from cis490_pipeline.collect.entry import main

sys.exit(main())
"""
_ROOT = '"""The agent alone; the package itself is not needed."""\n'


def packed() -> bytes:
    """Return the archive: the same bytes for the same source, on every machine.

    Nothing is compressed: a bare Python may lack zlib, and a start would take longer.
    """
    stream = io.BytesIO()
    stream.write(SHEBANG)
    with zipfile.ZipFile(stream, "a", zipfile.ZIP_STORED) as archive:
        for name, text in sorted(_files().items()):
            info = zipfile.ZipInfo(name, _EPOCH)
            info.create_system = 3
            info.external_attr = _FILE_MODE
            archive.writestr(info, text)
    return stream.getvalue()


def write_pack(path: Path) -> int:
    """Write the archive as an executable file and return its size in bytes."""
    content = packed()
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_bytes(content)
        beside.chmod(0o755)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    return len(content)


def _files() -> dict[str, bytes]:
    folder = Path(__file__).parent
    files = {
        f"cis490_pipeline/collect/{path.relative_to(folder).as_posix()}": path.read_bytes()
        for path in folder.rglob("*.py")
        if path.name not in LEFT_OUT
    }
    files["cis490_pipeline/__init__.py"] = _ROOT.encode()
    files["__main__.py"] = _MAIN.encode()
    return files
