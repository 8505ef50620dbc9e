"""The recorder's notes of one run: the section ``recording`` of ``meta.json``, read on demand.

Only recorded stores have it, and no verdict depends on it: validation and its table leave it out.
"""

from typing import Annotated, Final, Literal

import msgspec

from cis490_pipeline.domain import EpisodeRef
from cis490_pipeline.errors import StoreError
from cis490_pipeline.store.archive import unpack as archive
from cis490_pipeline.store.receiver import ReceiverStore
from cis490_pipeline.store.receiver_index import IndexRow
from cis490_pipeline.store.rows.strict_json import parse_object

_UnixNs = Annotated[int, msgspec.Meta(gt=0, le=2**63 - 1)]
_SECTION: Final = "recording"


class Sham(msgspec.Struct, frozen=True, kw_only=True):
    """A step of a sham-armed control: the phase that an infected run would have begun."""

    phase: Literal["clean", "armed", "infecting", "infected_running", "dormant"]
    t_wall_ns: _UnixNs
    """When the guest confirmed it, Unix ns."""


class LookAlike(msgspec.Struct, frozen=True, kw_only=True):
    """A benign look-alike as it ran, Unix ns."""

    activity: str
    began_ns: _UnixNs
    ended_ns: _UnixNs


class RecorderNotes(msgspec.Struct, frozen=True, kw_only=True):
    """What the recorder noted of a run; unknown keys are ignored."""

    block: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """Part of the plan that the run belongs to, recorded in one sitting."""
    shams: tuple[Sham, ...] = ()
    backgrounds: tuple[LookAlike, ...] = ()


def recorder_notes(
    store: ReceiverStore, ref: EpisodeRef, index_row: IndexRow | None
) -> RecorderNotes | None:
    """Read the notes of one episode.

    Returns
    -------
    ``None`` if the archive cannot be read, or its ``meta.json`` holds none: validation reports the
    first, and stores of other recorders are of the second kind.

    Raises
    ------
    StoreError
        If there is a section ``recording`` of another form.
    """
    with store.reading(ref) as reading:
        if reading.path is None:
            return None
        unpacked = archive.unpack(reading.path, index_row.sha256 if index_row else None)
    try:
        section = parse_object(unpacked.contents.get(archive.META, b"")).get(_SECTION)
    except ValueError:
        return None
    if section is None:
        return None
    try:
        return msgspec.convert(section, RecorderNotes)
    except msgspec.ValidationError as wrong:
        raise StoreError(
            f"{ref}: meta.json has a section `{_SECTION}` of another form: {wrong}; wanted are "
            "block, shams and backgrounds as `cis490 record` writes them"
        ) from wrong
