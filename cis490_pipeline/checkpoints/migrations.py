"""Changes of the feature schema under which a checkpoint stays what it was, each with its proof.

A migration changes words: a channel's name, or its unit. It is written down here by hand, and
believed only if the checkpoint's schema, so changed, is the current one to the digest, the golden
features included: the same formulas then give the same numbers, under other names. All other
changes of meaning need another training.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from cis490_pipeline.features.schema import FeatureSchema

WORDS: Final = frozenset({"name", "unit"})
"""What of a channel is only a word."""


@dataclass(frozen=True, kw_only=True)
class Migration:
    """A change of words, from one schema to the next.

    Raises
    ------
    ValueError
        If it would change more than words.
    """

    name: str
    """What a person calls it, such as ``2027-01 guest.load1 renamed``."""
    channels: Mapping[str, Mapping[str, str]]
    """By the old name of a channel: the words that changed, and what they are now."""

    def __post_init__(self) -> None:
        """Refuse a change of meaning."""
        for channel, words in self.channels.items():
            if more := sorted(words.keys() - WORDS):
                raise ValueError(
                    f"migration {self.name!r} changes {', '.join(more)} of {channel}; only "
                    f"{' and '.join(sorted(WORDS))} may change without another training"
                )

    def apply(self, schema: FeatureSchema) -> FeatureSchema:
        """Return the schema with the words changed; one without these channels stays as it is."""
        channels = schema.meaning.get("channels")
        if not isinstance(channels, list):
            return schema
        changed: list[Any] = [
            {**channel, **self.channels.get(str(channel.get("name")), {})}
            if isinstance(channel, Mapping)
            else channel
            for channel in channels
        ]
        return FeatureSchema(schema.kind, schema.variant, {**schema.meaning, "channels": changed})


MIGRATIONS: Final[tuple[Migration, ...]] = ()
"""All migrations, the oldest first. None is needed yet: the schema has had one form."""


def migrations_between(
    saved: FeatureSchema, current: FeatureSchema, migrations: Sequence[Migration] | None = None
) -> tuple[str, ...] | None:
    """Names of the migrations that lead from one schema to the other; ``None`` if none do.

    Parameters
    ----------
    saved : what a checkpoint was trained on.
    current : what this code builds.
    migrations : those to try, the oldest first; by default all there are.

    Returns
    -------
    No names if the schemas are the same.
    """
    names: list[str] = []
    schema = saved
    for migration in MIGRATIONS if migrations is None else migrations:
        if schema.hash == current.hash:
            break
        changed = migration.apply(schema)
        if changed.hash != schema.hash:
            schema = changed
            names.append(migration.name)
    return tuple(names) if schema.hash == current.hash else None
