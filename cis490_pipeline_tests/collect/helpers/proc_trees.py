"""Trees of ``/proc`` as machines of several kinds have them."""

from pathlib import Path

STAT_X86 = """\
cpu  400 100 300 9000 50 7 20 3 0 0
cpu0 200 50 150 4500 25 4 10 2 0 0
cpu1 200 50 150 4500 25 3 10 1 0 0
intr 123456 9 0 0 0 4 0 0 0 1 0 0 0 0 0 0 0 0 17 0 0 0
ctxt 777777
btime 1795339000
processes 4321
procs_running 3
procs_blocked 0
softirq 5555 1 2 3 4 5 6 7 8 9 10
"""
MEMINFO_X86 = """\
MemTotal:       16303012 kB
MemFree:         5000000 kB
MemAvailable:   12000000 kB
Buffers:          200000 kB
Cached:          6000000 kB
SwapCached:           12 kB
Dirty:               264 kB
Writeback:             0 kB
"""
NET_DEV = """\
Inter-| Receive | Transmit
 face |bytes packets errs drop fifo frame compressed multicast|bytes packets errs drop
    lo: 9000000 9000 0 0 0 0 0 0 9000000 9000 0 0 0 0 0 0
  eth0: 1000 10 0 0 0 0 0 0 2000 20 0 0 0 0 0 0
 wlan0: 5 1 0 0 0 0 0 0 7 2 0 0 0 0 0 0
docker0: 4000 40 0 0 0 0 0 0 4000 40 0 0 0 0 0 0
"""
SOCKSTAT = """\
sockets: used 210
TCP: inuse 12 orphan 0 tw 33 alloc 15 mem 4
UDP: inuse 5 mem 3
"""
SOCKSTAT6 = """\
TCP6: inuse 4
UDP6: inuse 2
"""
SNMP = """\
Ip: Forwarding DefaultTTL InReceives
Ip: 1 64 1000
Tcp: RtoAlgorithm RtoMin RtoMax MaxConn ActiveOpens PassiveOpens Fails Resets CurrEstab InSegs
Tcp: 1 200 120000 -1 50 7 3 2 9 12345
Udp: InDatagrams NoPorts
Udp: 10 2
"""


def write(root: Path, files: dict[str, str]) -> Path:
    """Write files below a folder, and return it."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def x86() -> dict[str, str]:
    """Return a desktop: two interfaces, a docker bridge, four processes."""
    return {
        "stat": STAT_X86,
        "loadavg": "0.52 0.58 0.59 3/1234 45678\n",
        "meminfo": MEMINFO_X86,
        "net/dev": NET_DEV,
        "net/sockstat": SOCKSTAT,
        "net/sockstat6": SOCKSTAT6,
        "net/snmp": SNMP,
        "1/statm": "42000 3000 2000 200 0 5000 0\n",
        "815/statm": "990000 250000 20000 9 0 400000 0\n",
        "816/statm": "10 5 5 1 0 1 0\n",
        "77/statm": "0 0 0 0 0 0 0\n",
        "self/statm": "99999999 99999999 0 0 0 0 0\n",
    }


def pi() -> dict[str, str]:
    """Return a Raspberry Pi: a 32-bit kernel's names in other places, no IPv6, many zeros."""
    return {
        "stat": (
            "cpu  5 0 6 100 7 0 8 0 0 0\nctxt 10\nbtime 1\nprocesses 11\nprocs_running 1\n"
            "intr 4000" + " 0" * 300 + "\n"
        ),
        "loadavg": "1.00 0.40 0.10 1/90 400\n",
        "meminfo": "MemTotal: 440000 kB\nMemAvailable: 300000 kB\nCached: 5 kB\nDirty: 0 kB\n",
        "net/dev": NET_DEV.split("  eth0", maxsplit=1)[0]
        + "  eth0:99 3 0 0 0 0 0 0 4294967295 2 0 0 0 0 0 0\n",
        "net/sockstat": "TCP: inuse 2 orphan 0 tw 0 alloc 2 mem 1\n",
        "net/snmp": "Tcp: CurrEstab\nTcp: 1\n",
        "1/statm": "800 500 300 1 0 90 0\n",
    }


def container() -> dict[str, str]:
    """Return a container: an interface of its own, one process, some files masked by lxcfs."""
    return {
        "stat": "cpu  1 2 3 4 5 6 7\nctxt 1\nprocesses 2\nprocs_running 1\n",
        "loadavg": "0.00 0.00 0.00 0/3 9\n",
        "meminfo": MEMINFO_X86,
        "net/dev": NET_DEV.replace("wlan0", "veth1"),
        "net/sockstat": "TCP: inuse 0 orphan 0 tw 0 alloc 0 mem 0\n",
        "net/sockstat6": "TCP6: inuse 1\n",
        "net/snmp": SNMP,
        "1/statm": "800 500 300 1 0 90 0\n",
    }


def many_sockets(n: int) -> dict[str, str]:
    """Return a machine with many connections, and the table of them that nobody should read."""
    established = f"Tcp: RtoMin CurrEstab\nTcp: 200 {n}\n"
    line = "   0: 0100007F:1F90 0100007F:D431 01 00000000:00000000 00:00000000 00000000 0 0 1 1\n"
    return {
        **x86(),
        "net/sockstat": f"TCP: inuse {n} orphan 0 tw 900 alloc {n} mem 900\n",
        "net/snmp": established,
        "net/tcp": "  sl  local_address rem_address   st\n" + line * n,
    }
