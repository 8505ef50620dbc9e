"""Episode references: host id and ULID, with the validation of both."""

import re
from dataclasses import dataclass
from typing import Final

HOST_ID_FORM: Final = r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}"
"""Pattern of a host id. It is used verbatim as a folder name: no slash, no leading dot."""
# Crockford's base 32 omits I, L, O and U. 26 characters hold 130 bits and a ULID has 128, so the
# first stays below 8.
EPISODE_ID_FORM: Final = r"[0-7][0-9A-HJKMNP-TV-Z]{25}"
"""Pattern of an upper-case ULID."""
_HOST_ID: Final = re.compile(HOST_ID_FORM)
_EPISODE_ID: Final = re.compile(EPISODE_ID_FORM)


@dataclass(frozen=True, order=True)
class EpisodeRef:
    """Reference to one episode of one lab host."""

    host_id: str
    episode_id: str

    def __str__(self) -> str:
        """Return ``host/episode``, as paths and messages name it."""
        return f"{self.host_id}/{self.episode_id}"


def is_host_id(text: str) -> bool:
    """Whether a text is a valid host id, such as ``garage-pi``, ``Lab-NUC`` or ``pi.lab``."""
    return _HOST_ID.fullmatch(text) is not None


def is_episode_id(text: str) -> bool:
    """Whether a text is a ULID: 26 upper-case characters of Crockford's base 32."""
    return _EPISODE_ID.fullmatch(text) is not None
