"""Summary of a store for ``doctor``: its content, what is missing, what is dropped and why."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from cis490_pipeline.store.verdicts.overview import Overview, ReasonCount, hours, minute

_MAX_NAMED: Final = 12


@dataclass(frozen=True)
class Line:
    """Result of one check."""

    ok: bool
    what: str
    found: str
    advice: str = ""
    warn: bool = False
    """Whether the advice is worth following although nothing is wrong."""


def store_lines(seen: Overview) -> Iterator[Line]:
    """Yield an overview as lines; a line is not ok if it needs action."""
    yield from _what_is_there(seen)
    yield from _what_is_missing(seen)
    yield Line(
        True,
        "usable",
        f"{seen.n_usable} of {seen.n_episodes} episodes; {seen.n_scorable} of them may be scored",
    )
    for count in seen.reasons:
        yield _reason_line(count)
    yield Line(
        not seen.errored,
        "could not be checked",
        f"{len(seen.errored)}, first: {seen.errored[0]:.300}" if seen.errored else "0",
        "they are retried on each run; check the disk and its permissions",
    )
    unknown = ", ".join(
        f"{name} in {n}" for name, n in list(seen.unknown_fields.items())[:_MAX_NAMED]
    )
    more = len(seen.unknown_fields) - _MAX_NAMED
    yield Line(
        True,
        "fields of no channel",
        f"{unknown or 'none'}{f', and {more} more' if more > 0 else ''}"
        + (" episodes; they are not read" if unknown else ""),
    )


def _what_is_there(seen: Overview) -> Iterator[Line]:
    yield Line(True, "hosts", _named(seen.hosts))
    yield Line(True, "profiles", _named(seen.profiles))
    yield Line(True, "samples", f"{len(seen.samples)}: {_named(seen.samples)}")
    if seen.recorded_ns:
        first, last = map(minute, seen.recorded_ns)
        yield Line(True, "recorded", f"{first} to {last} UTC, {hours(seen.recorded_s)} in all")
    if seen.received:
        first, last = (text[:16].replace("T", " ") for text in seen.received)
        yield Line(True, "received", f"{first} to {last} UTC")
    yield Line(True, "rows", ", ".join(f"{source} {n:,}" for source, n in seen.rows.items()))


def _what_is_missing(seen: Overview) -> Iterator[Line]:
    without = {source: n for source, n in seen.episodes_without.items() if n}
    silent = ", ".join(
        f"{source} in {n} of {seen.n_episodes} episodes" for source, n in without.items()
    )
    yield Line(True, "sources without a row", silent or "none")
    never_run = list(seen.profiles_never_run.items())[:_MAX_NAMED]
    never = "; ".join(f"{host}: {', '.join(which)}" for host, which in never_run)
    yield Line(True, "profiles a host never ran", never or "none")


def _reason_line(count: ReasonCount) -> Line:
    episodes = "episode" if count.n_episodes == 1 else "episodes"
    return Line(
        True,
        f"{count.consequence}: {count.reason}",
        f"{count.n_episodes} {episodes}: {count.reason.meaning}; "
        f"first {count.first}: {count.detail:.300}",
    )


def _named(counts: Mapping[str, int]) -> str:
    often = sorted(counts.items(), key=lambda one: (-one[1], one[0]))
    text = ", ".join(f"{name} {n}" for name, n in often[:_MAX_NAMED])
    more = len(often) - _MAX_NAMED
    return (f"{text}, and {more} more" if more > 0 else text) or "none"
