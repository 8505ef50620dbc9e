import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from cis490_pipeline.features.calibration.record import write_record
from cis490_pipeline_tests.cli.runs import Cli
from cis490_pipeline_tests.experiment.runs import SAMPLE
from cis490_pipeline_tests.live.made_up import as_line, device_rows
from cis490_pipeline_tests.live.test_engine import make_record
from cis490_pipeline_tests.test_architecture import loaded_by

EPISODE = str(SAMPLE / "episodes" / "lab-nuc" / "01M81A4G7HG6227JT3ED18N2YV.tar.zst")
ROOT = SAMPLE.parents[1]
NET_FIELDS = ["net_rx_bytes", "net_tx_bytes", "net_rx_packets", "net_tx_packets"]
HEAVY = {"torch", "xgboost", "dagster", "pandas", "sklearn", "scipy", "onnx", "aiohttp"}


@pytest.fixture
def data(finished):
    return str(finished.paths.root)


def windows(text):
    return [line for line in map(json.loads, text.splitlines()) if line["type"] == "window"]


def test_live_of_an_archive_tells_every_window_of_every_model(plain: Cli, data):
    done = plain("live", EPISODE, "--data", data, "--json")

    assert done.code == 0
    assert [line["window_idx"] for line in windows(done.out)] == list(range(3, 13))
    assert len(windows(done.out)[0]["models"]) == 4
    assert "4 models, " in done.err
    assert "ended after 10 windows; 0 rows late, 0 lines left out" in done.err


def test_a_bundle_says_what_its_data_folder_says(plain: Cli, data, tmp_path):
    bundle = tmp_path / "device"

    made = plain("bundle", str(bundle), "--data", data, "--json").json
    by_bundle = plain("live", EPISODE, "--bundle", str(bundle), "--json")
    by_folder = plain("live", EPISODE, "--data", data, "--variant", "realistic", "--json")

    assert sorted(made["models"]) == ["gbt_realistic", "mlp_realistic"]
    assert made["without_alarm"] == []
    assert windows(by_bundle.out) == windows(by_folder.out)


def test_live_appends_what_it_prints(plain: Cli, data, tmp_path):
    out = tmp_path / "out.jsonl"

    done = plain("live", EPISODE, "--data", data, "--out", str(out), "--json", "--model", "gbt")

    assert windows(out.read_text()) == windows(done.out)


def test_with_a_record_of_the_device_windows_begin_at_once_and_it_is_named(
    plain: Cli, data, tmp_path
):
    write_record(tmp_path / "record.json", make_record(labelled_clean=False))

    arguments = ("--data", data, "--calibration", str(tmp_path / "record.json"), "--json")
    done = plain("live", EPISODE, *arguments)

    assert [line["window_idx"] for line in windows(done.out)] == list(range(13))
    assert all(line["suspect_baseline"] for line in windows(done.out))
    assert "calibrated by the record of lab-nuc" in done.err
    assert "the record was not found clean" in done.err


def test_a_bundle_names_its_models_itself(plain: Cli, tmp_path):
    done = plain("live", EPISODE, "--bundle", str(tmp_path), "--model", "gbt")

    assert done.code == 2
    assert "--bundle has its own models" in done.err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nowhere"], "nowhere: neither a folder of an episode nor an archive"),
        (["tcp:0.0.0.0:1"], "rows are accepted on loopback only"),
        ([EPISODE, "--speed", "0"], "Invalid value for '--speed'"),
        ([EPISODE, "--calibration", "none.json"], "no calibration record to read"),
    ],
)
def test_what_live_cannot_do_is_one_clear_error(plain: Cli, data, arguments, told):
    done = plain("live", *arguments, "--data", data)

    assert done.code == 2
    assert told in done.err
    assert "Traceback" not in done.err


def test_without_trained_models_live_says_how_to_get_them(plain: Cli, tmp_path):
    done = plain("live", EPISODE, "--data", str(tmp_path))

    assert done.code == 2
    assert "none of the 12 chosen models of recipe host is trained; run: cis490 train" in done.err


def command(*arguments):
    code = "from cis490_pipeline.cli import main; main()"
    return [sys.executable, "-c", code, *arguments]


def test_live_from_a_pipe_goes_on_after_a_line_that_is_none_and_ends_with_it(data):
    rows = b"".join(map(as_line, device_rows(31)))

    done = subprocess.run(
        command("live", "-", "--data", data, "--json", "--model", "mlp"),
        input=b"what?\n" + rows,
        capture_output=True,
        check=False,
        cwd=ROOT,
    )

    assert done.returncode == 0
    assert len(windows(done.stdout.decode())) == 2
    assert b"stdin line 1: not a JSON object" in done.stderr
    assert b"1 lines left out" in done.stderr


def test_ctrl_c_ends_live_cleanly(data):
    process = subprocess.Popen(
        command("live", "-", "--data", data, "--plain", "--model", "mlp"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"".join(map(as_line, device_rows(31))))
    process.stdin.flush()
    for line in process.stdout:
        if b"window 4" in line:
            break

    os.kill(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)

    assert process.returncode == 130
    assert err.decode().splitlines()[-1].startswith("interrupted")
    assert b"Traceback" not in out + err


def piped(*arguments, lines):
    return subprocess.run(
        command("live", "-", "--plain", "--model", "mlp", *arguments),
        input=b"".join(lines),
        capture_output=True,
        check=False,
        cwd=ROOT,
    )


def test_when_no_line_is_a_row_live_says_why_and_ends_with_1(data):
    rows = map(as_line, device_rows(31))
    wrapped = [json.dumps({"log": row.decode()}).encode() + b"\n" for row in rows]

    done = piped("--data", data, lines=wrapped)

    assert done.returncode == 1
    last = done.stderr.decode().splitlines()[-4:]
    assert last[0] == f"no row could be used: {len(wrapped)} lines are no rows"
    assert "the row is wrapped in the field `log`" in last[1]


def test_without_any_row_live_ends_with_1(data):
    done = piped("--data", data, lines=[])

    assert done.returncode == 1
    assert b"no row arrived" in done.stderr


def test_a_closed_standard_input_is_one_clear_error(data):
    shell = " ".join(["exec", '"$@"', "<&-"])

    done = subprocess.run(
        ["/bin/sh", "-c", shell, "sh", *command("live", "-", "--data", data)],
        capture_output=True,
        check=False,
        cwd=ROOT,
    )

    assert done.returncode == 2
    assert b"standard input is closed" in done.stderr
    assert b"Traceback" not in done.stderr


def test_a_full_disk_under_out_ends_nothing_and_is_told(data):
    done = piped("--data", data, "--out", "/dev/full", lines=map(as_line, device_rows(60)))

    assert done.returncode == 1
    assert b"window 10:" in done.stdout
    assert b"/dev/full: No space left on device" in done.stderr
    assert b"/dev/full: " in done.stderr.splitlines()[-1]
    assert b"lines were lost" in done.stderr.splitlines()[-1]


@pytest.mark.long
def test_a_restart_goes_on_with_the_kept_calibration_and_says_so(data, tmp_path):
    state = ("--data", data, "--state", str(tmp_path / "state"))
    rows = [as_line(row) for row in device_rows(60)]

    first = piped(*state, lines=rows)
    second = piped(*state, lines=rows)
    without = piped("--data", data, lines=rows)

    assert b"stored in" in first.stderr
    assert b"window 3:" in first.stdout
    assert b"window 2:" not in first.stdout
    assert b"calibrated as stored in" in second.stderr
    assert b"not taken again" in second.stderr
    assert b"window 0:" in second.stdout
    assert b"again after a restart, infected or not: --state DIR" in without.stderr


def test_a_damaged_kept_calibration_is_refused(plain: Cli, data, tmp_path):
    (tmp_path / "calibration.json").write_text("{}")

    done = plain("live", "-", "--data", data, "--state", str(tmp_path))

    assert done.code == 2
    assert "remove it to calibrate the device again" in done.err


def test_a_record_and_a_state_are_not_both_taken(plain: Cli, data, tmp_path):
    done = plain(
        "live", "-", "--data", data, "--state", str(tmp_path), "--calibration", "record.json"
    )

    assert done.code == 2
    assert "--calibration and --state both give a calibration" in done.err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_end_removes_the_socket_and_ends_with_0(data, tmp_path, number):
    path = tmp_path / "rows.sock"
    process = subprocess.Popen(
        command("live", f"unix:{path}", "--data", data, "--plain", "--model", "mlp"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
    )
    assert process.stdout is not None
    process.stdout.readline()
    was_there = path.is_socket()

    process.send_signal(number)
    _, err = process.communicate(timeout=60)

    assert was_there
    assert process.returncode == 0
    assert not path.exists()
    assert b"ended after 0 windows" in err


def test_the_socket_is_removed_when_an_output_cannot_be_opened(plain: Cli, data, tmp_path):
    path = tmp_path / "rows.sock"
    (tmp_path / "file").touch()

    done = plain("live", f"unix:{path}", "--data", data, "--out", str(tmp_path / "file" / "out"))

    assert done.code == 2
    assert not path.exists()


def test_standard_output_that_nothing_reads_ends_no_run_with_another_output(data, tmp_path):
    reading, writing = os.pipe()
    out = tmp_path / "out.jsonl"
    rows = b"".join(map(as_line, device_rows(60)))

    process = subprocess.Popen(
        command("live", "-", "--data", data, "--plain", "--model", "mlp", "--out", str(out)),
        stdin=subprocess.PIPE,
        stdout=writing,
        stderr=subprocess.PIPE,
        cwd=ROOT,
    )
    os.close(writing)
    os.close(reading)
    _, err = process.communicate(rows, timeout=120)

    assert len(windows(out.read_text())) == 8
    assert b"standard output: nothing reads it" in err
    assert process.returncode == 1


@pytest.mark.long
def test_an_agent_of_this_machine_is_judged_over_tcp_by_those_who_hold_the_token(data, tmp_path):
    token, out = tmp_path / "token", tmp_path / "out.jsonl"
    token.write_text("0123456789abcdef\n")
    token.chmod(0o600)
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"tcp:127.0.0.1:{free.getsockname()[1]}"
    flags = ["--token-file", str(token)]
    live = subprocess.Popen(
        command("live", address, *flags, "--data", data, "--model", "mlp", "--out", str(out)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
    )
    sent = ["--to", address, *flags, "--device", "this-one", "--no-netflow", "--seconds", "34"]
    agent = subprocess.run(
        command("agent", *sent), capture_output=True, text=True, timeout=120, cwd=ROOT, check=False
    )
    live.send_signal(signal.SIGTERM)
    _, err = live.communicate(timeout=60)

    assert agent.returncode == 0, agent.stderr
    assert live.returncode == 0, err
    assert len(windows(out.read_text())) >= 1
    states = [line for line in map(json.loads, out.read_text().splitlines()) if "agent" in line]
    assert states[-1]["agent"]["device"] == "this-one"
    assert states[-1]["agent"]["fields_lost"] in ([], NET_FIELDS)
    assert b"0 lines left out" in err


@pytest.mark.parametrize("module", ["live.engine", "live.bundle", "live.run", "cli.devices.live"])
def test_live_loads_none_of_the_heavy_libraries(module: str) -> None:
    assert loaded_by(f"import cis490_pipeline.{module}").isdisjoint(HEAVY)


@pytest.mark.long
def test_a_fresh_environment_with_live_alone_runs_live_on_a_recorded_episode(
    data, plain: Cli, tmp_path: Path
) -> None:
    bundle = tmp_path / "device"
    plain("bundle", str(bundle), "--data", data)
    home = tmp_path / "fresh"
    venv.create(home, with_pip=True)
    python = str(home / "bin" / "python")
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    constraints = str(ROOT / "constraints.txt")
    # From a copy: building writes beside the sources.
    source = tmp_path / "source"
    shutil.copytree(ROOT / "cis490_pipeline", source / "cis490_pipeline")
    for name in ("pyproject.toml", "README.md"):
        shutil.copy2(ROOT / name, source)
    subprocess.run([*pip, "--constraint", constraints, f"{source}[live]"], check=True)
    listed = subprocess.run(
        [python, "-m", "pip", "list", "--format=json", "--disable-pip-version-check"],
        capture_output=True,
        check=True,
    )
    installed = {row["name"].lower() for row in json.loads(listed.stdout)}

    done = subprocess.run(
        [str(home / "bin" / "cis490"), "live", EPISODE, "--bundle", str(bundle), "--json"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        # What was installed, and not what lies on the path of the tests.
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        check=False,
    )

    assert installed.isdisjoint({"torch", "xgboost", "xgboost-cpu", "dagster", "pandas"})
    assert done.returncode == 0, done.stderr
    assert [line["window_idx"] for line in windows(done.stdout)] == list(range(3, 13))
