"""Reader of capture files, pcap and pcapng: frames in the order of the file, in constant memory.

Formats: IETF drafts *PCAP Capture File Format* and *PCAP Now Generic (pcapng)*; link types as
listed there. Files come from anywhere: a length in them is compared with its limit before it is
used, and any bytes give frames or an `UnreadableError` that names the place.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import BinaryIO, NamedTuple

from cis490_pipeline.collect.contract import NS_PER_S
from cis490_pipeline.collect.packets import LINK_ETHERNET, LINK_RAW, LINK_SLL, LINK_SLL2
from cis490_pipeline.collect.recorded.timeline import MAX_TIME_NS, UnreadableError

# Number of a link type in files -> the link layer it is.
LINKS = {
    1: LINK_ETHERNET,
    12: LINK_RAW,
    14: LINK_RAW,
    101: LINK_RAW,
    113: LINK_SLL,
    228: LINK_RAW,
    229: LINK_RAW,
    276: LINK_SLL2,
}
MAX_FRAME = 4 << 20
"""Largest frame: above what any link carries, below what a damaged length would ask for."""
MAX_BLOCK = MAX_FRAME + (1 << 20)
_MAX_SKIPPED = 1 << 31
"""Largest block that is skipped: decryption secrets and vendors' blocks may be large."""
_MAX_INTERFACES = 65_536
_CHUNK = 1 << 16

# First four bytes of a pcap -> byte order and units of time stamps per second.
_PCAP = {
    b"\xd4\xc3\xb2\xa1": ("<", 1_000_000),
    b"\xa1\xb2\xc3\xd4": (">", 1_000_000),
    b"\x4d\x3c\xb2\xa1": ("<", NS_PER_S),
    b"\xa1\xb2\x3c\x4d": (">", NS_PER_S),
}
_SECTION = b"\x0a\x0d\x0d\x0a"
_ORDERS = {b"\x4d\x3c\x2b\x1a": "<", b"\x1a\x2b\x3c\x4d": ">"}
_INTERFACE, _OLD_PACKET, _SIMPLE_PACKET, _ENHANCED_PACKET = 1, 2, 3, 6
_END_OPTION, _TIME_RESOLUTION, _TIME_OFFSET = 0, 9, 14
_REMEDY = "copy or record the file again, or repair it (pcapfix)"


class Frame(NamedTuple):
    """One captured frame."""

    t_ns: int
    """Unix ns."""
    data: bytes
    wire_length: int
    link: int
    """Link layer, one of `packets.LINK_…`."""


class _Interface(NamedTuple):
    link: int | None
    number: int
    """Link type as the file has it."""
    per_second: int
    """Units of time stamps."""
    offset_s: int


class CaptureFile:
    """Frames of one capture file; iterate once.

    Attributes
    ----------
    cut_off_at : offset of a last packet that is not whole; None if the file is.
    n_snapped : frames of which not all bytes were captured.
    n_untimed : packets without a time stamp (simple packet blocks), left out.
    n_bad_time : packets whose time is before 1970 or after 2262, left out.
    other_links : packets left out by the number of their link type.
    """

    def __init__(self, stream: BinaryIO, name: str) -> None:
        self.name = name
        self.cut_off_at: int | None = None
        self.n_snapped = 0
        self.n_untimed = 0
        self.n_bad_time = 0
        self.other_links: dict[int, int] = {}
        self._stream = stream
        self._at = 0
        self._order = "<"
        self._interfaces: list[_Interface] = []

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames.

        Raises
        ------
        UnreadableError
            If it is no capture file, or damaged.
        """
        magic = self._read(4)
        if magic in _PCAP:
            yield from self._pcap(*_PCAP[magic])
        elif magic == _SECTION:
            yield from self._pcapng()
        else:
            raise UnreadableError(f"{self.name}: {_not_a_capture(magic)}")

    def _pcap(self, order: str, per_second: int) -> Iterator[Frame]:
        header = self._read(20)
        if len(header) < 20:
            raise self._damaged(0, f"a header of {4 + len(header)} bytes, wanted 24")
        major, minor, number = Struct(f"{order}HH12xI").unpack(header)
        if (major, minor) != (2, 4):
            raise self._damaged(4, f"version {major}.{minor} of pcap, wanted 2.4")
        # The upper bits tell the length of a frame check sequence, which IP lengths leave out.
        number &= 0xFFFF
        interface = _Interface(LINKS.get(number), number, per_second, 0)
        if interface.link is None:
            raise UnreadableError(f"{self.name}: {_unsupported(number)}")
        unpack, read, at = Struct(f"{order}IIII").unpack, self._stream.read, 24
        while True:
            record = read(16)
            if not record:
                return
            if len(record) < 16:
                self.cut_off_at = at
                return
            seconds, fraction, captured, on_wire = unpack(record)
            if captured > MAX_FRAME:
                raise self._damaged(at, f"a packet of {captured} bytes, wanted at most {MAX_FRAME}")
            data = read(captured)
            if len(data) < captured:
                self.cut_off_at = at
                return
            at += 16 + captured
            frame = self._frame(interface, seconds * per_second + fraction, data, on_wire)
            if frame is not None:
                yield frame

    def _pcapng(self) -> Iterator[Frame]:
        kind = _SECTION
        while True:
            at = self._at - 4
            if kind == _SECTION:
                body = self._section(at)
                number = 0
            else:
                number = int.from_bytes(kind, "little" if self._order == "<" else "big")
                body = self._block(at, number)
            if body is None:
                self.cut_off_at = at
                return
            if number == _INTERFACE:
                self._add_interface(at, body)
            elif number in (_ENHANCED_PACKET, _OLD_PACKET):
                frame = self._packet(at, number, body)
                if frame is not None:
                    yield frame
            elif number == _SIMPLE_PACKET:
                self.n_untimed += 1
            kind = self._read(4)
            if not kind:
                return
            if len(kind) < 4:
                self.cut_off_at = self._at - len(kind)
                return

    def _section(self, at: int) -> bytes | None:
        """Begin a section: another byte order, no interfaces."""
        start = self._read(8)
        if len(start) < 8:
            return None
        order = _ORDERS.get(start[4:])
        if order is None:
            raise self._damaged(at + 8, f"byte order {start[4:].hex()}, wanted 1a2b3c4d")
        self._order, self._interfaces = order, []
        length = Struct(f"{order}I").unpack(start[:4])[0]
        return self._rest(at, length, 12, keep=False)

    def _block(self, at: int, number: int) -> bytes | None:
        start = self._read(4)
        if len(start) < 4:
            return None
        length = Struct(f"{self._order}I").unpack(start)[0]
        keep = number in (_INTERFACE, _OLD_PACKET, _ENHANCED_PACKET)
        return self._rest(at, length, 8, keep=keep)

    def _rest(self, at: int, length: int, done: int, *, keep: bool) -> bytes | None:
        """Read a block to its end; None if the file ends before. Empty if it is not kept."""
        limit = MAX_BLOCK if keep else _MAX_SKIPPED
        if length % 4 or not done + 4 <= length <= limit:
            raise self._damaged(
                at, f"a block of {length} bytes, wanted a multiple of 4 from {done + 4} to {limit}"
            )
        size = length - done - 4
        body = self._read(size) if keep else b""
        if (keep and len(body) < size) or (not keep and not self._skip(size)):
            return None
        end = self._read(4)
        if len(end) < 4:
            return None
        if Struct(f"{self._order}I").unpack(end)[0] != length:
            raise self._damaged(at, f"a block of {length} bytes that ends with another length")
        return body

    def _add_interface(self, at: int, body: bytes) -> None:
        if len(body) < 8 or len(self._interfaces) >= _MAX_INTERFACES:
            raise self._damaged(
                at, f"an interface of {len(body)} bytes, number {len(self._interfaces)}; wanted "
                f"at least 8 bytes and at most {_MAX_INTERFACES} interfaces"
            )  # fmt: skip
        number = Struct(f"{self._order}H").unpack_from(body)[0]
        per_second, offset_s = 1_000_000, 0
        option = Struct(f"{self._order}HH").unpack_from
        place = 8
        while place + 4 <= len(body):
            code, length = option(body, place)
            value = body[place + 4 : place + 4 + length]
            if code == _END_OPTION or len(value) < length:
                break
            if code == _TIME_RESOLUTION and length == 1:
                exponent = value[0] & 0x7F
                per_second = int(2**exponent if value[0] & 0x80 else 10**exponent)
            elif code == _TIME_OFFSET and length == 8:
                offset_s = Struct(f"{self._order}q").unpack(value)[0]
            place += 4 + (length + 3) // 4 * 4
        self._interfaces.append(_Interface(LINKS.get(number), number, per_second, offset_s))

    def _packet(self, at: int, kind: int, body: bytes) -> Frame | None:
        if len(body) < 20:
            raise self._damaged(at, f"a packet block of {len(body)} bytes, wanted at least 20")
        form = "IIIII" if kind == _ENHANCED_PACKET else "HxxIIII"
        number, high, low, captured, on_wire = Struct(self._order + form).unpack_from(body)
        if captured > min(len(body) - 20, MAX_FRAME):
            raise self._damaged(
                at, f"{captured} captured bytes in a block with room for {len(body) - 20}"
            )
        if number >= len(self._interfaces):
            raise self._damaged(
                at,
                f"a packet of interface {number}, of which {len(self._interfaces)} are described",
            )
        units = high << 32 | low
        return self._frame(self._interfaces[number], units, body[20 : 20 + captured], on_wire)

    def _frame(self, interface: _Interface, units: int, data: bytes, on_wire: int) -> Frame | None:
        if interface.link is None:
            self.other_links[interface.number] = self.other_links.get(interface.number, 0) + 1
            return None
        t_ns = units * NS_PER_S // interface.per_second + interface.offset_s * NS_PER_S
        if not 0 < t_ns <= MAX_TIME_NS:
            self.n_bad_time += 1
            return None
        self.n_snapped += len(data) < on_wire
        return Frame(t_ns, data, max(on_wire, len(data)), interface.link)

    def _read(self, size: int) -> bytes:
        data = self._stream.read(size)
        self._at += len(data)
        return data

    def _skip(self, size: int) -> bool:
        while size:
            part = self._read(min(size, _CHUNK))
            if not part:
                return False
            size -= len(part)
        return True

    def _damaged(self, at: int, found: str) -> UnreadableError:
        return UnreadableError(f"{self.name}, byte {at}: {found}; {_REMEDY}")


def _not_a_capture(magic: bytes) -> str:
    wanted = "wanted a pcap or pcapng file"
    if not magic:
        return f"is empty, {wanted}; was anything recorded?"
    if magic[:2] == b"\x1f\x8b":
        return f"is compressed by gzip, {wanted}; unpack it: gunzip -c FILE | cis490 rows pcap -"
    if magic in (b"\x34\xcd\xb2\xa1", b"\xa1\xb2\xcd\x34"):
        return f"is a pcap of a patched kernel, {wanted}; convert it: editcap -F pcap IN OUT"
    return f"begins with {magic.hex(' ')}, {wanted}; convert it: editcap -F pcapng IN OUT"


def _unsupported(number: int) -> str:
    return (
        f"link type {number}, wanted Ethernet (1), raw IP (101), SLL (113) or SLL2 (276); record "
        "on an interface of these: tcpdump -i any -y LINUX_SLL2"
    )
