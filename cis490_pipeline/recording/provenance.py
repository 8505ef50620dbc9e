"""What a run is recorded with: code, plan, image; and the check that a plan's runs share them."""

import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Final

import msgspec

from cis490_pipeline.domain import EpisodeRef
from cis490_pipeline.errors import StoreError
from cis490_pipeline.store.archive.unpack import read_members
from cis490_pipeline.store.receiver import LocalStore

_PACKAGE: Final = Path(__file__).parents[1]
_ROOMS: Final = ("collect", "recording")
_SUFFIXES: Final = frozenset({".py", ".sh"})


class Provenance(msgspec.Struct, frozen=True, kw_only=True):
    """What a run was recorded with."""

    commit: str
    dirty: bool
    plan_sha256: str
    recorder_sha256: str
    image_name: str | None
    image_sha256: str | None
    host_kernel: str


@cache
def recorder_sha256() -> str:
    """Return the SHA-256 (hex) of the code that records, on this host and in the guest.

    A commit is too coarse for that: one that changes a page of the documentation records alike.
    """
    sources = sorted(
        path for room in _ROOMS for path in (_PACKAGE / room).rglob("*") if path.suffix in _SUFFIXES
    )
    total = hashlib.sha256()
    for path in sources:
        name = path.relative_to(_PACKAGE).as_posix()
        total.update(f"{name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return total.hexdigest()


class _RecordedBy(msgspec.Struct):
    recorder_sha256: str | None = None


class _RecordedOn(msgspec.Struct):
    image_sha256: str | None = None


class _Meta(msgspec.Struct):
    recording: _RecordedBy
    vm: _RecordedOn


def assert_unchanged(store: LocalStore, kept: Iterable[EpisodeRef], image_sha256: str) -> None:
    """Raise unless the latest of a plan's runs was recorded by this code and on this image.

    A corpus whose later part comes from another recorder holds a difference that is no malware.

    Raises
    ------
    StoreError
        If it was not, or its archive cannot be read.
    """
    ref = max(kept, key=lambda ref: ref.episode_id, default=None)
    if ref is None:
        return
    meta = msgspec.json.decode(read_members(store.archive_path(ref))["meta.json"], type=_Meta)
    found = {"image": meta.vm.image_sha256, "recorder": meta.recording.recorder_sha256}
    wanted = {"image": image_sha256, "recorder": recorder_sha256()}
    changed = [
        f"{what} {str(found[what])[:12]}, now {wanted[what][:12]}"
        for what in found
        if found[what] != wanted[what]
    ]
    if changed:
        raise StoreError(
            f"{store.name}: {ref} of this plan was recorded with another {'; '.join(changed)}; "
            "go on with what it was recorded with, or record the whole plan into a new store"
        )
