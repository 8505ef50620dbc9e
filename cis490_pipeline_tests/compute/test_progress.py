"""Progress as lines of text, on a clock that a test moves."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from cis490_pipeline.compute.progress import ProgressLines, both, duration, working


@dataclass
class Log:
    """Lines written, each with the time it was written at."""

    now_s: float = 0.0
    lines: list[tuple[float, str]] = field(default_factory=list)

    def progress(self, every_s: float = 20.0, quiet_s: float = 30.0) -> ProgressLines:
        return ProgressLines(self.write, every_s=every_s, quiet_s=quiet_s, clock=lambda: self.now_s)

    def write(self, line: str) -> None:
        self.lines.append((self.now_s, line))

    def seconds(self, until_s: float, step_s: float = 1.0) -> Iterator[float]:
        """Let the time pass in steps."""
        while self.now_s < until_s:
            self.now_s += step_s
            yield self.now_s


@pytest.fixture
def log() -> Log:
    return Log()


def test_lines_say_what_is_done_its_rate_and_the_time_left(log: Log) -> None:
    progress = log.progress(every_s=10.0)

    for now_s, done in ((0.0, 1000), (5.0, 1500), (10.0, 2000), (15.0, 2500), (20.0, 3000)):
        log.now_s = now_s
        progress("validate episodes", done, 5000)

    assert [line for _, line in log.lines] == [
        "validate episodes: 2000 of 5000, 100.0/s, 30 s left",
        "validate episodes: 3000 of 5000, 100.0/s, 20 s left",
    ]


def test_slow_pieces_have_seconds_and_the_detail_comes_last(log: Log) -> None:
    progress = log.progress()
    for epoch in range(4):
        progress("train gru_oracle", epoch, 40, "val macro F1 0.612" if epoch else "")
        log.now_s += 45.0

    assert log.lines[-1][1] == (
        "train gru_oracle: 3 of 40, 45.0 s each, 28 min left, val macro F1 0.612"
    )


def test_however_often_work_reports_there_is_a_line_in_20_s(log: Log) -> None:
    progress = log.progress()

    for now_s in log.seconds(600.0, 0.5):
        progress("train gbt_oracle", int(2 * now_s), 1500)
        progress.tick()

    times = [now_s for now_s, _ in log.lines]
    assert times == [20.0 * n for n in range(1, 31)]


def test_silent_work_has_a_line_in_30_s(log: Log) -> None:
    progress = log.progress()
    progress("train cnn_oracle", 0, 40)

    for _ in log.seconds(138.0):
        progress.tick()

    assert log.lines == [
        (30.0 * n, f"train cnn_oracle: 0 of 40, begun {duration(30 * n)} ago") for n in range(1, 5)
    ]


def test_the_time_left_runs_down_while_nothing_is_reported(log: Log) -> None:
    progress = log.progress(every_s=1.0)
    progress("cut grids", 0, 4)
    log.now_s = 100.0
    progress("cut grids", 1, 4)
    log.now_s = 190.0
    progress.tick()

    assert [line for _, line in log.lines] == [
        "cut grids: 1 of 4, 100.0 s each, 5 min left",
        "cut grids: 1 of 4, 100.0 s each, 4 min left",
    ]


@pytest.mark.parametrize("ends", [True, False], ids=["ended", "stopped"])
def test_a_second_recipes_task_of_the_same_name_has_a_time_of_its_own(log: Log, ends: bool) -> None:
    progress = log.progress(every_s=1.0)
    for epoch in range(41 if ends else 12):
        progress("train gru_oracle", epoch, 40)
        log.now_s += 1.0
    log.now_s = 5000.0

    for epoch in range(3):
        progress("train gru_oracle", epoch, 40)
        log.now_s += 10.0

    assert log.lines[-1][1] == "train gru_oracle: 2 of 40, 10.0 s each, 6 min left"


def test_what_an_earlier_run_left_counts_for_no_rate(log: Log) -> None:
    progress = log.progress(every_s=1.0)
    progress("validate episodes", 6000, 6100)
    log.now_s = 50.0
    progress("validate episodes", 6050, 6100)

    assert log.lines[-1][1] == "validate episodes: 6050 of 6100, 1.0/s, 50 s left"


def test_work_of_one_piece_is_named_with_how_long_it_runs_and_that_it_ended(log: Log) -> None:
    progress = log.progress()
    with working(progress, "make model/leaderboard", "never made"):
        log.now_s = 30.0
        progress.tick()
    log.now_s = 75.0
    progress.tick()

    assert [line for _, line in log.lines] == [
        "make model/leaderboard: begun 30 s ago, never made",
        "make model/leaderboard: done 45 s ago, never made",
    ]


def test_both_listeners_get_every_report(log: Log) -> None:
    seen: list[tuple[str, int, int, str]] = []
    report = both(lambda *of: seen.append(of), log.progress(every_s=0.0))

    report("cut grids", 1, 2, "lab")

    assert seen == [("cut grids", 1, 2, "lab")]
    assert len(log.lines) == 1


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (119, "119 s"), (720, "12 min"), (12_600, "3.5 h")]
)
def test_durations_are_of_the_unit_that_people_use(seconds: float, text: str) -> None:
    assert duration(seconds) == text
