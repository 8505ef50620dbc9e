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
    replaces: str | None = None
    """Type whose event of the same key is no longer true."""


# In the order a late browser gets them: what is true first, then what happened.
RULES: Final[dict[str, Rule]] = {
    "model_metric": Rule(
        kind=contract.ModelMetric,
        key=lambda e: (e.split, e.model),
        limit=256,
        replaces="model_failure",
    ),
    "model_failure": Rule(
        kind=contract.ModelFailure,
        key=lambda e: (e.split, e.model),
        limit=256,
        replaces="model_metric",
    ),
    "model_perf": Rule(kind=contract.ModelPerf, key=lambda e: (e.device, e.model), limit=256),
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
