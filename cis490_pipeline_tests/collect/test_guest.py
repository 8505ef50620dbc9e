"""Guest rows are the format's, on machines of several kinds and on this one."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cis490_pipeline.collect.contract import GUEST_FIELDS
from cis490_pipeline.collect.guest import MAX_OPEN, GuestReader, guest_row
from cis490_pipeline.domain import Source
from cis490_pipeline.live.feeds.rows import LiveRow, read_line
from cis490_pipeline_tests.collect.helpers import proc_trees

PAGE = 4096


def reader(
    root: Path, interfaces: tuple[str, ...] = ("eth0", "wlan0"), **units: int
) -> GuestReader:
    units = {"ticks_per_s": 100, "page_bytes": PAGE, **units}
    return GuestReader(lambda: interfaces, proc=str(root), **units)


def readings(tmp_path: Path, files: dict[str, str], **units: int) -> dict[str, int | float | None]:
    return reader(proc_trees.write(tmp_path, files), **units).readings()


def test_a_desktops_readings_are_these(tmp_path: Path) -> None:
    assert readings(tmp_path, proc_trees.x86()) == {
        "cpu_user": 500,
        "cpu_sys": 300,
        "cpu_iowait": 50,
        "cpu_softirq": 20,
        "ctxt": 777777,
        "intr": 123456,
        "forks": 4321,
        "net_rx_bytes": 1005,
        "net_tx_bytes": 2007,
        "net_rx_packets": 11,
        "net_tx_packets": 22,
        "procs_running": 3,
        "load_1m": 0.52,
        "mem_available_bytes": 12000000 * 1024,
        "mem_cached_bytes": 6000000 * 1024,
        "mem_dirty_bytes": 264 * 1024,
        "tcp_established": 9,
        "tcp_total": 16,
        "top_rss_bytes": 250000 * PAGE,
    }


def test_a_pi_has_every_reading_too(tmp_path: Path) -> None:
    found = readings(tmp_path, proc_trees.pi(), page_bytes=16384)

    assert None not in found.values()
    assert (found["intr"], found["net_tx_bytes"], found["tcp_total"]) == (4000, 4294967295, 2)
    assert found["top_rss_bytes"] == 500 * 16384


def test_a_container_names_what_it_lacks_and_gives_the_rest(tmp_path: Path) -> None:
    found = readings(tmp_path, proc_trees.container())

    assert [name for name, value in found.items() if value is None] == ["intr"]
    assert found["net_rx_bytes"] == 1000
    assert found["tcp_total"] == 1


def test_cpu_time_is_in_hundredths_of_a_second_whatever_the_kernels_unit(tmp_path: Path) -> None:
    found = readings(tmp_path, proc_trees.x86(), ticks_per_s=250)

    assert (found["cpu_user"], found["cpu_sys"]) == (500 * 100 // 250, 300 * 100 // 250)


@pytest.mark.parametrize(
    ("lost", "fields"),
    [
        ("loadavg", ["load_1m"]),
        ("meminfo", ["mem_available_bytes", "mem_cached_bytes", "mem_dirty_bytes"]),
        ("net/dev", ["net_rx_bytes", "net_tx_bytes", "net_rx_packets", "net_tx_packets"]),
        ("net/sockstat", ["tcp_total"]),
        ("net/snmp", ["tcp_established"]),
        ("1/statm", ["top_rss_bytes"]),
    ],
)
@pytest.mark.parametrize("how", ["missing", "empty", "garbage"])
def test_a_file_that_is_missing_or_says_nothing_costs_its_own_fields(
    tmp_path: Path, lost: str, fields: list[str], how: str
) -> None:
    files = proc_trees.x86()
    if how == "missing":
        del files[lost]
    else:
        files[lost] = (
            "" if how == "empty" else "Tcp: what\nTCP: inuse x\nCached: -3 kB\neth0: 1 2\n"
        )

    found = readings(tmp_path, files)

    assert [name for name, value in found.items() if value is None] == fields


def test_without_stat_its_seven_fields_are_unknown(tmp_path: Path) -> None:
    files = proc_trees.x86()
    del files["stat"]

    found = readings(tmp_path, files)

    lost = {"cpu_user", "cpu_sys", "cpu_iowait", "cpu_softirq", "ctxt", "intr", "forks"}
    assert {name for name, value in found.items() if value is None} == {*lost, "procs_running"}


def test_traffic_of_no_chosen_interface_is_unknown_rather_than_zero(tmp_path: Path) -> None:
    root = proc_trees.write(tmp_path, proc_trees.x86())

    assert reader(root, ("usb0",)).readings()["net_rx_bytes"] is None
    assert reader(root, ()).readings()["net_rx_bytes"] is None


def test_four_thousand_sockets_are_counted_without_their_table(tmp_path: Path) -> None:
    root = proc_trees.write(tmp_path, proc_trees.many_sockets(4000))
    os.truncate(root / "net/tcp", 0)

    found = reader(root).readings()

    assert (found["tcp_established"], found["tcp_total"]) == (4000, 4004)


def test_processes_that_end_while_they_are_listed_are_left_out(tmp_path: Path) -> None:
    root = proc_trees.write(tmp_path, proc_trees.x86())
    (root / "815" / "statm").unlink()

    assert reader(root).readings()["top_rss_bytes"] == 3000 * PAGE


def test_a_process_that_ended_counts_no_more(tmp_path: Path) -> None:
    code = "import sys; x = b'x' * (300 << 20); print(flush=True); sys.stdin.read()"
    mine = reader(tmp_path, page_bytes=os.sysconf("SC_PAGE_SIZE"))
    with (
        subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE) as small,
        subprocess.Popen(
            [sys.executable, "-S", "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as big,
    ):
        (tmp_path / "1").symlink_to(f"/proc/{small.pid}")
        (tmp_path / "2").symlink_to(f"/proc/{big.pid}")
        assert big.stdout is not None
        big.stdout.readline()
        found = [mine.readings()["top_rss_bytes"] for _ in range(2)]
        big.communicate(b"")
        found.append(mine.readings()["top_rss_bytes"])
        small.communicate(b"\n")
        found.append(mine.readings()["top_rss_bytes"])
    mine.close()

    assert found[3] is None
    assert [value is not None and value >= 300 << 20 for value in found[:3]] == [True, True, False]


def test_more_processes_than_files_may_stay_open_are_all_read(tmp_path: Path) -> None:
    root = proc_trees.write(tmp_path, proc_trees.x86())
    for pid in range(1000, 1000 + MAX_OPEN + 50):
        proc_trees.write(root, {f"{pid}/statm": f"1 {pid} 0 0 0 0 0\n"})
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    mine = reader(root)

    found = [mine.readings()["top_rss_bytes"] for _ in range(2)]

    assert found == [250000 * PAGE] * 2
    assert len(os.listdir("/proc/self/fd")) - before == MAX_OPEN  # noqa: PTH208
    for pid in range(1000, 1000 + MAX_OPEN + 50):
        (root / str(pid) / "statm").unlink()
        (root / str(pid)).rmdir()
    mine.readings()
    assert len(os.listdir("/proc/self/fd")) - before <= 4  # noqa: PTH208
    mine.close()
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_a_row_reads_as_one_of_the_format(tmp_path: Path) -> None:
    found = readings(tmp_path, proc_trees.x86())
    row = guest_row(found, 1795339159705884928, 52705380352)

    live = read_line(json.dumps(row).encode(), place="agent", number=1)

    assert isinstance(live, LiveRow)
    assert (live.source, live.t_wall_ns) == (Source.GUEST, 1795339159705884928)
    assert live.values == tuple(found.values())
    assert tuple(found) == GUEST_FIELDS
    assert (row["t_guest_wall_ns"], row["t_guest_mono_ns"]) == (row["t_wall_ns"], row["t_mono_ns"])
    assert row["available_in_deployment"] is True


# An independent reader: other files of the kernel, or the same counted in another way.


def cpu_and_counters() -> dict[str, int]:
    found: dict[str, int] = {}
    per_cpu = [0] * 8
    for line in Path("/proc/stat").read_text().splitlines():
        name, *words = line.split()
        if name.startswith("cpu") and name != "cpu":
            per_cpu = [total + int(word) for total, word in zip(per_cpu, words[:8], strict=True)]
        elif name in ("ctxt", "processes"):
            found[name] = int(words[0])
    return {**found, "cpu_user": per_cpu[0] + per_cpu[1], "cpu_sys": per_cpu[2]}


def test_each_counter_lies_between_two_readings_of_an_independent_reader() -> None:
    names = [name for name in sorted(os.listdir("/sys/class/net")) if name != "bonding_masters"]  # noqa: PTH208
    mine = GuestReader(lambda: names)

    def traffic(field: str) -> int:
        return sum(
            int(Path(f"/sys/class/net/{name}/statistics/{field}").read_text()) for name in names
        )

    fields = {
        f"net_{way}_{what}": f"{way}_{what}"
        for way in ("rx", "tx")
        for what in ("bytes", "packets")
    }
    before = {**cpu_and_counters(), **{mine_: traffic(theirs) for mine_, theirs in fields.items()}}
    found = mine.readings()
    after = {**cpu_and_counters(), **{mine_: traffic(theirs) for mine_, theirs in fields.items()}}

    found["processes"] = found["forks"]
    # Sums of the kernel's per-processor ticks may differ by a tick each from its own sum.
    slack = {"cpu_user": os.cpu_count() or 1, "cpu_sys": os.cpu_count() or 1}
    for name, first in before.items():
        value = found[name]
        assert value is not None
        assert first - slack.get(name, 0) <= value <= after[name] + slack.get(name, 0), name


def test_sockets_are_those_of_the_kernels_table_without_time_wait() -> None:
    def table() -> list[str]:
        paths = [Path("/proc/net/tcp"), Path("/proc/net/tcp6")]
        lines = [x for p in paths if p.exists() for x in p.read_text().splitlines()[1:]]
        return [line.split()[3] for line in lines]

    mine = GuestReader(lambda: ())
    with socket.create_server(("127.0.0.1", 0)) as server:
        pairs = []
        for _ in range(20):
            client = socket.create_connection(server.getsockname())
            pairs += [client, server.accept()[0]]
        for _ in range(50):
            before, found, after = table(), mine.readings(), table()
            if sorted(before) == sorted(after):
                break
            time.sleep(0.05)
        for end in pairs:
            end.close()

    assert found["tcp_total"] == sum(state != "06" for state in before)
    # The kernel counts CLOSE_WAIT as established.
    assert found["tcp_established"] == sum(state in ("01", "08") for state in before)


def test_the_largest_process_is_the_one_that_its_status_gives() -> None:
    def largest_kib() -> int:
        found = 0
        for path in Path("/proc").glob("[0-9]*/status"):
            try:
                text = path.read_text()
            except OSError:
                continue
            found = max(
                found, *(int(x.split()[1]) for x in text.splitlines() if x.startswith("VmRSS")), 0
            )
        return found

    # The kernel adds up a process's pages in batches: statm may lag by some of them.
    for _ in range(20):
        before, found, after = largest_kib(), GuestReader(lambda: ()).readings(), largest_kib()
        if abs(before - after) < before / 100:
            break

    assert found["top_rss_bytes"] == pytest.approx(after * 1024, rel=0.05)


def test_counters_and_gauges_are_those_of_psutil() -> None:
    psutil = pytest.importorskip("psutil")
    names = list(psutil.net_io_counters(pernic=True))
    mine = GuestReader(lambda: names)

    def theirs() -> dict[str, float]:
        cpu, traffic = psutil.cpu_times(), psutil.net_io_counters(pernic=True).values()
        return {
            "cpu_user": (cpu.user + cpu.nice) * 100,
            "cpu_sys": cpu.system * 100,
            "cpu_softirq": cpu.softirq * 100,
            "ctxt": psutil.cpu_stats().ctx_switches,
            "intr": psutil.cpu_stats().interrupts,
            "net_rx_bytes": sum(each.bytes_recv for each in traffic),
            "net_tx_bytes": sum(each.bytes_sent for each in traffic),
            "net_rx_packets": sum(each.packets_recv for each in traffic),
            "net_tx_packets": sum(each.packets_sent for each in traffic),
        }

    before, found, after = theirs(), mine.readings(), theirs()
    available = psutil.virtual_memory().available
    mine.close()

    for name, first in before.items():
        value = found[name]
        assert value is not None
        # Theirs are floating-point seconds.
        assert first - 1e-3 <= value <= after[name] + 1e-3, name
    assert found["mem_available_bytes"] == pytest.approx(available, rel=0.05)
    assert found["load_1m"] == pytest.approx(psutil.getloadavg()[0], abs=0.5)
