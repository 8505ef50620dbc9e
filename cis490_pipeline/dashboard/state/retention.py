"""What tells events of one type apart, and how many of them the dashboard keeps.

Types that describe something (a model, a cell of a map) are kept by their key; beyond the limit a
new key is left out and counted, so that nobody can push known ones out. Ticks, which tell a story,
are kept newest first; beyond the limit the oldest goes.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, Final

from cis490_pipeline.events import contract

MAX_EMBEDDING_POINTS: Final = 4_000

Key = tuple[str, Hashable]
"""An event's type and what tells it apart within the type."""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """How events of one type are kept."""

    kind: type[contract.Event]
    key: Callable[[Any], Hashable]
    limit: int
    """Most keys."""
    limit_bytes: int = 1 << 20
    """Most bytes of all of them, as JSON."""
    rolling: bool = False
    """Whether the oldest makes room for the newest."""
    replaces: Callable[[Any], Key] | None = None
    """Key of another type of which this event is the newer state: the other is dropped."""
    withdraws: Callable[[Any, Key], bool] | None = None
    """Whether a key of another type describes a state that this event ends."""


def _failure_key(event: contract.ModelFailure) -> tuple[str | None, str, str | None]:
    """Return what failed: the score of a model on a split, or running it on a device."""
    if event.device is not None:
        return (None, event.model, event.device)
    return (event.split, event.model, None)


def _before_failure(event: contract.ModelFailure) -> Key:
    if event.device is not None:
        return "model_perf", (event.device, event.model)
    return "model_metric", (event.split, event.model)


def _details_of_failed(event: contract.ModelFailure, key: Key) -> bool:
    """Whether a key is the confusion or a cell of the model whose score is missing now."""
    name, parts = key
    return (
        event.device is None
        and name in ("confusion", "group_metric")
        and isinstance(parts, tuple)
        and parts[:2] == (event.split, event.model)
    )


# In the order a late browser gets them: what is true first, then what happened.
RULES: Final[dict[str, Rule]] = {
    "model_metric": Rule(
        kind=contract.ModelMetric,
        key=lambda e: (e.split, e.model),
        limit=256,
        replaces=lambda e: ("model_failure", (e.split, e.model, None)),
    ),
    "model_failure": Rule(
        kind=contract.ModelFailure,
        key=_failure_key,
        limit=256,
        replaces=_before_failure,
        withdraws=_details_of_failed,
    ),
    "model_perf": Rule(
        kind=contract.ModelPerf,
        key=lambda e: (e.device, e.model),
        limit=256,
        replaces=lambda e: ("model_failure", (None, e.model, e.device)),
    ),
    "confusion": Rule(kind=contract.Confusion, key=lambda e: (e.split, e.model), limit=256),
    "group_metric": Rule(
        kind=contract.GroupMetric,
        key=lambda e: (e.split, e.model, e.profile, e.host_id),
        limit=4_096,
        limit_bytes=2 << 20,
    ),
    "attack_profile": Rule(
        kind=contract.AttackProfile,
        key=lambda e: (e.name, e.channel),
        limit=256,
        limit_bytes=2 << 20,
    ),
    "episode": Rule(kind=contract.Episode, key=lambda e: e.episode_id, limit=16, rolling=True),
    "source_state": Rule(
        kind=contract.SourceState,
        key=lambda e: (e.episode_id, e.source),
        limit=128,
        rolling=True,
    ),
    "phase": Rule(
        kind=contract.PhaseNow, key=lambda e: (e.episode_id, e.t_s), limit=256, rolling=True
    ),
    "telemetry": Rule(
        kind=contract.Telemetry,
        key=lambda e: (e.episode_id, e.t_s[0]),
        limit=4_000,
        limit_bytes=4 << 20,
        rolling=True,
    ),
    "prediction": Rule(
        kind=contract.Prediction,
        key=lambda e: (e.episode_id, e.model, e.window_idx),
        limit=8_000,
        limit_bytes=4 << 20,
        rolling=True,
    ),
    "embedding": Rule(
        kind=contract.Embedding,
        # An older producer names no window; then the point itself is what it is.
        key=lambda e: (
            (e.model, e.episode_id, e.window_idx)
            if e.window_idx is not None
            else (e.x, e.y, e.z, e.phase)
        ),
        limit=MAX_EMBEDDING_POINTS,
        limit_bytes=2 << 20,
        rolling=True,
    ),
}
TYPE_OF: Final[dict[type, str]] = {rule.kind: name for name, rule in RULES.items()}
