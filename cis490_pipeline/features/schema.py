"""What features mean, hashed: a checkpoint is only ever fed what it was trained on."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal, Self, cast, get_args

from cis490_pipeline.domain import PHASES, Variant
from cis490_pipeline.errors import SchemaMismatchError
from cis490_pipeline.features.channels import variant_channels
from cis490_pipeline.features.golden import golden_digest
from cis490_pipeline.features.resample import GRID_HZ, MERGE_INTERVALS, STALE_INTERVALS
from cis490_pipeline.features.summary import STATISTICS
from cis490_pipeline.features.windows import BASELINE_S, STRIDE_S, WINDOW_S
from cis490_pipeline.store.files import digest

InputKind = Literal["summary", "tensor", "grid"]

SCHEMA_FORMAT: Final = 1


@dataclass(frozen=True)
class FeatureSchema:
    """What one kind of features means, as data.

    Not the code's text, which changes with every comment, and not a sorted list of names, which
    misses a reordering and a changed formula.
    """

    kind: InputKind
    variant: Variant
    meaning: Mapping[str, Any]
    """Channels in order with source, kind and unit; grid, window, statistics, labels, golden."""

    @property
    def hash(self) -> str:
        """SHA-256 of the canonical JSON."""
        return digest(self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """As it is written to files; a copy."""
        return {**self.meaning, "kind": str(self.kind), "variant": str(self.variant)}

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> Self:
        """Restore a schema as it was written.

        Raises
        ------
        SchemaMismatchError
            If it is no feature schema, or one of a kind or variant this code does not know.
        """
        kind, variant = saved.get("kind"), saved.get("variant")
        if kind not in get_args(InputKind) or variant not in list(Variant):
            raise SchemaMismatchError(
                f"not a feature schema: kind {kind!r} and variant {variant!r}, wanted one of "
                f"{list(get_args(InputKind))} and one of {[str(v) for v in Variant]}"
            )
        rest = {key: value for key, value in saved.items() if key not in ("kind", "variant")}
        return cls(cast(InputKind, kind), Variant(variant), rest)


@cache
def feature_schema(kind: InputKind, variant: Variant) -> FeatureSchema:
    """Describe the features this code builds."""
    meaning: dict[str, Any] = {
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
        },
    }
    if kind != "grid":
        meaning["window"] = {
            "window_s": WINDOW_S,
            "stride_s": STRIDE_S,
            "label": "phase at the centre",
        }
    # Both kinds are calibrated on reading, by statistics the grid's index holds.
    meaning["baseline_s"] = BASELINE_S
    if kind == "summary":
        meaning["statistics"] = list(STATISTICS)
    meaning["golden"] = golden_digest(kind, variant)
    return FeatureSchema(kind, variant, meaning)


def grid_schema() -> FeatureSchema:
    """Describe the grid shards, which hold all 46 channels and serve every recipe and variant."""
    return feature_schema("grid", Variant.ORACLE)


def first_difference(saved: FeatureSchema, current: FeatureSchema) -> str | None:
    """Say in words where two schemas first differ; ``None`` if they do not.

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
    path: Path, saved: FeatureSchema, current: FeatureSchema, commit: str | None
) -> None:
    """Refuse what was made with other features than this code builds.

    Parameters
    ----------
    path : the file or folder being opened, for the message.
    saved : schema it was made with.
    current : schema of this code.
    commit : commit it was made at, if known.

    Raises
    ------
    SchemaMismatchError
        Naming the first difference and what to do.
    """
    difference = first_difference(saved, current)
    if difference is None:
        return
    way_back = f", or check out commit {commit:.7}" if commit else ""
    raise SchemaMismatchError(
        f"{path}: made with feature schema {saved.hash:.12}, this code builds {current.hash:.12}; "
        f"first difference: {difference}. Build or train it again{way_back}."
    )


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
    """First place, in the order of keys, where two plain values differ."""
    if isinstance(was, Mapping) and isinstance(now, Mapping):
        for key in sorted({*was, *now}):
            joint = "." if place and not place.endswith(" ") else ""
            difference = _difference(f"{place}{joint}{key}", was.get(key), now.get(key))
            if difference:
                return difference
        return None
    return None if was == now else f"{place} was {was!r}, is {now!r}"
