"""Guest rows: the state of the whole machine, read from ``/proc`` once a second.

Notes
-----
Every field is read on its own: what a kernel lacks, or a container hides, is null and named in the
agent's status, and the other fields go on.

TCP sockets are counted by ``/proc/net/sockstat`` and ``/proc/net/snmp``: walking ``/proc/net/tcp``
takes a thousand times as long with 4,000 sockets and gives the same numbers.
"""

from __future__ import annotations

import contextlib
import os

from cis490_pipeline.collect.contract import GUEST_FIELDS, GUEST_SOURCE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from cis490_pipeline.collect.contract import Row


_CPU = {"cpu_sys": 3, "cpu_iowait": 5, "cpu_softirq": 7}
_STAT = {"ctxt": b"ctxt", "intr": b"intr", "forks": b"processes", "procs_running": b"procs_running"}
_MEMORY = {
    b"MemAvailable:": "mem_available_bytes",
    b"Cached:": "mem_cached_bytes",
    b"Dirty:": "mem_dirty_bytes",
}
_NET = ("net_rx_bytes", "net_rx_packets", "net_tx_bytes", "net_tx_packets")
_NET_PLACES = (0, 1, 8, 9)
_KIB = 1024
MAX_OPEN = 256
"""Files of processes that stay open: to open one costs five times what reading it does."""


class GuestReader:
    """Reads guest rows.

    Parameters
    ----------
    interfaces : the interfaces whose traffic counts, asked at each reading.
    proc : where ``/proc`` is.
    ticks_per_s : unit of the kernel's CPU times, as ``SC_CLK_TCK`` gives it.
    page_bytes : size of a memory page.
    """

    def __init__(
        self,
        interfaces: Callable[[], Iterable[str]],
        *,
        proc: str = "/proc",
        ticks_per_s: int | None = None,
        page_bytes: int | None = None,
    ) -> None:
        self._interfaces = interfaces
        self._proc = proc
        self._files: dict[str, int] = {}
        self._parts = (
            self._stat,
            self._load,
            self._memory,
            self._net,
            self._sockets,
            self._established,
            self._top_rss,
        )
        self._ticks_per_s = ticks_per_s or os.sysconf("SC_CLK_TCK")
        self._page_bytes = page_bytes or os.sysconf("SC_PAGE_SIZE")

    def readings(self) -> dict[str, int | float | None]:
        """Return all guest fields in the format's order; None is what could not be read."""
        read: dict[str, int | float] = {}
        for part in self._parts:
            # A file that is missing or forbidden: its fields stay unknown, and are named.
            with contextlib.suppress(OSError):
                part(read)
        return {name: read.get(name) for name in GUEST_FIELDS}

    def close(self) -> None:
        """Close the files that stay open between readings."""
        while self._files:
            os.close(self._files.popitem()[1])

    def _file(self, name: str) -> bytes:
        return read_file(self._proc + "/" + name)

    def _stat(self, read: dict[str, int | float]) -> None:
        """CPU times in 1/100 s, switches, interrupts, forks and runnable processes."""
        lines = _by_key(self._file("stat"))
        cpu = lines.get(b"cpu", [])
        user, nice = _number(cpu, 1), _number(cpu, 2)
        if user is not None and nice is not None:
            # As vmstat counts it: a miner at nice 19 uses the processor as any other.
            read["cpu_user"] = self._jiffies(user + nice)
        for name, place in _CPU.items():
            value = _number(cpu, place)
            if value is not None:
                read[name] = self._jiffies(value)
        for name, key in _STAT.items():
            _keep(read, name, _number(lines.get(key, []), 1))

    def _jiffies(self, ticks: int) -> int:
        return ticks * 100 // self._ticks_per_s

    def _load(self, read: dict[str, int | float]) -> None:
        words = self._file("loadavg").split(None, 1)
        try:
            read["load_1m"] = float(words[0])
        except (IndexError, ValueError):
            return

    def _memory(self, read: dict[str, int | float]) -> None:
        lines = _by_key(self._file("meminfo"))
        for key, name in _MEMORY.items():
            kib = _number(lines.get(key, []), 1)
            if kib is not None:
                read[name] = kib * _KIB

    def _net(self, read: dict[str, int | float]) -> None:
        """Sum over the chosen interfaces; unknown if none of them is there."""
        wanted = {os.fsencode(name) for name in self._interfaces()}
        totals = [0, 0, 0, 0]
        n_found = 0
        for line in self._file("net/dev").splitlines():
            name, colon, rest = line.partition(b":")
            words = rest.split()
            if not colon or name.strip() not in wanted:
                continue
            values = [_number(words, place) for place in _NET_PLACES]
            if None in values:
                continue
            n_found += 1
            totals = [total + (value or 0) for total, value in zip(totals, values)]
        if n_found:
            read.update(zip(_NET, totals))

    def _sockets(self, read: dict[str, int | float]) -> None:
        """TCP sockets of both IP versions; those in TIME_WAIT are in none of these counts."""
        in_use = _after(_by_key(self._file("net/sockstat")).get(b"TCP:", []), b"inuse")
        if in_use is not None:
            read["tcp_total"] = in_use + self._sockets_v6()

    def _established(self, read: dict[str, int | float]) -> None:
        """Count the established connections of both IP versions."""
        heads: list[bytes] = []
        for line in self._file("net/snmp").splitlines():
            words = line.split()
            if words[:1] != [b"Tcp:"]:
                continue
            if heads and b"CurrEstab" in heads:
                _keep(read, "tcp_established", _number(words, heads.index(b"CurrEstab")))
            heads = words

    def _sockets_v6(self) -> int:
        try:
            lines = _by_key(self._file("net/sockstat6"))
        except OSError:
            # A kernel without IPv6 has no such sockets.
            return 0
        return _after(lines.get(b"TCP6:", []), b"inuse") or 0

    def _top_rss(self, read: dict[str, int | float]) -> None:
        """Largest resident set of any process; unknown where others' processes are hidden."""
        # With hidepid, only one's own processes are listed or can be read.
        most = self._rss_pages("1")
        if most is None:
            return
        # pathlib would take a megabyte of memory.
        pids = {name for name in os.listdir(self._proc) if name.isdigit()}  # noqa: PTH208
        for ended in self._files.keys() - pids:
            os.close(self._files.pop(ended))
        for pid in pids:
            most = max(most, self._rss_pages(pid) or 0)
        read["top_rss_bytes"] = most * self._page_bytes

    def _rss_pages(self, pid: str) -> int | None:
        """Return a process's resident pages; None if it has ended, or is hidden."""
        fd = self._files.get(pid)
        if fd is not None:
            pages = _rss_of(fd)
            if pages is not None:
                return pages
            # It has ended, and its number may be another's by now.
            os.close(self._files.pop(pid))
        try:
            fd = os.open(self._proc + "/" + pid + "/statm", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        pages = _rss_of(fd)
        if pages is not None and len(self._files) < MAX_OPEN:
            self._files[pid] = fd
        else:
            os.close(fd)
        return pages


def guest_row(readings: dict[str, int | float | None], wall_ns: int, mono_ns: int) -> Row:
    """Return a guest row; its times are those after the reading, on this machine's clocks."""
    return {
        "t_wall_ns": wall_ns,
        "t_mono_ns": mono_ns,
        "source": GUEST_SOURCE,
        "available_in_deployment": True,
        "t_guest_wall_ns": wall_ns,
        "t_guest_mono_ns": mono_ns,
        **readings,
    }


def read_file(path: str) -> bytes:
    """Return a whole file of ``/proc``, whose size is not known before it was read."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        pieces: list[bytes] = []
        while True:
            piece = os.read(fd, 1 << 16)
            if not piece:
                return pieces[0] if len(pieces) == 1 else b"".join(pieces)
            pieces.append(piece)
    finally:
        os.close(fd)


def _rss_of(statm: int) -> int | None:
    try:
        return _number(os.pread(statm, 256, 0).split(None, 2), 1)
    except OSError:
        return None


def _by_key(content: bytes) -> dict[bytes, list[bytes]]:
    """Words of each line by its first word."""
    return {words[0]: words for line in content.splitlines() if (words := line.split(None, 12))}


def _number(words: list[bytes], place: int) -> int | None:
    """Return the count at a place of a line; None if there is none."""
    if place < len(words) and words[place].isdigit():
        return int(words[place])
    return None


def _after(words: list[bytes], name: bytes) -> int | None:
    """Return the count that follows a name in a line of pairs."""
    return _number(words, words.index(name) + 1) if name in words else None


def _keep(read: dict[str, int | float], name: str, value: int | None) -> None:
    if value is not None:
        read[name] = value
