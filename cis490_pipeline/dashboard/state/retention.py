"""Retention rules: the key of each event type, and how many events the dashboard keeps.

States (of a model, of a cell) are kept by key; beyond the limit a new key is dropped and counted,
so that no publisher can evict known ones. Ticks (a time series) roll: beyond the limit the oldest
is dropped.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, Final

from cis490_pipeline.events import contract

MAX_EMBEDDING_POINTS: Final = 4_000

Key = tuple[str, Hashable]
"""Type of an event, and its key within the type."""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """Retention rule of one event type."""

    kind: type[contract.Event]
    key: Callable[[Any], Hashable]
    limit: int
    """Keys, at most."""
    limit_bytes: int = 1 << 20
    """Bytes of all of them as JSON, at most."""
    rolling: bool = False
    """Whether the newest replaces the oldest."""
    replaces: Callable[[Any], Key] | None = None
    """Key of another type that this event supersedes."""
    withdraws: Callable[[Any, Key], bool] | None = None
    """Whether this event invalidates a key of another type."""


def _failure_key(event: contract.ModelFailure) -> tuple[str | None, str, str | None]:
    """Key of a failure: a model's score on a split, or running it on a device."""
    if event.device is not None:
        return (None, event.model, event.device)
    return (event.split, event.model, None)


def _before_failure(event: contract.ModelFailure) -> Key:
    if event.device is not None:
        return "model_perf", (event.device, event.model)
    return "model_metric", (event.split, event.model)


def _details_of_failed(event: contract.ModelFailure, key: Key) -> bool:
    """Whether a key is a confusion matrix or a cell of a model that lost its score."""
    name, parts = key
    return (
        event.device is None
        and name in ("confusion", "group_metric")
        and isinstance(parts, tuple)
        and parts[:2] == (event.split, event.model)
    )


# In snapshot order: states first, then ticks.
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
        kind=contract.SourceState, key=lambda e: (e.episode_id, e.source), limit=128, rolling=True
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
        # Older producers send no window index: the point itself is the key.
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
