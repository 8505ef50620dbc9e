"""Form of the account of the alarm."""

from typing import Annotated, NotRequired, TypedDict

from msgspec import Meta

from cis490_pipeline.alarm.alarm import SavedSettings
from cis490_pipeline.evaluation.schema.parts import Amount, Count, Found, Score, Share, Why


class OnValidation(TypedDict):
    """What the chosen thresholds did on the side they were chosen on."""

    n_infected: Count
    n_detected: Count
    n_false_alarms: Count
    device_days: Amount


class Alarm(TypedDict):
    """The alarm as it was set, never on test."""

    threshold: Annotated[Share, Meta(description="probability of infection that raises it")]
    release: Annotated[Share | None, Meta(description="probability below which it is released")]
    hold_windows: Count | None
    prior_per_day: Amount | None
    fitted_on: str
    rule: NotRequired[Annotated[str, Meta(description="how thresholds were chosen")]]
    val: NotRequired[OnValidation]
    settings: NotRequired[SavedSettings]


class CurvePoint(TypedDict):
    """Share of infections found by a time."""

    t_s: Annotated[float, Meta(ge=0, description="seconds since the infection began")]
    share: Share
    low: NotRequired[Share | None]
    high: NotRequired[Share | None]


class Times(TypedDict):
    """How soon infections are found; those never found are censored."""

    median_s: Amount | None
    p90_s: Amount | None
    n_infected: Count
    n_detected: Count
    n_missed: Count
    n_already_alarming: Annotated[Count, Meta(description="alarms that stood before: no detection")]
    n_censored: NotRequired[Annotated[Count, Meta(description="infections not found, of all")]]
    share_detected: Share | None
    share_low: Share | None
    share_high: Share | None
    curve: NotRequired[list[CurvePoint]]
    median_low_s: NotRequired[Amount | None]
    median_high_s: NotRequired[Amount | None]
    p90_low_s: NotRequired[Amount | None]
    p90_high_s: NotRequired[Amount | None]
    why: NotRequired[Why]


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


class HourlyRate(TypedDict):
    """Alarms that rose in clean time a device-hour, with exact Poisson bounds."""

    n: Count
    device_hours: Amount
    per_hour: Amount | None
    low: Annotated[Amount | None, Meta(description="of the two-sided 95 % interval")]
    high: Amount | None
    upper: Annotated[Amount | None, Meta(description="one-sided 95 % upper bound")]
    why: Why


class NamedRate(HourlyRate):
    """The same of one host, or of the time during which one look-alike ran."""

    name: str


class HourlyRates(TypedDict):
    """False alarms a device-hour of clean time: of all hosts, by host, and by look-alike."""

    all: HourlyRate
    by_host: list[NamedRate]
    by_look_alike: list[NamedRate] | None
    why: Annotated[str | None, Meta(description="why there is none by look-alike")]


class AtRate(TypedDict):
    """Detection at a budget of false alarms a device-day."""

    per_day: Amount
    threshold: Share | None
    share_detected: Share | None
    share_low: NotRequired[Share | None]
    share_high: NotRequired[Share | None]
    median_s: Amount | None
    why: Why


class PredictiveValue(TypedDict):
    """Probability of infection given an alarm, at a prior."""

    prior: Share
    per: NotRequired[Annotated[str, Meta(description="what the prior counts infections by")]]
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


class Filtered(Score):
    """Score of the phases that the alarm's filter finds likeliest."""

    what: str


class AlarmAblation(TypedDict):
    """The alarm with one thing changed, fitted like it."""

    name: str
    what: str
    threshold: Share
    release: Share
    hold_windows: Count
    fitted_on: str
    time_to_detection: Times
    false_alarms: FalseAlarms


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
    per_hour: NotRequired[HourlyRates]
    armed_alarms: NotRequired[Annotated[Count, Meta(description="alarms that rose while armed")]]
    filtered: NotRequired[Filtered]
    ablations: NotRequired[list[AlarmAblation]]
