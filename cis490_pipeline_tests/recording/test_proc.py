import os

import pytest

from cis490_pipeline.domain import CHANNELS, Source
from cis490_pipeline.errors import RecordingError
from cis490_pipeline.recording.host.pressure import PressureMeter
from cis490_pipeline.recording.host.proc import PAGE_BYTES, ProcessReader, ThreadSum

STAT = (
    "42 (qemu) system (x) S 1 42 42 0 -1 4194560 1200 0 34 0 561 78 0 0 20 0 {threads} 0 9999 "
    "2000000000 25000 18446744073709551615 1 1 0 0 0 0 0 0 0 0 0 0 17 0 0 0 0 0 0 0 0 0 0 0 0 0 0"
)
IO = "rchar: 1\nwchar: 2\nsyscr: 300\nsyscw: 40\nread_bytes: 8192\nwrite_bytes: 4096\n"


def write_process(root, threads):
    """A fixture of ``/proc/42``; threads: id -> (voluntary, involuntary, ran, waited)."""
    folder = root / "42"
    for old in folder.glob("task/*/*"):
        old.unlink()
    for old in folder.glob("task/*"):
        old.rmdir()
    folder.mkdir(exist_ok=True)
    (folder / "stat").write_text(STAT.format(threads=len(threads)))
    (folder / "io").write_text(IO)
    for thread, (voluntary, involuntary, ran, waited) in threads.items():
        task = folder / "task" / str(thread)
        task.mkdir(parents=True)
        (task / "status").write_text(
            f"Name:\tqemu\nvoluntary_ctxt_switches:\t{voluntary}\n"
            f"nonvoluntary_ctxt_switches:\t{involuntary}\n"
        )
        (task / "schedstat").write_text(f"{ran} {waited} 9\n")


def test_every_channel_of_proc_is_read(tmp_path):
    write_process(tmp_path, {42: (10, 1, 0, 0), 43: (20, 2, 0, 0)})
    reading = ProcessReader(42, tmp_path).read()

    assert {*reading} == {c.field for c in CHANNELS if c.source is Source.PROC}
    assert reading == {
        "minor_faults": 1200,
        "major_faults": 34,
        "cpu_user_jiffies": 561,
        "cpu_sys_jiffies": 78,
        "num_threads": 2,
        "rss_bytes": 25000 * PAGE_BYTES,
        "io_read_calls": 300,
        "io_write_calls": 40,
        "io_read_bytes": 8192,
        "io_write_bytes": 4096,
        "ctxt_voluntary": 30,
        "ctxt_involuntary": 3,
    }


def test_switches_never_fall_when_a_thread_ends_and_grow_with_new_ones(tmp_path):
    reader = ProcessReader(42, tmp_path)
    totals = []
    for threads in (
        {42: (10, 0, 0, 0), 43: (500, 0, 0, 0)},
        {42: (11, 0, 0, 0)},
        {42: (12, 0, 0, 0), 44: (3, 0, 0, 0)},
        {42: (12, 0, 0, 0), 44: (1, 0, 0, 0)},
    ):
        write_process(tmp_path, threads)
        totals.append(reader.read()["ctxt_voluntary"])

    # The last thread 44 counts less than before: another one of the same number.
    assert totals == [510, 511, 515, 516]


def test_a_process_that_ended_is_an_error_that_says_so(tmp_path):
    with pytest.raises(RecordingError, match="QEMU has ended"):
        ProcessReader(42, tmp_path).read()


def test_a_living_process_is_read():
    first, second = (ProcessReader(os.getpid()).read() for _ in range(2))

    assert first["rss_bytes"] > 1 << 20
    assert second["minor_faults"] >= first["minor_faults"]


def test_a_sum_over_threads_adds_growth_only():
    total = ThreadSum(1)
    for counts in ({1: (5,)}, {1: (7,), 2: (1,)}, {2: (4,)}):
        total.add(counts)

    assert total.totals == [5 + 2 + 1 + 3]


def test_pressure_is_the_growth_of_psi_and_of_waiting(tmp_path):
    (tmp_path / "pressure").mkdir()
    psi = tmp_path / "pressure" / "cpu"
    psi.write_text("some avg10=1.00 avg60=1.00 avg300=1.00 total=1000000\nfull total=5\n")
    write_process(tmp_path, {42: (0, 0, 10**9, 10**9)})
    meter = PressureMeter(ProcessReader(42, tmp_path), 0, tmp_path)
    psi.write_text("some avg10=1.00 avg60=1.00 avg300=1.00 total=3500000\nfull total=5\n")
    write_process(tmp_path, {42: (0, 0, 2 * 10**9, 4 * 10**9)})
    measured = meter.measured(10 * 10**9)

    assert measured["some_share"] == {"cpu": 0.25, "io": None, "memory": None}
    assert (measured["qemu_run_s"], measured["qemu_wait_s"]) == (1.0, 3.0)
    assert measured["qemu_wait_share"] == 0.75
