import resource
import signal
import socket
import urllib.error

import pytest

from cis490_pipeline.cli import main
from cis490_pipeline.errors import EventError
from cis490_pipeline.events.publisher import Publisher
from cis490_pipeline_tests.browser.live_dashboard import live_dashboard
from cis490_pipeline_tests.dashboard import scene


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    for name in ("CIS490_DASHBOARD_TOKEN", "CIS490_DASHBOARD_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CIS490_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)


def refused(capsys, *arguments):
    """What the command says when it does not start."""
    with pytest.raises(SystemExit) as ended:
        main(["dashboard", *arguments])
    assert ended.value.code == 2
    return capsys.readouterr().err


def test_beyond_this_machine_it_wants_a_token(capsys):
    assert "set CIS490_DASHBOARD_TOKEN" in refused(capsys, "--host", "0.0.0.0")


def test_a_short_token_is_refused_and_not_repeated(capsys, monkeypatch):
    monkeypatch.setenv("CIS490_DASHBOARD_TOKEN", "hunter2")

    said = refused(capsys)

    assert "has 7 characters, at least 16" in said
    assert "hunter2" not in said


def test_a_port_that_is_taken_is_named_with_what_to_do(capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])

        said = refused(capsys, "--port", port)

    assert f"127.0.0.1:{port}: cannot listen there" in said
    assert "--port" in said


def test_a_certificate_without_its_key_is_refused(capsys, tmp_path):
    file = tmp_path / "lab.crt"
    file.write_text("nothing")

    assert "belong together" in refused(capsys, "--tls-cert", str(file))
    said = refused(capsys, "--tls-cert", str(file), "--tls-key", str(file))
    assert "no certificate with its key" in said


def test_it_starts_takes_events_and_keeps_them(tmp_path):
    with live_dashboard(tmp_path) as served:
        served.publish(*scene.scores())

    lines = (tmp_path / "state.jsonl").read_text().splitlines()
    assert len(lines) == 1 + len(list(scene.scores()))


def test_the_publisher_and_the_dashboard_agree(tmp_path):
    token = "correct-horse-battery-staple"
    with live_dashboard(tmp_path, token=token) as served:
        url = served.url + "publish"

        assert Publisher(url, token).publish(list(scene.scores())) == len(list(scene.scores()))
        with pytest.raises(EventError, match=r"HTTP 401: .*a token is wanted"):
            Publisher(url, "another-token-of-some-length").publish(list(scene.scores()))


def test_fresh_forgets(tmp_path, monkeypatch):
    from cis490_pipeline.cli.operate import dashboard as command

    state = tmp_path / "data" / "dashboard" / "state.jsonl"
    state.parent.mkdir(parents=True)
    state.write_text('{"dashboard_state":1}\n{"type":"phase","phase":"clean"}\n')
    monkeypatch.setattr(command, "_until_stopped", _stop_at_once)

    main_exits_well(["dashboard"])
    assert "clean" in state.read_text()
    main_exits_well(["dashboard", "--fresh"])
    assert "clean" not in state.read_text()


def test_fresh_forgets_nothing_of_a_dashboard_that_runs(tmp_path, capsys):
    with live_dashboard(tmp_path) as served:
        served.publish(*scene.scores())
        state = tmp_path / "state.jsonl"
        before = state.read_bytes()

        said = refused(capsys, "--fresh", "--port", "0", "--state", str(state))

        assert "another dashboard keeps its state there" in said
        assert state.read_bytes() == before
        served.publish(*scene.scores())


def test_fresh_forgets_nothing_if_it_cannot_listen(tmp_path, capsys):
    state = tmp_path / "state.jsonl"
    state.write_text('{"dashboard_state":1}\n{"type":"phase","phase":"clean"}\n')
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])

        assert "cannot listen" in refused(capsys, "--fresh", "--port", port, "--state", str(state))

    assert "clean" in state.read_text()


def test_lines_that_are_no_events_are_said_at_the_start(tmp_path, capsys, monkeypatch):
    from cis490_pipeline.cli.operate import dashboard as command

    state = tmp_path / "state.jsonl"
    state.write_text('{"dashboard_state":1}\nwhat is this\n{"type":"phase","phase":"clean"}\n')
    monkeypatch.setattr(command, "_until_stopped", _stop_at_once)

    main_exits_well(["dashboard", "--state", str(state)])

    assert f"{state}: 1 lines hold no event" in capsys.readouterr().err


def test_a_dashboard_that_may_write_no_more_refuses_and_goes_on_when_it_may(tmp_path):
    with live_dashboard(tmp_path) as served:
        served.publish(*scene.scores())
        size = (tmp_path / "state.jsonl").stat().st_size
        _, hard = resource.prlimit(served.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(served.pid, resource.RLIMIT_FSIZE, (size + 100, hard))
        with pytest.raises(urllib.error.HTTPError, match="507") as refused:
            served.publish(*scene.scores())
        assert refused.value.headers["Retry-After"] == "5"
        assert served.health()["status"] == "degraded"
        refused.value.close()

        resource.prlimit(served.pid, resource.RLIMIT_FSIZE, (hard, hard))
        served.publish(*scene.sources())
        assert served.health()["status"] == "ok"
        served.stop(signal.SIGKILL)

    kept = (tmp_path / "state.jsonl").read_text().splitlines()
    assert len(kept) == 1 + len(list(scene.scores())) + len(list(scene.sources()))


async def _stop_at_once(*_: object) -> None:
    pass


def main_exits_well(arguments):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 0
