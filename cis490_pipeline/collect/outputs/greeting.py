"""Challenge and response by which an agent and its receiver show that both hold one token.

Notes
-----
The receiver begins::

    receiver  CIS490 1 <its nonce>
    agent     <its nonce> HMAC-SHA256(token, "agent" + both nonces)
    receiver  OK HMAC-SHA256(token, "receiver" + both nonces)      or      NO <why>

The token itself is never sent, and an answer is of no use in another connection. Rows follow in
clear: they are neither secret nor protected from a change under way.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from importlib import import_module
from typing import Any

NONCE_BYTES = 32
MIN_TOKEN_BYTES = 16
MAX_TOKEN_BYTES = 4096
VERSION = b"1"
_BLOCK_BYTES = 64
_INNER = bytes(byte ^ 0x36 for byte in range(256))
_OUTER = bytes(byte ^ 0x5C for byte in range(256))


class GreetingError(Exception):
    """The other side is refused, or refuses."""


class Greeting:
    """The agent's side of the greeting.

    Attributes
    ----------
    done : whether both sides have shown the token.
    """

    def __init__(self, token: bytes) -> None:
        self.done = False
        self._token = token
        self._nonces: bytes | None = None

    def take(self, line: bytes) -> bytes:
        """Take a line of the receiver's and return what to send; nothing once it is accepted.

        Raises
        ------
        GreetingError
            If the receiver refuses, or does not hold the token.
        """
        words = line.split()
        if self._nonces is None:
            if len(words) != 3 or words[:2] != [b"CIS490", VERSION] or not _is_nonce(words[2]):
                raise GreetingError(f"got {line[:60]!r} for a challenge; wanted CIS490 1 NONCE")
            mine = os.urandom(NONCE_BYTES).hex().encode()
            self._nonces = words[2] + mine
            return mine + b" " + proof(self._token, b"agent", self._nonces) + b"\n"
        if words[:1] == [b"NO"]:
            raise GreetingError(f"was refused: {line[3:200].decode('utf-8', 'replace')}")
        wanted = proof(self._token, b"receiver", self._nonces)
        if len(words) != 2 or words[0] != b"OK" or not _is_same(words[1], wanted):
            raise GreetingError("the receiver does not hold the token: nothing was sent to it")
        self.done = True
        return b""


def proof(token: bytes, side: bytes, nonces: bytes) -> bytes:
    """Return a side's proof that it holds the token, as hexadecimal digits."""
    return hmac_sha256(token, side + nonces).hex().encode()


def hmac_sha256(key: bytes, message: bytes) -> bytes:
    """Return HMAC-SHA256 (RFC 2104), by the interpreter's own SHA-256.

    `hmac` and `hashlib` load OpenSSL, which takes a quarter of what an agent takes in all.
    """
    sha256 = _sha256()
    key = (sha256(key).digest() if len(key) > _BLOCK_BYTES else key).ljust(_BLOCK_BYTES, b"\0")
    inner = sha256(key.translate(_INNER) + message).digest()
    digest: bytes = sha256(key.translate(_OUTER) + inner).digest()
    return digest


def _sha256() -> Callable[[bytes], Any]:
    # Its name until 3.11, from 3.12 on, and of an interpreter built without it.
    for name in ("_sha256", "_sha2", "hashlib"):
        try:
            found: Callable[[bytes], Any] = import_module(name).sha256
        except ImportError:
            continue
        return found
    raise ImportError("this Python has no SHA-256, which --token-file needs")


def _is_same(a: bytes, b: bytes) -> bool:
    """Compare so that the time taken says nothing of where they differ."""
    key = os.urandom(NONCE_BYTES)
    return hmac_sha256(key, a) == hmac_sha256(key, b)


def read_token(path: str) -> bytes:
    """Read a token from a file.

    Raises
    ------
    ValueError
        If it is no file, too short or too long, or readable by all users.
    """
    try:
        # A pipe in its place would keep the agent waiting for a writer.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            mode = os.fstat(fd).st_mode
            token = os.read(fd, MAX_TOKEN_BYTES + 1).strip() if stat.S_ISREG(mode) else b""
        finally:
            os.close(fd)
    except OSError as fault:
        raise ValueError(f"{path}: {fault.strerror}; wanted a file that holds the token") from fault
    if not stat.S_ISREG(mode):
        raise ValueError(f"{path} is no regular file; wanted a file that holds the token")
    if mode & stat.S_IRWXO:
        raise ValueError(f"{path} can be read by every user; run: chmod 600 {path}")
    if not MIN_TOKEN_BYTES <= len(token) <= MAX_TOKEN_BYTES:
        raise ValueError(
            f"{path} holds {len(token)} bytes; wanted {MIN_TOKEN_BYTES} to {MAX_TOKEN_BYTES}, "
            "such as the output of: openssl rand -hex 32"
        )
    return token


def _is_nonce(word: bytes) -> bool:
    return len(word) == 2 * NONCE_BYTES and all(c in b"0123456789abcdef" for c in word)
