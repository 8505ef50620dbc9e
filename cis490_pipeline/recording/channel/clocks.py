"""Clock map from a guest to this host, by bracketed exchanges over the control channel."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypedDict

from cis490_pipeline.domain import NS_PER_S
from cis490_pipeline.errors import RecordingError

MAX_UNCERTAINTY_NS: Final = 20_000_000
"""Beyond it a label may be off by more than a fifth of a step: the run is failed."""
DRIFT_SPAN_NS: Final = 120 * NS_PER_S
"""Below it several ppm of drift are under the width of a bracket, and a fit would fit noise."""
_CLUSTER_NS: Final = 30 * NS_PER_S
_PPM: Final = 1e6
_STEP_NS: Final = 50_000_000


@dataclass(frozen=True)
class HostClock:
    """Wall clock of this host: its monotonic clock plus the offset at the recorder's start."""

    anchor_ns: int
    start_mono_ns: int

    @classmethod
    def started(cls) -> "HostClock":
        """Read both clocks of this host."""
        mono_ns = time.monotonic_ns()
        return cls(time.time_ns() - mono_ns, mono_ns)

    def wall_ns(self) -> int:
        """Return the time now, Unix ns, unmoved by steps of the system's clock."""
        return time.monotonic_ns() + self.anchor_ns

    def mono_of(self, wall_ns: int) -> int:
        """Return a time as ns since the recorder's start, the ``t_mono_ns`` of its rows."""
        return wall_ns - self.anchor_ns - self.start_mono_ns

    def step_ns(self) -> int:
        """Return by how much the system's wall clock has been moved since the start."""
        return time.time_ns() - self.wall_ns()

    def assert_unmoved(self) -> None:
        """Raise if the system's clock was set, since packets carry its time and rows do not.

        Raises
        ------
        RecordingError
            If it moved by over 50 ms.
        """
        if abs(step_ns := self.step_ns()) > _STEP_NS:
            raise RecordingError(
                f"this host's clock was moved by {step_ns / NS_PER_S:+.3f} s during the run; "
                "let it synchronise before recording"
            )


@dataclass(frozen=True)
class Bracket:
    """One exchange: the guest read its clock between two readings of the host's."""

    sent_ns: int
    received_ns: int
    guest_ns: int

    @property
    def offset_ns(self) -> int:
        """Host time minus guest time, at the middle of the bracket."""
        return (self.sent_ns + self.received_ns) // 2 - self.guest_ns

    @property
    def half_width_ns(self) -> int:
        """Largest error of `offset_ns`."""
        return (self.received_ns - self.sent_ns + 1) // 2


class ClockFields(TypedDict):
    """An entry of ``meta.clocks``."""

    offset_ns: int
    drift_ppm: float
    uncertainty_ns: int


@dataclass(frozen=True, kw_only=True)
class ClockMap:
    """Map from the guest's monotonic clock to the host's wall clock."""

    offset_ns: int
    """Host time minus guest time at `reference_ns`."""
    reference_ns: int
    drift_ppm: float
    uncertainty_ns: int

    def host_ns(self, guest_ns: int) -> int:
        """Return the host's wall time of a guest's monotonic time."""
        drift_ns = round((guest_ns - self.reference_ns) * self.drift_ppm / _PPM)
        return guest_ns + self.offset_ns + drift_ns

    def fields(self) -> ClockFields:
        """Return the entry of ``meta.clocks``."""
        return {
            "offset_ns": self.offset_ns,
            "drift_ppm": round(self.drift_ppm, 4),
            "uncertainty_ns": self.uncertainty_ns,
        }


def fit_clock(brackets: Sequence[Bracket]) -> ClockMap:
    """Fit the map: the narrowest bracket, and a drift if the exchanges span over two minutes.

    Parameters
    ----------
    brackets : exchanges of one run, in order.

    Returns
    -------
    ClockMap
        Its uncertainty is half the widest bracket used, plus the furthest that any other bracket
        lies off the map: a guest whose clock jumps gets a large one.

    Raises
    ------
    RecordingError
        If there is no bracket.
    """
    if not brackets:
        raise RecordingError("the guest answered no clock request")
    first_ns, last_ns = brackets[0].guest_ns, brackets[-1].guest_ns
    best = min(brackets, key=lambda b: b.half_width_ns)
    used, drift_ppm = [best], 0.0
    if last_ns - first_ns > DRIFT_SPAN_NS:
        early = [b for b in brackets if b.guest_ns - first_ns <= _CLUSTER_NS]
        late = [b for b in brackets if last_ns - b.guest_ns <= _CLUSTER_NS]
        used = [min(group, key=lambda b: b.half_width_ns) for group in (early, late)]
        span_ns = used[1].guest_ns - used[0].guest_ns
        drift_ppm = (used[1].offset_ns - used[0].offset_ns) / span_ns * _PPM
    fitted = ClockMap(
        offset_ns=used[0].offset_ns,
        reference_ns=used[0].guest_ns,
        drift_ppm=drift_ppm,
        uncertainty_ns=0,
    )
    outside_ns = max(
        max(b.sent_ns - fitted.host_ns(b.guest_ns), fitted.host_ns(b.guest_ns) - b.received_ns, 0)
        for b in brackets
    )
    return ClockMap(
        offset_ns=fitted.offset_ns,
        reference_ns=fitted.reference_ns,
        drift_ppm=drift_ppm,
        uncertainty_ns=max(b.half_width_ns for b in used) + outside_ns,
    )


def assert_certain(clock: ClockMap) -> None:
    """Raise if the map is too uncertain to place labels.

    Raises
    ------
    RecordingError
        If its uncertainty is over 20 ms.
    """
    if clock.uncertainty_ns > MAX_UNCERTAINTY_NS:
        raise RecordingError(
            f"the guest's clock is known to {clock.uncertainty_ns / 1e6:.1f} ms only, at most "
            f"{MAX_UNCERTAINTY_NS / 1e6:.0f} ms are allowed; use fewer --lanes"
        )
