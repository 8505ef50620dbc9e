"""Store fingerprint, to check that two machines read the same receiver store."""

import hashlib
from dataclasses import dataclass

from cis490_pipeline.store.receiver import ReceiverStore


@dataclass(frozen=True)
class StoreFingerprint:
    """Picklable function that fingerprints a store; its ``str`` is the store's name."""

    store: ReceiverStore

    def __call__(self) -> str:
        """SHA-256 (hex) of the index's first line, which does not change as the store grows.

        Without an index, of whether the store has any episode. Raises `StoreError` if there is no
        store.
        """
        with self.store.index_lines() as lines:
            first = next(iter(lines), b"")
        if not first:
            first = b"no index, " + (b"episodes" if any(self.store.listed()) else b"no episodes")
        return hashlib.sha256(first).hexdigest()

    def __str__(self) -> str:
        return self.store.name
