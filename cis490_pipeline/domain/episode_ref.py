"""What names an episode: its host and its ULID, and which texts are such names."""

import re
from dataclasses import dataclass
from typing import Final

HOST_ID_FORM: Final = r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}"
"""A host's name. It is a folder's name as it stands, so it neither begins with a dot nor has a
slash in it."""
# Crockford's base 32 has neither I, L, O nor U; 26 of its characters hold 130 bits, so the first
# stays below 8.
EPISODE_ID_FORM: Final = r"[0-7][0-9A-HJKMNP-TV-Z]{25}"
"""A ULID, in capitals."""
_HOST_ID: Final = re.compile(HOST_ID_FORM)
_EPISODE_ID: Final = re.compile(EPISODE_ID_FORM)


@dataclass(frozen=True, order=True)
class EpisodeRef:
    """One episode of one lab host."""

    host_id: str
    episode_id: str

    def __str__(self) -> str:
        """Return ``host/episode``, as paths and messages name it."""
        return f"{self.host_id}/{self.episode_id}"


def is_host_id(text: str) -> bool:
    """Whether a text is the name of a host, such as ``garage-pi``, ``Lab-NUC`` or ``pi.lab``."""
    return _HOST_ID.fullmatch(text) is not None


def is_episode_id(text: str) -> bool:
    """Whether a text is a ULID: 26 characters of Crockford's base 32, in capitals."""
    return _EPISODE_ID.fullmatch(text) is not None
