"""Windows of one episode on demand, from the same code as the datasets."""

import io
from pathlib import Path
from typing import Any

import numpy as np

from cis490_pipeline.domain import EpisodeRef, Variant
from cis490_pipeline.errors import StoreError
from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline.features.channels import channel_names
from cis490_pipeline.features.columns import stored_names
from cis490_pipeline.features.extract import extract_episode, extract_last
from cis490_pipeline.storage.files import atomic_write
from cis490_pipeline.store.episode import Episode, load_episode
from cis490_pipeline.store.receiver import ReceiverStore


def named_episode(store: ReceiverStore, name: str) -> Episode:
    """Load the episode ``host/episode`` of a store.

    Raises
    ------
    StoreError
        If the store has no such episode or it cannot be read.
    """
    host, _, episode_id = name.partition("/")
    ref = EpisodeRef(host, episode_id)
    index = store.read_index()
    # Only known names: `..` or an empty part would lead to other paths.
    known = ref in index.rows or ref in store.listed()
    if not known or not store.has(ref):
        raise StoreError(
            f"{store.name}: no episode {name!r}; name one as HOST/EPISODE_ID, "
            f"such as {next(iter(sorted(index.rows)), 'none: the store is empty')}"
        )
    return load_episode(store, ref, index.rows.get(ref))


def extract_single(
    workspace: Workspace, name: str, variant: Variant, out: Path, *, last: bool = False
) -> dict[str, str | list[int]]:
    """Extract the uncalibrated windows of one episode to an ``.npz`` file.

    Parameters
    ----------
    name : ``host/episode``.
    last : only the last 10 s of the episode.
    out : file to write: tensors (n, C, 100), summary (n, C*5), history (n, C*12), names, and labels
        where known.

    Raises
    ------
    StoreError
        If the store has no such episode or it cannot be read.
    """
    episode = named_episode(workspace.store, name)
    arrays: dict[str, Any] = {
        "channel_names": np.array(channel_names(variant)),
        "summary_names": np.array(stored_names("summary", variant)),
        "history_names": np.array(stored_names("history", variant)),
    }
    if last:
        window = extract_last(episode.columns, episode.end_ns, variant)
        arrays |= {
            "tensors": window.tensor,
            "summary": window.summary,
            "history": window.history,
        }
    else:
        cut = extract_episode(episode, variant)
        arrays |= {
            "tensors": cut.tensors,
            "summary": cut.summary,
            "history": cut.history,
            "start_step": cut.starts,
            "y": cut.y,
            "purity": cut.purity,
        }
    # Built in memory: closing a zip file on a full disk fails a second time, silently.
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    atomic_write(out, lambda file: file.write(buffer.getbuffer()))
    shape = arrays["tensors"].shape
    return {"episode": name, "variant": str(variant), "tensors": list(shape), "path": str(out)}
