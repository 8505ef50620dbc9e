"""Feature schema: a hashed description that ties checkpoints to the features they read."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal, Self, cast, get_args

from cis490_pipeline.domain import PHASES, Variant
from cis490_pipeline.domain.catalogue import InputKind
from cis490_pipeline.errors import SchemaMismatchError
from cis490_pipeline.features.channels import variant_channels
from cis490_pipeline.features.golden import golden_digest
from cis490_pipeline.features.history import CALIBRATED, KNOWN_SHARE, LAGS_S, N_BINS, quantum
from cis490_pipeline.features.resample import GRID_HZ, STALE_INTERVALS
from cis490_pipeline.features.summary import STATISTICS
from cis490_pipeline.features.windows import BASELINE_S, STRIDE_S, WINDOW_S
from cis490_pipeline.storage.files import digest
from cis490_pipeline.storage.json_text import Json
from cis490_pipeline.store.rows.readings import MERGE_INTERVALS

SchemaKind = Literal["summary", "history", "tensor", "grid"]

SCHEMA_FORMAT: Final = 1

READING_RULES: Final = {
    "negative": "unknown",
    "repeated_rows": "count once",
    "fast_guest": "last reading of each second, from its end on",
    "fall": "restart where all counters of the source that move fall to values that fit the time "
    "since; else unknown, and so is a rise that brings back what fell",
}
"""Rules of the grid that older schemas do not state.

They change no value on telemetry without partial falls, negative readings, repeated rows, fast
guests or unread amounts, so artefacts made from such telemetry remain valid.
"""

_OLDER_GOLDEN: Final = {
    ("grid", "realistic"): "1eeb6ed956043effb9378e782a078593e33d76263b7bf0ebbd2daeeeed7eb0d3",
    ("grid", "oracle"): "0cfabe72d0a0bf101efe3b6431d203272c76a163c67a1970184560272a5be421",
    ("tensor", "realistic"): "a96418a24d2adbeabc9552bceb10cf3778525fc03744b9156724b4f5f413a2a1",
    ("tensor", "oracle"): "d6fde115be2c754811319f809b8ea34a30c6f9002c3bc04dc70dedc9d0c6b921",
    ("summary", "realistic"): "90cf67b84f7e59a0b04e099ca6de56d08988ceeb3578c9e42f34d6edda57d5e7",
    ("summary", "oracle"): "5e4db39ca966d3b703ac9d56e0a9bf46836b4b9f5f786dbbc23a2f5f632dec78",
}
"""Golden digests before these rules, by kind and variant."""


@dataclass(frozen=True)
class FeatureSchema:
    """Meaning of one kind of features, as data.

    A hash of the source code would change with every comment, and a sorted list of names would miss
    reordered channels and changed formulas.
    """

    kind: SchemaKind
    variant: Variant
    meaning: Mapping[str, Json]
    """Channels in order with source, kind and unit; grid, window, statistics, labels, digest."""

    @property
    def input_kind(self) -> InputKind:
        """Kind of input of a dataset's or checkpoint's schema.

        Raises
        ------
        SchemaMismatchError
            If this is the schema of grids.
        """
        if self.kind == "grid":
            raise SchemaMismatchError("a schema of grids; wanted one of a model's features")
        return self.kind

    @property
    def hash(self) -> str:
        """SHA-256 of the canonical JSON."""
        return digest(self.to_dict())

    def to_dict(self) -> dict[str, Json]:
        """Convert to JSON values."""
        return {**self.meaning, "kind": str(self.kind), "variant": str(self.variant)}

    @classmethod
    def from_dict(cls, saved: Mapping[str, Json]) -> Self:
        """Restore a schema from ``to_dict``.

        Raises
        ------
        SchemaMismatchError
            If it is not a feature schema, or of an unknown kind or variant.
        """
        kind, variant = saved.get("kind"), saved.get("variant")
        if kind not in get_args(SchemaKind) or variant not in list(Variant):
            raise SchemaMismatchError(
                f"not a feature schema: kind {kind!r} and variant {variant!r}, wanted one of "
                f"{list(get_args(SchemaKind))} and one of {[str(v) for v in Variant]}"
            )
        rest = {key: value for key, value in saved.items() if key not in ("kind", "variant")}
        return cls(cast(SchemaKind, kind), Variant(variant), rest)


@cache
def feature_schema(kind: SchemaKind, variant: Variant) -> FeatureSchema:
    """Build the schema of the features this code computes."""
    meaning: dict[str, Json] = {
        "format": SCHEMA_FORMAT,
        "labels": [str(phase) for phase in PHASES],
        "channels": [
            {
                "name": channel.name,
                "source": str(channel.source),
                "kind": str(channel.kind),
                "unit": channel.unit,
                "may_fall": channel.may_fall,
                "rate_hz": channel.source.rate_hz,
            }
            for channel in variant_channels(variant)
        ],
        "grid": {
            "rate_hz": GRID_HZ,
            "step": "(start, end]",
            "anchor": "first label",
            "merge_intervals": MERGE_INTERVALS,
            "stale_intervals": STALE_INTERVALS,
            "transform": "log1p of rate, amount per second or gauge; NaN is unknown",
            **READING_RULES,
        },
    }
    if kind != "grid":
        meaning["window"] = {
            "window_s": WINDOW_S,
            "stride_s": STRIDE_S,
            "label": "phase at the centre",
        }
    # Both kinds are calibrated when read, by the baseline statistics in the grid index.
    meaning["baseline_s"] = BASELINE_S
    if kind in ("summary", "history"):
        meaning["statistics"] = list(STATISTICS)
    if kind == "history":
        meaning["history"] = _history(variant)
    meaning["golden"] = golden_digest(kind, variant)
    return FeatureSchema(kind, variant, meaning)


def _history(variant: Variant) -> dict[str, Json]:
    """State what history features are beyond the statistics."""
    return {
        "columns": list(CALIBRATED),
        "bins": N_BINS,
        "lags_s": list(LAGS_S),
        "known_share": KNOWN_SHARE,
        "means": "of linear values over known steps; asinh of the distance by the quantum",
        "quanta": {channel.name: quantum(channel) for channel in variant_channels(variant)},
    }


def grid_schema() -> FeatureSchema:
    """Build the schema of grid shards, which hold all 46 channels for every recipe and variant."""
    return feature_schema("grid", Variant.ORACLE)


def first_difference(saved: FeatureSchema, current: FeatureSchema) -> str | None:
    """Describe the first difference of two schemas; ``None`` if they are equal.

    Examples
    --------
    ``channel 3 (proc.major_faults) kind was 'counter', is 'gauge'``
    """
    was, now = saved.to_dict(), current.to_dict()
    golden = was.pop("golden", None), now.pop("golden", None)
    before, after = was.pop("channels", None), now.pop("channels", None)
    for key in ("kind", "variant"):
        if was[key] != now[key]:
            return f"{key} was {was[key]!r}, is {now[key]!r}"
    difference = _channel_difference(before, after) or _difference("", was, now)
    if difference is None and golden[0] != golden[1]:
        return (
            "the formulas: the fixed fixture's features had digest "
            f"{str(golden[0])[:12]!r}, have {str(golden[1])[:12]!r}"
        )
    return difference


def require_same(
    path: Path,
    saved: FeatureSchema,
    current: FeatureSchema,
    commit: str | None,
    *,
    older_rules: bool = False,
) -> None:
    """Raise if an artefact was made with other features than this code builds.

    Parameters
    ----------
    path : file or folder of the artefact, for error messages.
    commit : commit that made it, if known.
    older_rules : whether artefacts from before `READING_RULES` are accepted.

    Raises
    ------
    SchemaMismatchError
        Naming the first difference and the remedy.
    """
    compared = _with_reading_rules(saved) if older_rules else saved
    difference = first_difference(compared, current)
    if difference is None:
        return
    way_back = f", or check out commit {commit:.7}" if commit else ""
    raise SchemaMismatchError(
        f"{path}: made with feature schema {saved.hash:.12}, this code builds {current.hash:.12}; "
        f"first difference: {difference}. Build or train it again{way_back}."
    )


def _with_reading_rules(saved: FeatureSchema) -> FeatureSchema:
    """Add the rules to a schema from before them; return other schemas unchanged."""
    grid = saved.meaning.get("grid")
    older = _OLDER_GOLDEN.get((saved.kind, str(saved.variant)))
    if older is None or not isinstance(grid, Mapping) or saved.meaning.get("golden") != older:
        return saved
    golden = golden_digest(saved.kind, saved.variant)
    meaning = {**saved.meaning, "grid": {**grid, **READING_RULES}, "golden": golden}
    return FeatureSchema(saved.kind, saved.variant, meaning)


def _channel_difference(was: Any, now: Any) -> str | None:
    """Compare the channels in order."""
    if not isinstance(was, list) or not isinstance(now, list):
        return None if was == now else f"channels was {was!r}, is {now!r}"
    for i, (old, new) in enumerate(zip(was, now, strict=False)):
        if not isinstance(old, Mapping) or old.get("name") != new["name"]:
            name = old.get("name") if isinstance(old, Mapping) else old
            return f"channel {i} was {name!r}, is {new['name']!r}"
        difference = _difference(f"channel {i} ({new['name']}) ", old, new)
        if difference:
            return difference
    if len(was) != len(now):
        return f"the number of channels was {len(was)}, is {len(now)}"
    return None


def _difference(place: str, was: Any, now: Any) -> str | None:
    """Describe the first difference of two plain values, in key order."""
    if isinstance(was, Mapping) and isinstance(now, Mapping):
        for key in sorted({*was, *now}):
            joint = "." if place and not place.endswith(" ") else ""
            difference = _difference(f"{place}{joint}{key}", was.get(key), now.get(key))
            if difference:
                return difference
        return None
    return None if was == now else f"{place} was {was!r}, is {now!r}"
