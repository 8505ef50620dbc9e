"""Status rows of an agent: which device speaks, and what it knows of its own losses."""

from collections.abc import Mapping
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from cis490_pipeline.domain.episode_ref import HOST_ID_FORM
from cis490_pipeline.storage.json_text import Json
from cis490_pipeline.store.rows.row import STATUS_TAG, RowFault

__all__ = ["STATUS_TAG", "AgentStatus", "read_status"]

# These texts are shown in a terminal: printable characters only.
_Text = Annotated[str, Meta(max_length=300, pattern=r"\A[ -~]*\Z")]
_Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
_Share = Annotated[float, Meta(ge=0)]
_NO_NETFLOW: Final = "on"
SILENT_S: Final = 30.0
"""Time without a status after which an agent counts as silent: three of them are missing."""


class AgentStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What an agent says of itself, every 10 s and at the begin of each connection.

    Attributes
    ----------
    device : name of the device whose rows these are.
    boot_id : changes with each boot.
    seq : status rows before this one.
    rows, rows_dropped : rows made since the agent's start, and those that were never sent.
    ticks_missed : seconds without a guest row, since the agent ran too late.
    packets, packets_dropped : seen by the capture, and lost by the kernel before it.
    clock_steps : changes of the wall clock by more than 50 ms; the latest was ``clock_step_ns``.
    fields_lost : guest fields that cannot be read on this device.
    netflow : ``on``, or why there is none.
    """

    t_wall_ns: int
    t_mono_ns: int | None = None
    device: Annotated[str, Meta(pattern=rf"\A{HOST_ID_FORM}\Z")]
    version: _Text = ""
    boot_id: _Text | None = None
    seq: _Count = 0
    rows: _Count = 0
    rows_dropped: _Count = 0
    ticks_missed: _Count = 0
    packets: _Count | None = None
    packets_dropped: _Count | None = None
    lateness_p99_ms: _Share | None = None
    cpu_percent: _Share | None = None
    rss_bytes: _Count | None = None
    clock_steps: _Count = 0
    clock_step_ns: int = 0
    fields_lost: Annotated[tuple[_Text, ...], Meta(max_length=64)] = ()
    netflow: _Text = _NO_NETFLOW

    def to_dict(self) -> dict[str, Json]:
        """As a JSON object."""
        made: dict[str, Json] = msgspec.to_builtins(self)
        return made

    def gist(self) -> tuple[object, ...]:
        """Fields whose change triggers a state event (excludes counts that grow all the time)."""
        return (
            self.device,
            self.boot_id,
            self.version,
            self.fields_lost,
            self.netflow,
            self.clock_steps,
            self.rows_dropped > 0,
            (self.packets_dropped or 0) > 0,
        )

    def __str__(self) -> str:
        """Return who speaks, and what is missing of it."""
        parts = []
        if self.netflow != _NO_NETFLOW:
            parts.append(f"no netflow: {self.netflow}")
        if self.fields_lost:
            parts.append(f"without {', '.join(self.fields_lost)}")
        if self.rows_dropped:
            parts.append(f"{self.rows_dropped} rows dropped")
        if self.packets_dropped:
            parts.append(f"{self.packets_dropped} packets dropped")
        if self.clock_steps:
            parts.append(f"its clock stepped {self.clock_steps} times")
        return f"agent {self.device}" + (f" ({'; '.join(parts)})" if parts else "")


def read_status(row: Mapping[str, Json], place: str, number: int) -> AgentStatus | RowFault:
    """Check a parsed status row; unknown keys are ignored.

    Parameters
    ----------
    row : the row as written.
    place, number : where it was read, for the fault.
    """
    try:
        return msgspec.convert(row, AgentStatus)
    except msgspec.ValidationError as wrong:
        return RowFault(place, number, STATUS_TAG, str(wrong))
