"""Channels to a guest: requests to its load runner and rows of its agent, all of it untrusted.

A guest may be slow, hung, broken or lying. Lines have a limit, only known keys are read, numbers
have bounds, and times are checked against what this host saw.
"""

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final, TypeGuard

import msgspec

from cis490_pipeline.domain import CHANNELS, NS_PER_S, Source
from cis490_pipeline.errors import RecordingError
from cis490_pipeline.recording.channel.clocks import Bracket, ClockMap, HostClock

MAX_LINE_BYTES: Final = 1 << 16
MAX_ROWS: Final = 200_000
"""Rows kept of one run; an agent sends one a second."""
_INT64_MAX: Final = 2**63 - 1
_LATEST_ARRIVAL_NS: Final = 60 * NS_PER_S
_GUEST_FIELDS: Final = {
    channel.field: channel.is_float for channel in CHANNELS if channel.source is Source.GUEST
}

_Ns = Annotated[int, msgspec.Meta(ge=0, le=_INT64_MAX)]
_Pid = Annotated[int, msgspec.Meta(ge=1, le=2**22)]
_Text = Annotated[str, msgspec.Meta(max_length=1000)]


class Reply(msgspec.Struct, frozen=True):
    """A line of the load runner: an answer, with the request's id, or an event."""

    id: Annotated[int, msgspec.Meta(ge=0, le=2**31)] | None = None
    event: _Text | None = None
    slot: _Text | None = None
    activity: _Text | None = None
    status: int | None = None
    pid: _Pid | None = None
    error: _Text | None = None
    t_guest_wall_ns: _Ns | None = None
    t_guest_mono_ns: _Ns | None = None


@dataclass(frozen=True)
class Exchange:
    """An answered request: when it was sent and answered, by this host's clock, and the answer."""

    sent_ns: int
    received_ns: int
    reply: Reply

    def bracket(self) -> Bracket:
        """Return the exchange as a bracket of the guest's clock.

        Raises
        ------
        RecordingError
            If the guest gave no time.
        """
        if self.reply.t_guest_mono_ns is None:
            raise RecordingError("the guest answered a clock request without its time")
        return Bracket(self.sent_ns, self.received_ns, self.reply.t_guest_mono_ns)


class ControlChannel:
    """Requests to the load runner, one at a time."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, clock: HostClock
    ) -> None:
        self._reader, self._writer, self._clock = reader, writer, clock
        self._last_id = 0
        self._lock = asyncio.Lock()

    @classmethod
    async def opened(cls, path: Path, clock: HostClock) -> "ControlChannel":
        """Connect to the channel's socket."""
        reader, writer = await asyncio.open_unix_connection(path, limit=MAX_LINE_BYTES)
        return cls(reader, writer, clock)

    async def wait_ready(self, limit_s: float, *, booting: bool) -> None:
        """Wait for the load runner.

        Parameters
        ----------
        limit_s : longest wait.
        booting : whether its first line is still to come; else it is asked for an answer.

        Raises
        ------
        RecordingError
            If it does not come in time.
        """
        if not booting:
            self._writer.write(b'{"id":0,"do":"clock"}\n')
            failure = "its load runner does not answer"
            # A machine that nobody listened to may have kept its first line for us.
            while (await self._next(limit_s, failure)).id != 0:
                pass
            return
        reply = await self._next(limit_s, "its load runner did not start")
        if reply.event != "ready":
            raise RecordingError(f"the guest's first line is {reply}, not that it is ready")

    async def request(self, what: str, limit_s: float, **details: Any) -> Exchange:
        """Send one request and wait for its answer.

        Raises
        ------
        RecordingError
            If the guest does not answer in time, answers with an error or with another id, or an
            activity ended by itself.
        """
        async with self._lock:
            self._last_id += 1
            line = msgspec.json.encode({"id": self._last_id, "do": what, **details}) + b"\n"
            sent_ns = self._clock.wall_ns()
            self._writer.write(line)
            reply = await self._next(limit_s, f"it did not answer {what!r} and seems hung")
            received_ns = self._clock.wall_ns()
        if reply.id != self._last_id:
            raise RecordingError(f"the guest answered {what!r} by {reply}")
        if reply.error is not None:
            raise RecordingError(f"the guest could not {what} {details}: {reply.error}")
        return Exchange(sent_ns, received_ns, reply)

    async def _next(self, limit_s: float, failure: str) -> Reply:
        try:
            async with asyncio.timeout(limit_s):
                line = await self._reader.readline()
        except TimeoutError as late:
            raise RecordingError(f"guest: {failure} (waited {limit_s:.0f} s)") from late
        except ValueError as long:
            raise RecordingError(f"guest: sent a line of over {MAX_LINE_BYTES} bytes") from long
        if not line.endswith(b"\n"):
            raise RecordingError("guest: closed its control channel")
        return parse_reply(line)

    async def close(self) -> None:
        """Close the channel, without waiting for a machine that reads no more."""
        self._writer.transport.abort()
        await asyncio.sleep(0)


def parse_reply(line: bytes) -> Reply:
    """Parse a line of the load runner.

    Raises
    ------
    RecordingError
        If it does not have that form, or reports that an activity ended.
    """
    try:
        reply = msgspec.json.decode(line, type=Reply)
    except (msgspec.DecodeError, RecursionError) as wrong:
        raise RecordingError(f"guest: sent a control line that is none: {wrong}") from wrong
    if reply.event == "ended":
        raise RecordingError(
            f"guest: {reply.activity} ended by itself with status {reply.status}; it should run on"
        )
    return reply


@dataclass
class GuestRows:
    """Rows of the agent, as they arrive; what is no row is counted and left out."""

    now_ns: Callable[[], int]
    rows: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    """Arrival, Unix ns by this host, and the line's object."""
    status: dict[str, Any] | None = None
    """Last ``agent_status`` row."""
    netflow: list[dict[str, Any]] = field(default_factory=list)
    """The guest's own netflow rows, to compare with the tap's; an episode holds the tap's only."""
    invalid: int = 0
    implausible: int = 0

    def add(self, line: bytes) -> None:
        """Add one line."""
        try:
            row = msgspec.json.decode(line)
        except (msgspec.DecodeError, RecursionError):
            self.invalid += 1
            return
        if isinstance(row, dict) and row.get("source") == "agent_status":
            self.status = {str(k): v for k, v in row.items() if isinstance(v, int | float | str)}
        elif not isinstance(row, dict) or len(self.rows) >= MAX_ROWS:
            self.invalid += 1
        elif row.get("source") == Source.GUEST.row_tag:
            self.rows.append((self.now_ns(), row))
        elif row.get("source") == Source.NETFLOW.row_tag and len(self.netflow) < MAX_ROWS:
            self.netflow.append(row)

    def placed(self, clock: ClockMap, begin_ns: int, end_ns: int) -> list[dict[str, Any]]:
        """Return the rows in the host's time, from `begin_ns` to `end_ns`.

        Rows without a time, from the future, delayed by over a minute, or out of order by the
        guest's own clock are left out and counted: they can be no readings.
        """
        placed: list[dict[str, Any]] = []
        last_guest_ns = -1
        for arrived_ns, row in self.rows:
            guest_ns, guest_wall_ns = row.get("t_mono_ns"), row.get("t_wall_ns")
            if not _is_time(guest_ns) or not _is_time(guest_wall_ns):
                self.invalid += 1
                continue
            host_ns = clock.host_ns(guest_ns)
            late_ns = arrived_ns - host_ns
            if guest_ns < last_guest_ns or not (
                -clock.uncertainty_ns - 5_000_000 <= late_ns <= _LATEST_ARRIVAL_NS
            ):
                self.implausible += 1
                continue
            last_guest_ns = guest_ns
            if begin_ns <= host_ns <= end_ns:
                placed.append(_clean_row(row, host_ns, guest_ns, guest_wall_ns))
        return placed


def _is_time(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _INT64_MAX


def _clean_row(row: dict[str, Any], host_ns: int, guest_ns: int, guest_wall_ns: int) -> Any:
    """Return a guest row of known keys; a reading that is no number becomes null, unknown."""
    readings = {}
    for name, is_float in _GUEST_FIELDS.items():
        value: Any = row.get(name)
        fits = isinstance(value, int | float) and not isinstance(value, bool)
        fits = fits and (is_float or isinstance(value, int))
        readings[name] = value if fits and math.isfinite(value) and value <= _INT64_MAX else None
    return {
        "t_wall_ns": host_ns,
        "t_mono_ns": guest_ns,
        "source": Source.GUEST.row_tag,
        "available_in_deployment": True,
        "t_guest_wall_ns": guest_wall_ns,
        "t_guest_mono_ns": guest_ns,
        **readings,
    }


async def receive_rows(path: Path, rows: GuestRows) -> None:
    """Read the agent's lines until cancelled; a line over the limit is dropped and counted."""
    reader, writer = await asyncio.open_unix_connection(path, limit=MAX_LINE_BYTES)
    try:
        while True:
            try:
                line = await reader.readuntil(b"\n")
            except asyncio.LimitOverrunError as long:
                await reader.readexactly(long.consumed)
                rows.invalid += 1
                continue
            except asyncio.IncompleteReadError:
                return
            rows.add(line)
    finally:
        writer.transport.abort()
