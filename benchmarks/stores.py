"""Stores of any size for measuring: recorded episodes under new ids, repacked."""

import hashlib
import io
import json
import re
import tarfile
from pathlib import Path

import zstandard

from cis490_pipeline.domain import EpisodeRef
from cis490_pipeline.errors import EpisodeRejectedError
from cis490_pipeline.store.archive.unpack import META, read_members
from cis490_pipeline.store.episode import load_episode
from cis490_pipeline.store.receiver import LocalStore

SAMPLE = Path(__file__).parents[1] / "data" / "sample"
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
Episodes = dict[EpisodeRef, dict[str, bytes]]
"""Bytes of each episode's members, by name."""
_MONO = re.compile(rb'"t_mono_ns":\d+')


def sound_refs(store: LocalStore) -> list[EpisodeRef]:
    """Return the store's episodes that can be read, in order."""
    rows = store.read_index().rows
    sound = []
    for ref in sorted(rows):
        try:
            load_episode(store, ref, rows[ref])
        except EpisodeRejectedError:
            continue
        sound.append(ref)
    return sound


def members_of(store: LocalStore, refs: list[EpisodeRef]) -> Episodes:
    """Read the members of episodes."""
    paths = {ref: store.path(ref) for ref in refs}
    return {ref: read_members(path) for ref, path in paths.items() if path is not None}


def packed_store(root: Path, episodes: Episodes) -> LocalStore:
    """Write episodes as a receiver keeps them."""
    compressor = zstandard.ZstdCompressor(level=3)
    rows = []
    for ref, members in episodes.items():
        archive = compressor.compress(_tar(members))
        path = root / "episodes" / ref.host_id / f"{ref.episode_id}.tar.zst"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(archive)
        rows.append(_index_row(ref, archive, len(rows)))
    (root / "index.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return LocalStore(root)


def unpacked_store(root: Path, episodes: Episodes) -> LocalStore:
    """Write episodes as folders, not yet shipped; the index has no digest for them."""
    rows = []
    for ref, members in episodes.items():
        folder = root / "episodes" / ref.host_id / ref.episode_id
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in members.items():
            (folder / name).write_bytes(content)
        rows.append(_index_row(ref, None, len(rows)))
    (root / "index.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return LocalStore(root)


def grown_store(root: Path, n_episodes: int) -> LocalStore:
    """Write a store of copies, each with an id and one clock reading of its own.

    The reading (the first row's ``t_mono_ns``, on which nothing rests) keeps copies from being
    taken for a second shipment of the same telemetry.
    """
    sample = LocalStore(SAMPLE)
    originals = list(members_of(sample, sound_refs(sample)).items())
    compressor = zstandard.ZstdCompressor(level=3)
    rows = []
    for n in range(n_episodes):
        original, members = originals[n % len(originals)]
        ref = EpisodeRef(original.host_id, _id(n))
        own = dict(members)
        own[META] = own[META].replace(original.episode_id.encode(), ref.episode_id.encode())
        own["telemetry-proc.jsonl"] = _MONO.sub(
            b'"t_mono_ns":%d' % (10**12 + n), own["telemetry-proc.jsonl"], count=1
        )
        archive = compressor.compress(_tar(own))
        path = root / "episodes" / ref.host_id / f"{ref.episode_id}.tar.zst"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(archive)
        rows.append(_index_row(ref, archive, n))
    (root / "index.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return LocalStore(root)


def _id(n: int) -> str:
    digits = ""
    for _ in range(10):
        n, digit = divmod(n, 32)
        digits = _ALPHABET[digit] + digits
    return "01M9" + "0" * 12 + digits


def _tar(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def _index_row(ref: EpisodeRef, archive: bytes | None, n: int) -> str:
    hours, rest = divmod(n, 3600)
    return json.dumps(
        {
            "received_at_wall": f"2026-11-{1 + hours // 24:02d}T{hours % 24:02d}:"
            f"{rest // 60:02d}:{rest % 60:02d}Z",
            "host_id": ref.host_id,
            "episode_id": ref.episode_id,
            "sha256": None if archive is None else hashlib.sha256(archive).hexdigest(),
            "bytes": None if archive is None else len(archive),
            "schema_version": 1,
        }
    )
