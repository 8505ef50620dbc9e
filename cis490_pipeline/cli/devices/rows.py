"""``cis490 rows``: netflow rows of one device from a capture file or a Zeek conn.log."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

import click

from cis490_pipeline.cli.main import EXIT_FINDINGS
from cis490_pipeline.collect.recorded import connection_rows, packet_rows
from cis490_pipeline.collect.recorded.connection_rows import ConnectionRows
from cis490_pipeline.collect.recorded.device import Device
from cis490_pipeline.collect.recorded.packet_rows import PacketRows
from cis490_pipeline.collect.recorded.pcap import CaptureFile
from cis490_pipeline.collect.recorded.timeline import UnreadableError
from cis490_pipeline.collect.recorded.zeek import ConnLog
from cis490_pipeline.errors import ConfigError, StoreError

_BLOCK_ROWS: Final = 512
_FILE: Final = click.Path(exists=True, dir_okay=False, allow_dash=True)


@click.group()
def rows() -> None:
    """Print a device's netflow rows, one for each 100 ms, from a recording of its traffic.

    They are rows of episode format 1, as `live` reads them and an episode holds them in
    netflow.jsonl. What was left out is counted on stderr at the end.
    """


def _row_options(tolerance_s: float) -> Callable[[Callable[..., int]], Callable[..., int]]:
    def add(command: Callable[..., int]) -> Callable[..., int]:
        for option in (
            click.option(
                "--edge-ns",
                type=click.IntRange(0, 2**62),
                default=0,
                metavar="NS",
                help="Unix ns at which any bucket ends; default: every tenth of a second.",
            ),
            click.option(
                "--tolerance",
                "tolerance_s",
                type=click.FloatRange(0, 86_400),
                default=tolerance_s,
                show_default=True,
                metavar="SECONDS",
                help="How far out of order lines or packets may be.",
            ),
            click.option(
                "--device",
                "names",
                multiple=True,
                required=True,
                metavar="ADDRESS",
                help="The device's IP address, prefix or MAC address; may be repeated.",
            ),
        ):
            command = option(command)
        return click.argument("file", type=_FILE)(command)

    return add


@rows.command()
@_row_options(packet_rows.TOLERANCE_S)
def pcap(file: str, names: tuple[str, ...], tolerance_s: float, edge_ns: int) -> int:
    """Print rows from FILE, a pcap or pcapng (- for standard input)."""
    device = _device(names)
    with _opened(file) as (stream, name):
        frames = CaptureFile(stream, name)
        found = PacketRows(frames, device, tolerance_s=tolerance_s, edge_ns=edge_ns)
        return _print(found, lambda: found.n_packets, "packets")


@rows.command()
@_row_options(connection_rows.TOLERANCE_S)
def zeek(file: str, names: tuple[str, ...], tolerance_s: float, edge_ns: int) -> int:
    """Print rows from FILE, a Zeek conn.log as TSV or JSON (- for standard input)."""
    device = _device(names)
    with _opened(file) as (stream, name):
        log = ConnLog(stream, name)
        found = ConnectionRows(log, device, tolerance_s=tolerance_s, edge_ns=edge_ns)
        return _print(found, lambda: found.n_connections, "connections")


@contextmanager
def _opened(file: str) -> Iterator[tuple[BinaryIO, str]]:
    """Open a file, or standard input, with the name that messages call it."""
    if file != "-":
        with Path(file).open("rb") as stream:
            yield stream, file
    elif sys.stdin is None:
        # A shell's `<&-` leaves Python without a standard input.
        raise ConfigError("standard input is closed; give it a recording, or name a FILE")
    else:
        yield sys.stdin.buffer, "standard input"


def _device(names: tuple[str, ...]) -> Device:
    try:
        return Device(names)
    except ValueError as fault:
        raise ConfigError(f"--device: {fault}") from fault


def _print(found: PacketRows | ConnectionRows, n_counted: Callable[[], int], what: str) -> int:
    """Print the rows, then what was left out; 1 if nothing was the device's."""
    block: list[str] = []
    try:
        for row in found:
            block.append(json.dumps(row))
            if len(block) >= _BLOCK_ROWS:
                _write(block)
        _write(block)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader has what it wanted. Python would complain once more when it closes the stream.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except UnreadableError as fault:
        _write(block)
        raise StoreError(str(fault)) from fault
    name = ", ".join(found.device.names)
    for line in (
        f"{n_counted():,} {what} of {name} in {found.timeline.n_rows:,} rows",
        *found.left_out(),
    ):
        click.echo(line, err=True)
    if n_counted():
        return 0
    others = str(found.strangers)
    click.echo(
        f"nothing is from or to {name}"
        + (f"; most is of {others}: name one of them" if others else ""),
        err=True,
    )
    return EXIT_FINDINGS


def _write(block: list[str]) -> None:
    if block:
        click.echo("\n".join(block))
        block.clear()
