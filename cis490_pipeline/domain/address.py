"""Address of a remote folder in fsspec notation: ``s3://bucket/prefix``."""

import re
from dataclasses import dataclass
from typing import Final, Self

_PROTOCOL: Final = re.compile(r"[a-z][a-z0-9+.-]*")


@dataclass(frozen=True)
class Address:
    """A remote folder, reached through fsspec; never holds credentials, so it is safe to print."""

    protocol: str
    path: str
    """The part after ``://`` without a trailing slash: bucket and prefix, or a path."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse and validate an address.

        Raises `ValueError` if the text is malformed, or has user info, a query, ``..`` or a chained
        file system. The message does not repeat the text, which may contain a secret.
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
