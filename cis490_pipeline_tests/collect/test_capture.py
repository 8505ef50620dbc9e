"""Live capture in a namespace of its own: by sockets, and by a ring with and without numpy."""

import socket
import struct
import sys
from pathlib import Path

import pytest

from cis490_pipeline.collect import interfaces
from cis490_pipeline.collect.interfaces import Stamps, physical_interfaces
from cis490_pipeline_tests.collect import scenarios
from cis490_pipeline_tests.collect.namespaces import REMEDY, entering, in_namespace, run_function

S = 1_000_000_000
each_reader = pytest.mark.parametrize("reader", ["sockets", "ring", "ring-bare"])


@each_reader
@pytest.mark.parametrize("copies", [1, 100])
def test_known_traffic_is_counted_exactly_in_both_directions(reader: str, copies: int) -> None:
    sums = in_namespace(scenarios.known_traffic, reader, copies)

    assert sums["pkts_out"] == 3 * copies
    assert sums["pkts_in"] == copies
    assert sums["bytes_out"] == (40 + 52 + 41) * copies
    assert sums["bytes_in"] == 40 * copies
    assert (sums["tcp_syn_out"], sums["tcp_rst"], sums["udp_pkts"]) == (copies,) * 3
    # The IPv6 flow once, and the TCP flow at each SYN after a RST.
    assert sums["new_flows"] == 1 + copies


@each_reader
def test_from_outside_what_the_interface_receives_is_outgoing(reader: str) -> None:
    sums = in_namespace(scenarios.from_outside, reader)

    assert (sums["pkts_out"], sums["pkts_in"], sums["tcp_syn_out"]) == (1, 1, 1)


@each_reader
def test_frames_whose_tag_the_kernel_took_out_are_counted(reader: str) -> None:
    sums = in_namespace(scenarios.tagged, reader)

    assert (sums["pkts_out"], sums["pkts_in"], sums["bytes_out"], sums["bytes_in"]) == (
        2,
        2,
        60,
        56,
    )
    assert (sums["udp_pkts"], sums["new_flows"]) == (4, 1)


@each_reader
@pytest.mark.parametrize("version", [4, 6])
def test_segments_of_super_packets_are_counted_as_tcp_counts_them(
    reader: str, version: int
) -> None:
    sums = in_namespace(scenarios.offloaded_tcp, reader, version)
    header = (20 if version == 4 else 40) + 32

    assert sums["received"] == 750_000
    assert sums["segs_out"] > 2000
    assert sums["pkts_out"] == pytest.approx(sums["segs_out"], rel=0.02)
    assert sums["pkts_in"] == pytest.approx(sums["segs_in"], rel=0.02)
    assert sums["bytes_out"] == pytest.approx(3_000_000 + sums["segs_out"] * header, rel=0.01)
    assert sums["bytes_in"] == pytest.approx(750_000 + sums["segs_in"] * header, rel=0.01)
    assert (sums["tcp_syn_out"], sums["new_flows"]) == (1, 1)


@each_reader
@pytest.mark.parametrize("version", [4, 6])
def test_datagrams_of_super_packets_are_counted_one_by_one(reader: str, version: int) -> None:
    sums = in_namespace(scenarios.offloaded_udp, reader, version)
    header = (20 if version == 4 else 40) + 8

    assert sums["received"] == [1000] * 10 + [500]
    # 30,000 bytes in datagrams of 1,400, and the request.
    assert (sums["pkts_out"], sums["pkts_in"]) == (100 * (22 + 1), 100 * 11)
    assert sums["bytes_out"] == 100 * (30_000 + 6 + 23 * header)
    assert sums["bytes_in"] == 100 * (10_500 + 11 * header)
    assert sums["udp_pkts"] == 100 * 34
    assert (sums["new_flows"], sums["dst_ports"] > 0) == (1, True)


@each_reader
def test_the_agents_own_connection_is_left_out(reader: str) -> None:
    sums = in_namespace(scenarios.offloaded_tcp, reader, 4, True)

    assert sums["received"] == 750_000
    assert (sums["pkts_out"], sums["pkts_in"], sums["new_flows"]) == (0, 0, 0)


@each_reader
def test_an_interface_that_goes_is_bound_again_when_it_comes_back(reader: str) -> None:
    before, away, absent, returned, after, down, up = in_namespace(
        scenarios.interface_that_goes, reader
    )

    assert before == 2
    assert set(away) == {0}
    assert absent == ["v0"]
    # What crossed between its return and the binding is unknown.
    assert None in returned
    assert after == 3
    assert set(down) == {0}
    assert up == 1


@each_reader
def test_a_bucket_in_which_the_kernel_dropped_packets_has_no_amounts(reader: str) -> None:
    found = in_namespace(scenarios.flood_without_reading, reader)

    assert set(found["quiet"]) == {0}
    assert found["dropped"] > 0
    assert found["packets"] >= 40_000
    assert None in found["flooded"]
    assert set(found["flooded"]) <= {None, 0}
    assert ["NoneType"] in found["fields_of_flooded"]
    assert found["after"] == 1


@each_reader
def test_several_interfaces_share_rows_and_flows_and_an_absent_one_is_named(reader: str) -> None:
    assert in_namespace(scenarios.two_interfaces, reader) == [3, 1, ["x9"]]


def test_where_the_kernel_refuses_a_ring_sockets_are_read() -> None:
    taken, reason, remedy = in_namespace(scenarios.without_a_ring)

    assert taken == "SocketReader"
    assert reason.startswith("lo: no ring of ")
    assert remedy == "capture without the ring"


@pytest.mark.parametrize(
    ("ring", "means"), [(True, "a ring, in arrays of numpy"), (False, "sockets, packet by packet")]
)
def test_a_capture_names_its_means(ring: bool, means: str) -> None:
    assert in_namespace(scenarios.means, ring) == means


def test_the_ring_needs_no_numpy() -> None:
    assert in_namespace(scenarios.without_numpy) == [True, False]


def test_without_the_capability_there_is_no_capture_and_a_remedy() -> None:
    if "-Urn" not in entering():
        pytest.skip(REMEDY)
    reason, remedy, message = run_function(["unshare", "-U"], scenarios.refused, ["lo"])

    assert reason == "no CAP_NET_RAW, which packet sockets need"
    assert f"setcap cap_net_raw+ep {Path(sys.executable).resolve()}" in remedy
    assert message == f"{reason}; {remedy}"


def capability_of(version_and_flags: int, permitted: int) -> bytes:
    """A file's capabilities as the kernel stores them, revision 2."""
    return struct.pack("<5I", version_and_flags, permitted, 0, 0, 0)


@pytest.mark.parametrize(
    ("held", "reason"),
    [
        (capability_of(0x2000001, 1 << 13), "/bin/py holds CAP_NET_RAW, but this process did not"),
        (capability_of(0x2000001, 1 << 12), "no CAP_NET_RAW"),
        (b"", "no CAP_NET_RAW"),
        (None, "no CAP_NET_RAW"),
    ],
    ids=["net_raw", "net_admin", "empty", "none"],
)
def test_a_capability_that_the_interpreter_holds_is_not_asked_for_again(
    held: bytes | None, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def getxattr(path: str, name: str) -> bytes:
        assert (path, name) == ("/bin/py", "security.capability")
        if held is None:
            raise OSError("no such attribute")
        return held

    monkeypatch.setattr(interfaces.os, "getxattr", getxattr)
    refusal = interfaces.not_permitted("/bin/py")

    assert refusal.reason.startswith(reason)
    assert ("setcap" in refusal.remedy) == reason.startswith("no ")


def test_an_unknown_interface_is_named_with_those_that_exist() -> None:
    reason, remedy, _ = in_namespace(scenarios.refused, ["ethX"])

    assert reason == "no interface is called ethX"
    assert remedy == "name one of those that exist: lo"


def test_a_capture_of_nothing_is_refused() -> None:
    reason, remedy, _ = scenarios.refused([])

    assert reason == "no network interface given or found"
    assert remedy.startswith("name one of those that exist with --iface: ")
    assert "lo" in remedy.partition(": ")[2].split(", ")


def test_a_system_without_packet_sockets_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "AF_PACKET")

    assert scenarios.refused(["lo"])[0] == "this system has no packet sockets"


def test_physical_interfaces_are_those_with_a_device(tmp_path: Path) -> None:
    for name in ("wlan0/device", "eth0/device", "lo", "docker0", "veth1"):
        (tmp_path / "sys/class/net" / name).mkdir(parents=True)

    assert physical_interfaces(f"{tmp_path}/sys/class/net") == ["eth0", "wlan0"]
    assert physical_interfaces(f"{tmp_path}/nowhere") == []


class Clocks:
    """Wall and monotonic time under the test's control."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.mono_ns, self.offset_ns = 100 * S, 1_000_000 * S
        monkeypatch.setattr(interfaces.time, "monotonic_ns", lambda: self.mono_ns)
        monkeypatch.setattr(interfaces.time, "time_ns", lambda: self.mono_ns + self.offset_ns)


@pytest.mark.parametrize("step_ns", [-3600 * S, -S // 10, 0, 1000, S // 10, 3600 * S])
def test_packets_that_waited_while_the_clock_was_set_keep_their_time(
    monkeypatch: pytest.MonkeyPatch, step_ns: int
) -> None:
    clocks = Clocks(monkeypatch)
    stamps = Stamps()
    clocks.mono_ns += S // 50
    before = clocks.mono_ns + clocks.offset_ns
    clocks.mono_ns += S // 50
    clocks.offset_ns += step_ns
    after = clocks.mono_ns + clocks.offset_ns
    stamps.refresh()

    assert stamps.monotonic_ns(after) == clocks.mono_ns
    assert abs(stamps.monotonic_ns(before) - (clocks.mono_ns - S // 50)) <= 1000


def test_a_stamp_that_cannot_be_is_put_within_the_time_since_the_last_reading(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clocks = Clocks(monkeypatch)
    stamps = Stamps()
    clocks.mono_ns += S
    stamps.refresh()

    assert stamps.monotonic_ns(0) == 100 * S
    assert stamps.monotonic_ns(2 * clocks.offset_ns) == 101 * S
