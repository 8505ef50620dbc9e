import json
import subprocess
import sys

import pytest

from cis490_pipeline.domain import Source
from cis490_pipeline.live.feeds.rows import LiveRow, read_line
from cis490_pipeline_tests.collect.frames import DEVICE, PEER
from cis490_pipeline_tests.collect.recorded.files import pcap, pcapng, zeek_tsv
from cis490_pipeline_tests.collect.recorded.test_packet_rows import HANDSHAKE
from cis490_pipeline_tests.collect.recorded.test_zeek import BY_HAND, EXAMPLE, amounts
from cis490_pipeline_tests.test_architecture import loaded_by


@pytest.fixture
def captured(tmp_path):
    path = tmp_path / "a.pcap"
    path.write_bytes(pcap(HANDSHAKE))
    return str(path)


def printed(done):
    return [json.loads(line) for line in done.out.splitlines()]


def test_rows_of_a_capture_are_rows_that_live_reads(plain, captured):
    done = plain("rows", "pcap", captured, "--device", DEVICE)

    assert done.code == 0
    rows = printed(done)
    assert [row["pkts_out"] for row in rows] == [2, 0, 0, 1]
    read = [read_line(json.dumps(row).encode(), place="here", number=1) for row in rows]
    assert all(isinstance(row, LiveRow) and row.source is Source.NETFLOW for row in read)
    assert done.err == f"5 packets of {DEVICE} in 4 rows\n"


def test_rows_of_a_zeek_log_are_those_computed_by_hand_and_the_loss_is_said_once(plain, tmp_path):
    (tmp_path / "conn.log").write_bytes(zeek_tsv(EXAMPLE))

    done = plain("rows", "zeek", str(tmp_path / "conn.log"), "--device", "192.0.2.10")

    assert done.code == 0
    assert [amounts(row) for row in printed(done)] == BY_HAND
    assert done.err.count("each connection counts whole at its end") == 1
    assert "left out: 1 connections of others than the device" in done.err


def test_standard_input_is_read_as_a_file_is(captured):
    command = [sys.executable, "-m", "cis490_pipeline", "rows", "pcap", "-", "--device", DEVICE]

    done = subprocess.run(command, input=pcapng(HANDSHAKE), capture_output=True, check=True)

    assert len(done.stdout.splitlines()) == 4
    with pytest.raises(subprocess.CalledProcessError) as failed:
        subprocess.run(command, input=b"text", capture_output=True, check=True)
    assert failed.value.returncode == 2
    assert failed.value.stderr.startswith(b"StoreError: standard input: begins with 74 65 78 74")


def test_a_reader_that_has_enough_ends_it_quietly(tmp_path):
    later = [(t_ns + 3000 * 10**9, frame) for t_ns, frame in HANDSHAKE]
    path = tmp_path / "long.pcap"
    path.write_bytes(pcap([*HANDSHAKE, *later]))
    command = [sys.executable, "-m", "cis490_pipeline", "rows", "pcap", str(path)]

    with subprocess.Popen(
        [*command, "--device", DEVICE], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        first = process.stdout.readline()
        process.stdout.close()
        said = process.stderr.read()

    assert json.loads(first)["pkts_out"] == 2
    assert (process.returncode, said) == (0, b"")


def test_a_device_that_is_not_there_is_a_finding_that_names_who_is(plain, captured):
    done = plain("rows", "pcap", captured, "--device", "203.0.113.9")

    assert done.code == 1
    assert done.err.endswith(
        f"nothing is from or to 203.0.113.9; most is of {DEVICE} (5), {PEER} (5): "
        "name one of them\n"
    )


def test_rows_before_a_fault_are_printed_and_the_fault_is_one_clear_line(plain, tmp_path):
    path = tmp_path / "bad.pcap"
    far = [(t_ns + 10**10, frame) for t_ns, frame in HANDSHAKE]
    path.write_bytes(pcap([*HANDSHAKE, *far]) + b"\xff" * 16)

    done = plain("rows", "pcap", str(path), "--device", DEVICE)

    assert done.code == 2
    assert len(printed(done)) > 90
    assert done.err.count("\n") == 1
    assert done.err.startswith(f"StoreError: {path}, byte ")
    assert "a packet of 4294967295 bytes" in done.err


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["--device", "router"], "ConfigError: --device: 'router' is no address of a device"),
        ([], "Missing option '--device'"),
        (["--device", DEVICE, "--tolerance", "-1"], "Invalid value for '--tolerance'"),
    ],
)
def test_what_rows_cannot_do_is_one_clear_error(plain, captured, arguments, wanted):
    done = plain("rows", "pcap", captured, *arguments)

    assert done.code == 2
    assert wanted in done.err


def test_a_file_that_is_not_there_is_named(plain, tmp_path):
    done = plain("rows", "zeek", str(tmp_path / "conn.log"), "--device", DEVICE)

    assert done.code == 2
    assert "conn.log' does not exist" in done.err


def test_rows_load_nothing_heavy():
    heavy = {"torch", "xgboost", "dagster", "pandas", "polars", "numpy", "onnxruntime"}

    assert not loaded_by("import cis490_pipeline.collect.recorded.packet_rows") & heavy
    assert not loaded_by("import cis490_pipeline.collect.recorded.connection_rows") & heavy
