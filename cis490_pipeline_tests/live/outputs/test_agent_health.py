"""What a person is shown of an agent, from statuses 10 s apart."""

import pytest

from cis490_pipeline.live.outputs.agent_health import RECENT, AgentHealth
from cis490_pipeline_tests.live.feeds.test_agent_status import status

S = 1_000_000_000


def health(*changes: dict[str, object], start: int = 0) -> AgentHealth:
    """An agent's health after statuses 10 s and 110 rows apart, each changed."""
    made = AgentHealth()
    for i, changed in enumerate(changes, start):
        made.take(status(**{"seq": i, "rows": 110 * i, "t_mono_ns": 10 * i * S, **changed}))
    return made


def test_before_the_first_status_there_is_nothing_to_show() -> None:
    made = AgentHealth()

    assert (made.line(), made.trouble(is_silent=False)) == ("", "")


def test_a_sound_agent_is_one_calm_line() -> None:
    made = health({}, {"packets": 12345, "lateness_p99_ms": 4.04, "cpu_percent": 0.31})

    assert made.line() == (
        "11.0 rows/s, late p99 4.04 ms, 0 of 12,345 packets dropped, 0.31 % of a core, 14 MB"
    )
    assert made.trouble(is_silent=False) == ""


def test_what_an_agent_does_not_know_is_left_out() -> None:
    unknown = dict.fromkeys(("packets", "packets_dropped", "cpu_percent", "rss_bytes"))

    assert health({**unknown, "lateness_p99_ms": None}).line() == ""


@pytest.mark.parametrize("second", [{"t_mono_ns": 5 * S // 10}, {"seq": 0}, {"boot_id": "other"}])
def test_a_rate_needs_a_second_of_one_agent(second: dict[str, object]) -> None:
    assert health({}, {}).line().startswith("11.0 rows/s")
    assert not health({}, second).line().startswith("11.0")
    assert "rows/s" not in health({}, second).line()


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"packets_dropped": 8000}, "8,000 packets dropped"),
        ({"rows_dropped": 7}, "7 rows dropped"),
        ({"ticks_missed": 3}, "3 seconds missed"),
        ({"clock_steps": 2, "clock_step_ns": -90 * S}, "its clock stepped by -90 s"),
        ({"fields_lost": ["a", "b"]}, "without a, b"),
        ({"fields_lost": list("abcde")}, "without a, b, c and 2 more"),
        ({"netflow": "no CAP_NET_RAW"}, "no netflow: no CAP_NET_RAW"),
        ({"netflow": "off"}, ""),
    ],
)
def test_each_loss_is_named(changed: dict[str, object], text: str) -> None:
    assert health({}, changed).trouble(is_silent=False) == text


def test_silence_is_named_with_the_time_of_the_last_status() -> None:
    trouble = health({"rows_dropped": 7}).trouble(is_silent=True)

    assert trouble == "silent since 09:19:19 UTC; 7 rows dropped"


@pytest.mark.parametrize(
    ("name", "word"), [("rows_dropped", "rows"), ("packets_dropped", "packets")]
)
def test_a_loss_is_a_trouble_for_ten_minutes_and_again_when_it_grows(name: str, word: str) -> None:
    lost = {name: 7}
    just, long_ago = health({}, *[lost] * RECENT), health({}, *[lost] * (RECENT + 1))
    again = health({}, *[lost] * (RECENT + 1), {name: 9})

    assert just.trouble(is_silent=False) == f"7 {word} dropped"
    assert long_ago.trouble(is_silent=False) == ""
    assert again.trouble(is_silent=False) == f"9 {word} dropped"


def test_an_agent_that_was_started_again_counts_from_zero() -> None:
    fresh = {"boot_id": "other", "seq": 0, "rows_dropped": 2}
    made = health(*[{"rows_dropped": 7}] * (RECENT + 1), fresh)

    assert made.trouble(is_silent=False) == "2 rows dropped"
