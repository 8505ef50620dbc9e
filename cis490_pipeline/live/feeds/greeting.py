"""Receiver's side of the greeting: a connection shows that it holds the token before it is read.

The agent's side is in `collect`, which says what is sent; `live` imports nothing of it, and a test
lets the two meet.
"""

import hmac
import os
import secrets
import stat
from pathlib import Path
from typing import Final

from cis490_pipeline.errors import ConfigError
from cis490_pipeline.storage.files import open_regular

GREETING_S: Final = 10.0
"""Time that a connection has to show the token."""
MAX_ANSWER_BYTES: Final = 256
MIN_TOKEN_BYTES: Final = 16
MAX_TOKEN_BYTES: Final = 4096
_NONCE_BYTES: Final = 32
_HEX: Final = frozenset(b"0123456789abcdef")


class ReceiverGreeting:
    """Greeting of one connection.

    Attributes
    ----------
    challenge : what to send first.
    """

    def __init__(self, token: bytes) -> None:
        self._token = token
        self._nonce = secrets.token_hex(_NONCE_BYTES).encode()
        self.challenge = b"CIS490 1 " + self._nonce + b"\n"

    def accept(self, answer: bytes) -> bytes | None:
        """Return the acceptance to send, or None if the answer does not show the token.

        Parameters
        ----------
        answer : a line without its line feed.
        """
        theirs, _, shown = answer.partition(b" ")
        if len(theirs) != 2 * _NONCE_BYTES or not _HEX.issuperset(theirs):
            return None
        nonces = self._nonce + theirs
        if not hmac.compare_digest(shown, self._proof(b"agent", nonces)):
            return None
        # Shown in turn, so that an agent sends no rows to another listener on this port.
        return b"OK " + self._proof(b"receiver", nonces) + b"\n"

    def _proof(self, side: bytes, nonces: bytes) -> bytes:
        return hmac.new(self._token, side + nonces, "sha256").hexdigest().encode()


def read_token(path: Path) -> bytes:
    """Read the token from a file.

    Raises
    ------
    ConfigError
        If it is no regular file, too short, too long, or readable by every user.
    """
    try:
        with open_regular(path) as stream:
            mode = os.fstat(stream.fileno()).st_mode
            token = stream.read(MAX_TOKEN_BYTES + 1).strip()
    except OSError as fault:
        raise ConfigError(f"{path}: {fault.strerror}; wanted a file with the token") from fault
    if mode & stat.S_IRWXO:
        raise ConfigError(f"{path} can be read by every user; run: chmod 600 {path}")
    if not MIN_TOKEN_BYTES <= len(token) <= MAX_TOKEN_BYTES:
        raise ConfigError(
            f"{path} holds {len(token)} bytes; wanted {MIN_TOKEN_BYTES} to {MAX_TOKEN_BYTES}, "
            "such as the output of: openssl rand -hex 32"
        )
    return token
