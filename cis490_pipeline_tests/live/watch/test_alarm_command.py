import json
import shlex
import sys

import pytest

from cis490_pipeline.domain import Phase, Source
from cis490_pipeline.errors import ConfigError
from cis490_pipeline.live.watch.alarm_command import MAX_RUNNING, TIMEOUT_S, AlarmCommand
from cis490_pipeline.live.watch.verdict import Change, Verdict

ALARM = Change(
    before=Verdict.CLEAN,
    verdict=Verdict.ALARM,
    t_ns=7,
    text='ALARM: it\'s "so"',
    phase=Phase.DORMANT,
    without=(Source.NETFLOW,),
)
OVER = Change(
    before=Verdict.ALARM, verdict=Verdict.CLEAN, t_ns=9, text="over", phase=None, without=()
)
READY = Change(
    before=Verdict.LEARNING, verdict=Verdict.CLEAN, t_ns=1, text="ready", phase=None, without=()
)


def writes_to(path, more=""):
    """A command that appends what it was given to a file."""
    code = (
        "import json, os, sys; "
        "got = {'stdin': json.load(sys.stdin), 'text': os.environ['CIS490_TEXT']}; "
        f"open({str(path)!r}, 'a').write(json.dumps(got) + chr(10)); {more}"
    )
    return shlex.join([sys.executable, "-c", code])


def test_it_gets_the_verdict_in_the_environment_and_as_json(tmp_path):
    said = []
    command = AlarmCommand(writes_to(tmp_path / "log"), "pi", said.append)

    command.changed(READY)
    command.changed(ALARM)
    command.close()
    command.changed(OVER)
    command.close()

    first, second = map(json.loads, (tmp_path / "log").read_text().splitlines())
    assert first["text"] == first["stdin"]["text"] == 'ALARM: it\'s "so"'
    assert first["stdin"]["phase"] == "dormant"
    assert first["stdin"]["without"] == ["netflow"]
    assert (first["stdin"]["device"], first["stdin"]["t_wall_ns"]) == ("pi", 7)
    assert (second["stdin"]["verdict"], second["stdin"]["before"]) == ("clean", "alarm")
    assert said == []


@pytest.mark.parametrize(
    ("command", "said"),
    [("/no/such/command", "cannot be run"), ("false", "failed with exit code 1")],
)
def test_what_became_of_a_failing_command_is_said(command, said):
    lines = []
    running = AlarmCommand(command, "pi", lines.append)

    running.changed(ALARM)
    running.close()

    assert len(lines) == 1
    assert said in lines[0]


def test_a_command_that_does_not_end_is_ended_and_more_than_four_wait_for_none():
    lines, now = [], [0.0]
    running = AlarmCommand("sleep 1000", "pi", lines.append, clock=lambda: now[0])

    for _ in range(MAX_RUNNING + 1):
        running.changed(ALARM)
    assert lines == [f"--on-alarm is not run: {MAX_RUNNING} earlier calls have not ended"]

    now[0] = TIMEOUT_S + 1
    running.close()
    assert len(lines) == 1 + MAX_RUNNING
    assert lines[-1] == "--on-alarm was ended after 60 s: sleep"


@pytest.mark.parametrize("command", ["", "  ", "echo 'open"])
def test_a_command_that_cannot_be_split_is_refused_at_the_start(command):
    with pytest.raises(ConfigError, match="--on-alarm"):
        AlarmCommand(command, "pi", print)
