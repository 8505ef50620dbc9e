"""Capture files and Zeek logs written byte by byte, for tests."""

import json
import struct

from cis490_pipeline_tests.collect.frames import SECOND

T0_NS = 1_700_000_000 * SECOND
MS = 1_000_000


def pcap(packets, *, order="<", unit_ns=1000, link=1, snap=65535, version=(2, 4)):
    """A pcap file of (t_ns, frame) or (t_ns, frame, wire_length)."""
    magic = {1000: 0xA1B2C3D4, 1: 0xA1B23C4D}[unit_ns]
    head = struct.pack(f"{order}IHHiIII", magic, *version, 0, 0, snap, link)
    return head + b"".join(_record(order, unit_ns, snap, *packet) for packet in packets)


def _record(order, unit_ns, snap, t_ns, frame, wire=None):
    seconds, rest = divmod(t_ns, SECOND)
    data = frame[:snap]
    sizes = len(data), len(frame) if wire is None else wire
    return struct.pack(f"{order}IIII", seconds, rest // unit_ns, *sizes) + data


def block(kind, body, order="<"):
    """A pcapng block; the body is padded."""
    body += bytes(-len(body) % 4)
    length = struct.pack(f"{order}I", len(body) + 12)
    return struct.pack(f"{order}I", kind) + length + body + length


def section(order="<"):
    return block(0x0A0D0D0A, struct.pack(f"{order}IHHq", 0x1A2B3C4D, 1, 0, -1), order)


def option(code, value, order="<"):
    return struct.pack(f"{order}HH", code, len(value)) + value + bytes(-len(value) % 4)


def interface(link=1, options=b"", order="<"):
    return block(1, struct.pack(f"{order}HHI", link, 0, 0) + options, order)


def enhanced(units, frame, *, number=0, wire=None, order="<"):
    wire = len(frame) if wire is None else wire
    head = struct.pack(f"{order}IIIII", number, units >> 32, units & 0xFFFFFFFF, len(frame), wire)
    return block(6, head + frame, order)


def pcapng(packets, *, order="<", unit_ns=1000, link=1):
    """A pcapng file of one section and interface, of (t_ns, frame)."""
    exponent = {1000: 6, 1: 9}[unit_ns]
    options = option(9, bytes((exponent,)), order) + option(0, b"", order)
    return (
        section(order)
        + interface(link, options, order)
        + b"".join(enhanced(t_ns // unit_ns, frame, order=order) for t_ns, frame in packets)
    )


FIELDS = (
    "ts", "uid", "id.orig_h", "id.orig_p", "id.resp_h", "id.resp_p", "proto", "service",
    "duration", "orig_bytes", "resp_bytes", "conn_state", "missed_bytes", "history",
    "orig_pkts", "orig_ip_bytes", "resp_pkts", "resp_ip_bytes", "tunnel_parents",
)  # fmt: skip


def zeek_header(fields=FIELDS, path="conn"):
    return (
        "#separator \\x09\n#set_separator\t,\n#empty_field\t(empty)\n#unset_field\t-\n"
        f"#path\t{path}\n#open\t2023-11-14-22-13-20\n"
        "#fields\t" + "\t".join(fields) + "\n#types\t" + "\t".join("string" for _ in fields) + "\n"
    )


def zeek_tsv(connections, fields=FIELDS):
    """A conn.log of dictionaries."""
    lines = ("\t".join(str(c.get(f, "-")) for f in fields) for c in connections)
    return (zeek_header(fields) + "".join(f"{line}\n" for line in lines)).encode()


def zeek_json(connections):
    """The same as JSON: numbers are numbers."""

    def value(field, text):
        numeric = field.endswith(("_pkts", "_bytes", "_p")) or field in ("ts", "duration")
        return text if numeric else json.dumps(text)

    return "".join(
        "{" + ", ".join(f'"{f}": {value(f, v)}' for f, v in c.items()) + "}\n" for c in connections
    ).encode()
