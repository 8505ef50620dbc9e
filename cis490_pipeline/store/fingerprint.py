"""What a process sees of a receiver's store: whether another machine looks at the same one."""

import hashlib
from dataclasses import dataclass

from cis490_pipeline.store.receiver import ReceiverStore


@dataclass(frozen=True)
class StoreFingerprint:
    """Called, it says what is seen of a store; printed, it names the store. It pickles.

    Raises
    ------
    StoreError
        When called, if there is no such store.
    """

    store: ReceiverStore

    def __call__(self) -> str:
        """Return a SHA-256 (hex) of the index's first line: it stays, however the store grows.

        Without an index, of whether there is any episode.
        """
        with self.store.index_lines() as lines:
            first = next(iter(lines), b"")
        if not first:
            first = b"no index, " + (b"episodes" if any(self.store.listed()) else b"no episodes")
        return hashlib.sha256(first).hexdigest()

    def __str__(self) -> str:
        return self.store.name
