"""The agent: readings on absolute ticks, rows into a bounded queue, the queue to an output."""

from __future__ import annotations

import json
import select
import time

from cis490_pipeline.collect.buckets import Buckets
from cis490_pipeline.collect.clock import Anchor, Ticks
from cis490_pipeline.collect.contract import GUEST_FIELDS, GUEST_RATE_HZ, NS_PER_S
from cis490_pipeline.collect.guest import guest_row
from cis490_pipeline.collect.outputs.outbox import Outbox
from cis490_pipeline.collect.status import (
    PERIOD_NS,
    Lateness,
    OwnUse,
    boot_id,
    lost_fields,
    status_row,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from cis490_pipeline.collect.capture import Capture
    from cis490_pipeline.collect.contract import Row
    from cis490_pipeline.collect.guest import GuestReader
    from cis490_pipeline.collect.outputs.sinks import Output

FLUSH_NS = 2 * NS_PER_S
"""Time for the last rows at the end."""
_NOTHING_S = 3600.0


class Agent:
    """One device's agent.

    Parameters
    ----------
    guest : reads the machine.
    output : where lines go.
    device : name that the rows of this device go by.
    version : of the agent.
    capture : reads packets; None leaves netflow out.
    netflow : in the status, why there is no netflow; empty if there is.
    say : tells a person something, on standard error.
    wake_fd : readable once the agent is to stop; -1 for none.
    anchor : offset of the wall clock.
    clock_ns : monotonic clock, ns.
    """

    def __init__(
        self,
        guest: GuestReader,
        output: Output,
        *,
        device: str,
        version: str,
        capture: Capture | None = None,
        netflow: str = "",
        say: Callable[[str], None],
        wake_fd: int = -1,
        anchor: Anchor | None = None,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._guest, self._output = guest, output
        self._device, self._version, self._netflow = device, version, netflow
        self._say, self._wake_fd, self._clock_ns = say, wake_fd, clock_ns
        self._boot_id = boot_id()
        self.outbox = Outbox()
        self._anchor = anchor or Anchor()
        self._use = OwnUse()
        self._lateness = Lateness()
        now_ns = clock_ns()
        self._buckets = None if capture is None else Buckets(capture, self._anchor, now_ns)
        start_ns = now_ns if self._buckets is None else self._buckets.first_tick_ns
        self._ticks = Ticks(start_ns, NS_PER_S // GUEST_RATE_HZ)
        self._status = Ticks(start_ns + PERIOD_NS, PERIOD_NS)
        self._n_rows = 0
        self._n_status = 0
        self._lost: list[str] = []
        self._n_opened = 0
        self._reported: str | None = None
        self._is_stopped = False

    def run(self, seconds: float | None = None) -> bool:
        """Run for some time, or until the agent is stopped; return whether all rows were sent."""
        end_ns = None if seconds is None else self._clock_ns() + round(seconds * NS_PER_S)
        while not self._is_stopped and not self._output.gone:
            now_ns = self._clock_ns()
            if end_ns is not None and now_ns >= end_ns:
                break
            self.turn(now_ns, end_ns)
        self._flush()
        return not len(self.outbox)

    def turn(self, now_ns: int, end_ns: int | None = None) -> None:
        """Do what is due, then wait for the next of it."""
        self._read_when_due(now_ns)
        self._tend(now_ns)
        until_ns = min(self._ticks.next_ns, self._output.due_ns, end_ns or self._ticks.next_ns)
        self._wait(until_ns)

    def _read_when_due(self, now_ns: int) -> None:
        late_ns = self._ticks.take(now_ns)
        if late_ns is None:
            return
        self._lateness.add(late_ns)
        step_ns = self._anchor.follow()
        readings = self._guest.readings()
        read_ns = self._clock_ns()
        row = guest_row(readings, self._anchor.wall_ns(read_ns), read_ns)
        self._lost = lost_fields(row, GUEST_FIELDS)
        self._put(row)
        if step_ns:
            self._say(f"the clock stepped by {step_ns / NS_PER_S:+.3f} s: times follow it")
        if self._buckets is not None:
            for bucket in self._buckets.close_until(self._clock_ns()):
                self._put(bucket)
        if self._status.take(now_ns) is not None:
            self.outbox.put(self._status_line(), now_ns)

    def _put(self, row: Row) -> None:
        self._n_rows += 1
        self.outbox.put(as_line(row), self._clock_ns())

    def _tend(self, now_ns: int) -> None:
        """Open the output, begin each connection with this device's status, say what is wrong."""
        output = self._output
        output.tend(now_ns)
        self.outbox.expire(now_ns)
        if output.n_opened != self._n_opened:
            self._n_opened = output.n_opened
            self.outbox.begin_again(self._status_line(), now_ns)
        if output.problem is not None and not output.gone and output.problem != self._reported:
            self._say(f"{output.name}: {output.problem}; rows wait for 10 s, attempts go on")
            self._reported = output.problem
        elif self._reported is not None and output.holds(now_ns):
            self._say(f"{output.name}: rows go out, {self.outbox.n_dropped} were dropped so far")
            self._reported = None

    def _wait(self, until_ns: int) -> None:
        """Wait for packets, for the output, for a signal, or for the time."""
        now_ns = self._clock_ns()
        readable = [] if self._wake_fd < 0 else [self._wake_fd]
        replies = self._output.to_read()
        if replies is not None:
            readable.append(replies)
        packets: list[int] = []
        if self._buckets is not None:
            packets = self._buckets.capture.filenos()
            if now_ns < self._buckets.look_ns:
                until_ns = min(until_ns, self._buckets.look_ns)
                packets = []
        room = self._output.to_write(len(self.outbox) > 0)
        timeout_s = max(0.0, min((until_ns - now_ns) / NS_PER_S, _NOTHING_S))
        ready, roomy, _ = select.select(
            [*readable, *packets], [] if room is None else [room], [], timeout_s
        )
        self._serve(ready, bool(roomy), replies)

    def _serve(self, ready: list[int], has_room: bool, replies: int | None) -> None:
        if not ready and not has_room:
            return
        now_ns = self._clock_ns()
        if self._wake_fd in ready:
            self._is_stopped = True
        if self._buckets is not None and not set(ready) <= {self._wake_fd, replies}:
            self._buckets.look(now_ns)
        # A receiver's word first: it may refuse what would be sent.
        if replies in ready:
            self._output.read(now_ns)
        if has_room:
            self._output.send(self.outbox, now_ns)

    def _flush(self) -> None:
        """Send what waits, for a bounded time; the bucket that is open is left out."""
        end_ns = self._clock_ns() + FLUSH_NS
        while len(self.outbox) and not self._output.gone:
            now_ns = self._clock_ns()
            self._tend(now_ns)
            if now_ns >= end_ns:
                break
            room = self._output.to_write(True)
            replies = self._output.to_read()
            timeout_s = max(0.0, (min(end_ns, self._output.due_ns) - now_ns) / NS_PER_S)
            ready, roomy, _ = select.select(
                [] if replies is None else [replies],
                [] if room is None else [room],
                [],
                timeout_s,
            )
            self._serve(ready, bool(roomy), replies)
        self._output.close()
        self._guest.close()
        if self._buckets is not None:
            self._buckets.capture.close()

    def _status_line(self) -> bytes:
        now_ns = self._clock_ns()
        facts: Row = {
            "device": self._device,
            "version": self._version,
            "boot_id": self._boot_id,
            "seq": self._n_status,
            "rows": self._n_rows,
            "rows_dropped": self.outbox.n_dropped,
            "ticks_missed": self._ticks.n_missed,
            "lateness_p99_ms": self._lateness.p99_ms(),
            "cpu_percent": self._use.cpu_percent(),
            "rss_bytes": self._use.rss_bytes(),
            "clock_steps": self._anchor.n_steps,
            "clock_step_ns": self._anchor.last_step_ns,
            "fields_lost": self._lost,
            "netflow": self._netflow or "on",
        }
        if self._buckets is not None:
            counted = self._buckets.capture.statistics()
            facts["packets"], facts["packets_dropped"] = counted.packets, counted.dropped
            facts["buckets_skipped"] = self._buckets.n_skipped
        self._n_status += 1
        return as_line(status_row(self._anchor.wall_ns(now_ns), now_ns, facts))


def as_line(row: Row) -> bytes:
    """Return a row as a line of JSON."""
    return json.dumps(row, separators=(",", ":")).encode() + b"\n"
