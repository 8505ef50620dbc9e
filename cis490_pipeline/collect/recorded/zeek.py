"""Reader of a Zeek ``conn.log``, as tab-separated values or as JSON, in constant memory.

Times keep their microseconds; any bytes give connections or an `UnreadableError` with the line.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import BinaryIO, NamedTuple, Union

from cis490_pipeline.collect.contract import NS_PER_S
from cis490_pipeline.collect.recorded.timeline import MAX_TIME_NS, UnreadableError

MAX_LINE = 1 << 20
_MAX_COUNT = 2**48
"""Largest count of a connection, so that sums stay int64; its seconds and ports are below it."""

FIELDS = (
    "ts", "id.orig_h", "id.orig_p", "id.resp_h", "id.resp_p", "proto",
    "orig_pkts", "orig_ip_bytes", "resp_pkts", "resp_ip_bytes",
)  # fmt: skip
"""Fields a conn.log must have; ``duration``, ``history`` and ``conn_state`` are read if there."""

# Of conn_state, where a log has no history: SYN by the originator, RST by it, RST by the responder.
_STATES = {
    "S0": (1, 0, 0), "S1": (1, 0, 0), "SF": (1, 0, 0), "S2": (1, 0, 0), "S3": (1, 0, 0),
    "SH": (1, 0, 0), "REJ": (1, 0, 1), "RSTO": (1, 1, 0), "RSTR": (1, 0, 1),
    "RSTOS0": (1, 1, 0), "RSTRH": (0, 0, 1), "SHR": (0, 0, 0), "OTH": (0, 0, 0),
}  # fmt: skip
_ISO = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?(Z|[+-]\d\d:?\d\d)?")

Value = Union[str, int, Decimal, "list[Value]", "dict[str, Value]"]
"""A value of a field: text in a log of tab-separated values, any JSON in the other."""


class End(NamedTuple):
    """One end of a connection, and what it sent."""

    address: bytes
    port: int
    mac: bytes
    packets: int
    ip_bytes: int
    syn: int
    rst: int


class Connection(NamedTuple):
    """One line of a conn.log."""

    end_ns: int
    """Time of its last packet, Unix ns."""
    proto: str
    originator: End
    responder: End


class ConnLog:
    """Connections of one conn.log; iterate once.

    Attributes
    ----------
    cut_off : whether the last line is not whole: it is being written.
    """

    def __init__(self, stream: BinaryIO, name: str) -> None:
        self.name = name
        self.cut_off = False
        self._stream = stream
        self._separator = "\t"
        self._unset, self._empty = "-", "(empty)"
        self._fields: list[str] | None = None

    def __iter__(self) -> Iterator[Connection]:
        """Yield the connections in the order of the file.

        Raises
        ------
        UnreadableError
            If a line is none of a conn.log.
        """
        number = 0
        while line := self._stream.readline(MAX_LINE + 1):
            number += 1
            place = f"{self.name}, line {number}"
            if len(line) > MAX_LINE:
                raise UnreadableError(
                    f"{place}: over {MAX_LINE} bytes long, wanted a line of a Zeek conn.log"
                )
            try:
                values = self._values(line, place)
                connection = None if values is None else _connection(values, place)
            except UnreadableError:
                # Only a last line may end early.
                if line.endswith(b"\n") or number == 1:
                    raise
                self.cut_off = True
                return
            if connection is not None:
                yield connection

    def _values(self, line: bytes, place: str) -> Mapping[str, Value] | None:
        if line.startswith(b"\x1f\x8b"):
            raise UnreadableError(
                f"{place}: compressed by gzip, wanted a Zeek conn.log; unpack it: "
                "gunzip -c FILE | cis490 rows zeek -"
            )
        try:
            text = line.decode().rstrip("\r\n")
        except UnicodeDecodeError as fault:
            raise UnreadableError(
                f"{place}: byte {fault.start} is no UTF-8, wanted a Zeek conn.log, TSV or JSON"
            ) from None
        if not text:
            return None
        if text.startswith("#"):
            self._header(text, place)
            return None
        if text.startswith("{"):
            return _json(text, place)
        if self._fields is None:
            raise UnreadableError(
                f"{place}: begins with {text[:20]!r} before any #fields line, wanted the header of "
                "a Zeek conn.log or JSON; give the log with its header lines"
            )
        parts = text.split(self._separator)
        if len(parts) != len(self._fields):
            raise UnreadableError(
                f"{place}: {len(parts)} values for {len(self._fields)} fields; wanted one for each "
                "of the last #fields line"
            )
        pairs = zip(self._fields, parts)
        return {field: value for field, value in pairs if value not in (self._unset, self._empty)}

    def _header(self, text: str, place: str) -> None:
        if text.startswith("#separator "):
            written = text[len("#separator ") :]
            escape = re.fullmatch(r"\\x([0-9A-Fa-f]{2})", written)
            self._separator = chr(int(escape.group(1), 16)) if escape else written or "\t"
            return
        name, *values = text[1:].split(self._separator)
        if name == "path" and values != ["conn"]:
            raise UnreadableError(f"{place}: a log of {values}, wanted conn; give the conn.log")
        if name == "unset_field" and values:
            self._unset = values[0]
        elif name == "empty_field" and values:
            self._empty = values[0]
        elif name == "fields":
            _require_fields(values, place)
            self._fields = values


def _json(text: str, place: str) -> Mapping[str, Value]:
    try:
        # Decimal keeps the microseconds of a time, which a float of 1.7e9 s does not.
        values = json.loads(text, parse_float=Decimal, parse_constant=_no_number)
    except (ValueError, RecursionError, InvalidOperation) as fault:
        raise UnreadableError(f"{place}: no JSON ({fault}), wanted a line of a conn.log") from None
    if not isinstance(values, dict):
        raise UnreadableError(f"{place}: a JSON {type(values).__name__}, wanted an object")
    return {key: value for key, value in values.items() if value is not None}


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no number")


def _require_fields(fields: list[str], place: str) -> None:
    missing = [field for field in FIELDS if field not in fields]
    if missing:
        raise UnreadableError(
            f"{place}: no field {', '.join(missing)}; wanted a conn.log with what Zeek logs by "
            "default"
        )


def _connection(values: Mapping[str, Value], place: str) -> Connection:
    """Read one connection; counts that Zeek left unset are 0."""
    start_ns = _time_ns(values.get("ts"), place)
    duration_ns = _seconds_ns(values.get("duration", 0), "duration", place)
    if not 0 < start_ns <= MAX_TIME_NS or not 0 <= duration_ns <= MAX_TIME_NS - start_ns:
        raise UnreadableError(
            f"{place}: ts {values.get('ts')} and duration {values.get('duration')}, wanted a time "
            "from 1970 to 2262"
        )
    syn, rst_orig, rst_resp = _flags(values)
    is_tcp = str(values.get("proto")) == "tcp"
    originator, responder = (
        End(
            _address(values, f"id.{end}_h", place),
            _count(values, f"id.{end}_p", place),
            _mac(values, f"{end}_l2_addr", place),
            _count(values, f"{end}_pkts", place),
            _count(values, f"{end}_ip_bytes", place),
            syn_sent if is_tcp else 0,
            rst if is_tcp else 0,
        )
        for end, syn_sent, rst in (("orig", syn[0], rst_orig), ("resp", syn[1], rst_resp))
    )
    end_ns = start_ns + duration_ns
    return Connection(end_ns, str(values.get("proto")), originator, responder)


def _flags(values: Mapping[str, Value]) -> tuple[tuple[int, int], int, int]:
    """SYN by originator and by responder, RST by each: one or none, as a history holds no more."""
    history = values.get("history")
    if isinstance(history, str):
        return (int("S" in history), int("s" in history)), int("R" in history), int("r" in history)
    syn, rst_orig, rst_resp = _STATES.get(str(values.get("conn_state")), (0, 0, 0))
    return (syn, 0), rst_orig, rst_resp


def _time_ns(value: Value | None, place: str) -> int:
    """Unix ns of a time: seconds, milliseconds (``JSON::TS_MILLIS``) or ISO 8601."""
    if isinstance(value, str) and (found := _ISO.fullmatch(value)):
        whole, fraction, zone = found.groups()
        zone = (
            "+00:00" if zone in (None, "Z") else zone if ":" in zone else zone[:3] + ":" + zone[3:]
        )
        try:
            seconds = int(datetime.fromisoformat(whole + zone).timestamp())
        except (ValueError, OverflowError):
            raise UnreadableError(f"{place}: ts {value!r} is no time") from None
        return seconds * NS_PER_S + int(Decimal(fraction or 0) * NS_PER_S)
    t_ns = _seconds_ns(value, "ts", place)
    return t_ns // 1000 if t_ns > MAX_TIME_NS else t_ns


def _seconds_ns(value: Value | None, field: str, place: str) -> int:
    try:
        seconds = Decimal(value) if isinstance(value, (str, int, Decimal)) else Decimal("NaN")
    except InvalidOperation:
        seconds = Decimal("NaN")
    # Compared before any arithmetic, which overflows.
    in_range = seconds.is_finite() and -_MAX_COUNT <= seconds <= _MAX_COUNT
    if isinstance(value, bool) or not in_range:
        raise UnreadableError(f"{place}: {field} {_short(value)}, wanted seconds")
    return int(seconds * NS_PER_S)


def _count(values: Mapping[str, Value], field: str, place: str) -> int:
    value = values.get(field, 0)
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MAX_COUNT:
        raise UnreadableError(f"{place}: {field} {_short(value)}, wanted a whole number from 0")
    return value


def _address(values: Mapping[str, Value], field: str, place: str) -> bytes:
    value = values.get(field)
    try:
        return ipaddress.ip_address(value if isinstance(value, str) else "").packed
    except ValueError:
        raise UnreadableError(f"{place}: {field} {_short(value)}, wanted an IP address") from None


def _mac(values: Mapping[str, Value], field: str, place: str) -> bytes:
    value = values.get(field)
    try:
        return bytes.fromhex(value.replace(":", "")) if isinstance(value, str) else b""
    except ValueError:
        raise UnreadableError(f"{place}: {field} {_short(value)}, wanted a MAC address") from None


def _short(value: Value | None) -> str:
    return f"{value!r:.60}"
