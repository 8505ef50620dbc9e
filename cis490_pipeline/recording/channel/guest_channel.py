"""Channels to a guest: requests to its load runner and rows of its agent, all of it untrusted.

A guest may be slow, hung, broken or lying. Lines have a limit, only known keys are read, numbers
have bounds, and times are checked against what this host saw.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final, TypeGuard, Unpack

import msgspec

from cis490_pipeline.collect.contract import Row
from cis490_pipeline.domain import CHANNELS, NS_PER_S, Source
from cis490_pipeline.errors import RecordingError
from cis490_pipeline.recording.channel.clocks import Bracket, ClockMap, HostClock
from cis490_pipeline.recording.guest.protocol import Details
from cis490_pipeline.storage.json_text import Json, decode_json
from cis490_pipeline.store.rows.row import STATUS_TAG

MAX_LINE_BYTES: Final = 1 << 16
MAX_ROWS: Final = 20_000
"""Rows kept of one run; an agent sends one a second, and the longest run is of two hours."""
MAX_BUCKETS: Final = 100_000
"""Netflow rows kept of one run, ten a second."""
_INT64_MAX: Final = 2**63 - 1
_LATEST_ARRIVAL_NS: Final = 60 * NS_PER_S
_GUEST_FIELDS: Final = {
    channel.field: channel.is_float for channel in CHANNELS if channel.source is Source.GUEST
}

_NETFLOW_FIELDS: Final = [c.field for c in CHANNELS if c.source is Source.NETFLOW]

_Ns = Annotated[int, msgspec.Meta(ge=0, le=_INT64_MAX)]
_Pid = Annotated[int, msgspec.Meta(ge=1, le=2**22)]
_Text = Annotated[str, msgspec.Meta(max_length=1000)]
_Numbers = dict[str, int | float | None]


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
            await self._answer_to_first(limit_s)
            return
        reply = await self._next(limit_s, "its load runner did not start")
        if reply.event != "ready":
            raise RecordingError(f"the guest's first line is {reply}, not that it is ready")

    async def _answer_to_first(self, limit_s: float) -> None:
        failure = "its load runner does not answer"
        until_s = time.monotonic() + limit_s
        # A machine that nobody listened to may have kept its first line for us; one that goes on
        # with other lines is given up at the same time as one that sends none.
        while (await self._next(until_s - time.monotonic(), failure)).id != 0:
            if time.monotonic() >= until_s:
                raise RecordingError(f"guest: {failure} but sends other lines ({limit_s:.0f} s)")

    async def request(self, what: str, limit_s: float, **details: Unpack[Details]) -> Exchange:
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
            raise RecordingError(f"the guest could not {what} {details}: {reply.error!r}")
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
        reply = decode_json(line, Reply)
    except msgspec.DecodeError as wrong:
        raise RecordingError(f"guest: sent a control line that is none: {wrong}") from wrong
    if reply.event == "ended":
        raise RecordingError(
            f"guest: {reply.activity!r} ended by itself with status {reply.status}; "
            "it should run on"
        )
    return reply


@dataclass
class GuestRows:
    """Rows of the agent, as they arrive; what is no row is counted and left out."""

    now_ns: Callable[[], int]
    rows: list[tuple[int, _Numbers]] = field(default_factory=list)
    """Arrival, Unix ns by this host, and the line's numbers of known names."""
    status: dict[str, int | float | str] | None = None
    """Last ``agent_status`` row."""
    netflow: list[_Numbers] = field(default_factory=list)
    """The guest's own netflow rows, to compare with the tap's; an episode holds the tap's only."""
    invalid: int = 0
    implausible: int = 0

    def add(self, line: bytes) -> None:
        """Add one line."""
        try:
            row: Mapping[str, Json] = decode_json(line, dict[str, Any])
        except msgspec.DecodeError:
            self.invalid += 1
            return
        if row.get("source") == STATUS_TAG:
            self.status = {k: v for k, v in row.items() if isinstance(v, int | float | str)}
        elif row.get("source") == Source.GUEST.row_tag and len(self.rows) < MAX_ROWS:
            self.rows.append((self.now_ns(), _numbers(row, _GUEST_FIELDS)))
        elif row.get("source") == Source.NETFLOW.row_tag and len(self.netflow) < MAX_BUCKETS:
            self.netflow.append(_numbers(row, _NETFLOW_FIELDS))
        else:
            self.invalid += 1

    def placed(self, clock: ClockMap, begin_ns: int, end_ns: int) -> list[Row]:
        """Return the rows in the host's time, from `begin_ns` to `end_ns`.

        Rows without a time, from the future, delayed by over a minute, or out of order by the
        guest's own clock are left out and counted: they can be no readings.
        """
        placed: list[Row] = []
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


def _numbers(row: Mapping[str, Json], names: Iterable[str]) -> _Numbers:
    """Return the times and readings of a row alone: the rest may fill this host's memory."""
    kept = ("t_mono_ns", "t_wall_ns", *names)
    return {name: value if _is_number(value := row.get(name)) else None for name in kept}


def _is_number(value: Json) -> TypeGuard[int | float]:
    """Whether a value is a number that a row of the format can hold."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return -_INT64_MAX <= value <= _INT64_MAX


def _is_time(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and value >= 0


def _clean_row(row: _Numbers, host_ns: int, guest_ns: int, guest_wall_ns: int) -> Row:
    """Return a guest row of known keys; a reading that is no number becomes null, unknown."""
    readings: _Numbers = {}
    for name, is_float in _GUEST_FIELDS.items():
        value = row.get(name)
        fits = isinstance(value, int) or (is_float and isinstance(value, float))
        readings[name] = value if fits else None
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
