"""Labels of a run: only from events that the guest confirmed, at the times it gave."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypedDict

from cis490_pipeline.domain import NS_PER_S, Phase
from cis490_pipeline.domain.terms import FAILED_LABEL
from cis490_pipeline.errors import RecordingError
from cis490_pipeline.recording.channel.clocks import ClockMap, HostClock
from cis490_pipeline.recording.channel.guest_channel import Exchange
from cis490_pipeline.recording.schedule import Step
from cis490_pipeline.store.writing import LabelLine

_SLACK_NS: Final = 5_000_000


class EventLine(TypedDict):
    """A line of ``events.jsonl``."""

    event: str
    t_mono_ns: int
    t_wall_ns: int
    sent_wall_ns: int
    guest_pid: int | None


@dataclass(frozen=True)
class Confirmed:
    """A step of the script, and the exchange in which the guest confirmed it."""

    step: Step
    exchange: Exchange


def labels_and_events(
    begin_ns: int,
    confirmed: Sequence[Confirmed],
    guest_clock: ClockMap,
    host_clock: HostClock,
    failure: tuple[int, str] | None = None,
) -> tuple[list[LabelLine], list[EventLine]]:
    """Return the lines of ``labels.jsonl`` and ``events.jsonl``.

    Parameters
    ----------
    begin_ns : start of the recording, Unix ns: the first label, ``clean``.
    confirmed : steps in the order in which they were confirmed.
    guest_clock : places the guest's times in the host's.
    host_clock : gives ``t_mono_ns``.
    failure : time and reason if the run failed; the last label is then ``failed``.

    Raises
    ------
    RecordingError
        If a confirmed time lies outside its exchange: the guest's clock cannot be believed.
    """
    labels: list[LabelLine] = []
    events: list[EventLine] = []

    def add(phase: str, at_ns: int, reason: str) -> None:
        labels.append(
            {
                "phase": phase,
                "prev": labels[-1]["phase"] if labels else None,
                "reason": reason,
                "t_mono_ns": host_clock.mono_of(at_ns),
                "t_wall_ns": at_ns,
            }
        )

    add(str(Phase.CLEAN), begin_ns, "recording started")
    for item in confirmed:
        at_ns = confirmed_ns(item, guest_clock)
        text = item.step.event.replace("_", " ")
        add(str(item.step.phase), at_ns, f"{text}, confirmed by the guest")
        events.append(
            {
                "event": item.step.event,
                "t_mono_ns": host_clock.mono_of(at_ns),
                "t_wall_ns": at_ns,
                "sent_wall_ns": item.exchange.sent_ns,
                "guest_pid": item.exchange.reply.pid,
            }
        )
    if failure is not None:
        at_ns, reason = failure
        add(FAILED_LABEL, max(at_ns, labels[-1]["t_wall_ns"]), reason)
    return labels, events


def confirmed_ns(item: Confirmed, guest_clock: ClockMap) -> int:
    """Return the host's time of a confirmed step.

    Raises
    ------
    RecordingError
        If the guest gave none, or one outside the exchange.
    """
    guest_ns, exchange = item.exchange.reply.t_guest_mono_ns, item.exchange
    if guest_ns is None:
        raise RecordingError(f"the guest confirmed {item.step.event} without a time")
    at_ns = guest_clock.host_ns(guest_ns)
    slack_ns = guest_clock.uncertainty_ns + _SLACK_NS
    if not exchange.sent_ns - slack_ns <= at_ns <= exchange.received_ns + slack_ns:
        off_s = (at_ns - exchange.sent_ns) / NS_PER_S
        raise RecordingError(
            f"the guest dates {item.step.event} {off_s:+.3f} s from its request, which took "
            f"{(exchange.received_ns - exchange.sent_ns) / NS_PER_S:.3f} s: its clock jumped, "
            "or it lies"
        )
    return at_ns
