"""An address of a folder elsewhere, as fsspec reads it: ``s3://bucket/prefix``."""

import re
from dataclasses import dataclass
from typing import Final, Self

_PROTOCOL: Final = re.compile(r"[a-z][a-z0-9+.-]*")


@dataclass(frozen=True)
class Address:
    """A folder that is reached through fsspec; holds no secret, so that it may be printed."""

    protocol: str
    path: str
    """What follows ``://``, without a slash at its end: a bucket and a prefix, or a path."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an address.

        Raises
        ------
        ValueError
            If it is none, or holds what an address may not: a user's name or password, a query,
            ``..``, another file system inside. The message does not repeat it: it may be a secret.
        """
        protocol, separator, path = text.strip().partition("://")
        if not separator or not _PROTOCOL.fullmatch(protocol):
            raise ValueError("must be PROTOCOL://PLACE with one protocol, such as s3://bucket/lab")
        if not path.isprintable() or "::" in path or "://" in path:
            raise ValueError(f"must be one {protocol}:// address of printable characters")
        if "@" in path.partition("/")[0]:
            raise ValueError(
                f"{protocol}:// must name a place alone: a user and a password belong into the "
                "environment, or into the file system's own configuration"
            )
        if "?" in path or "#" in path:
            raise ValueError(f"{protocol}:// must be a place without ? and #")
        path = path.rstrip("/")
        parts = path.removeprefix("/").split("/")
        if not path or not {"", ".", ".."}.isdisjoint(parts):
            raise ValueError(f"{protocol}:// must name a place, with no empty part, . or .. in it")
        return cls(protocol, path)

    def __str__(self) -> str:
        return f"{self.protocol}://{self.path}"
