"""Form of the account of the alarm."""

from typing import Annotated, Any, NotRequired, TypedDict

from msgspec import Meta

from cis490_pipeline.evaluation.schema.parts import Amount, Count, Found, Share, Why


class Alarm(TypedDict):
    """The alarm as it was set, never on test."""

    threshold: Annotated[Share, Meta(description="probability of infection that raises it")]
    release: Annotated[Share | None, Meta(description="probability below which it is released")]
    hold_windows: Count | None
    prior_per_day: Amount | None
    fitted_on: str


class CurvePoint(TypedDict):
    """Share of infections found by a time."""

    t_s: Annotated[float, Meta(ge=0, description="seconds since the infection began")]
    share: Share


class Times(TypedDict):
    """How soon infections are found; those never found are censored."""

    median_s: Amount | None
    p90_s: Amount | None
    n_infected: Count
    n_detected: Count
    n_missed: Count
    n_already_alarming: Annotated[Count, Meta(description="alarms that stood before: no detection")]
    share_detected: Share | None
    share_low: Share | None
    share_high: Share | None
    curve: NotRequired[list[CurvePoint]]


class ProfileTimes(Times):
    """The same of one profile."""

    profile: str


class FalseAlarms(TypedDict):
    """Alarms in clean time a device-day, 95 % Poisson interval."""

    n: Count
    device_days: Amount
    per_day: Amount | None
    low: Amount | None
    high: Amount | None
    why: Why


class AtRate(TypedDict):
    """Detection at a budget of false alarms a device-day."""

    per_day: Amount
    threshold: Share | None
    share_detected: Share | None
    median_s: Amount | None
    why: Why


class PredictiveValue(TypedDict):
    """Probability of infection given an alarm, at a prior."""

    prior: Share
    ppv: Share | None
    low: Share | None
    high: Share | None
    why: Why


class AlarmedEpisodes(Found):
    """Episodes with an alarm at any time."""

    n: Count
    alarmed: Count


class ElapsedAlarms(TypedDict):
    """Alarms of clean runs by the time since each began."""

    from_s: Amount
    to_s: Amount
    n_alarms: Count
    device_hours: Amount


class Detection(TypedDict):
    """What the alarm is worth on the test side."""

    alarm: Alarm
    time_to_detection: Times
    by_profile: list[ProfileTimes]
    false_alarms: FalseAlarms
    at_rates: list[AtRate]
    ppv: list[PredictiveValue]
    episodes: dict[str, AlarmedEpisodes]
    by_elapsed: list[ElapsedAlarms]
    ablations: NotRequired[list[dict[str, Any]]]
