"""The agent's command line, with the standard library alone."""

from __future__ import annotations

import argparse
import os
import re
import signal
import socket

from cis490_pipeline.collect.agent import Agent
from cis490_pipeline.collect.guest import GuestReader
from cis490_pipeline.collect.interfaces import NoCapture, physical_interfaces, without_capture
from cis490_pipeline.collect.outputs.greeting import read_token
from cis490_pipeline.collect.outputs.sinks import (
    Output,
    SerialPort,
    SocketOutput,
    StandardOutput,
)
from cis490_pipeline.collect.status import VERSION, device_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cis490_pipeline.collect.capture import Capture

EXIT_UNSENT = 1
EXIT_USAGE = 2
MAX_PORT = 65535
AUTO = "auto"
_DEVICE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


_HELP_WIDTH = 100


class UsageError(ValueError):
    """An argument is not what was wanted."""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the agent's arguments."""
    made = argparse.ArgumentParser(
        prog="agent",
        description="Send rows of this device: the machine once a second, its network ten times.",
        formatter_class=_formatter,
    )
    made.add_argument(
        "--to",
        default="-",
        metavar="PLACE",
        help="- for standard output, unix:PATH, serial:DEVICE, or tcp:HOST:PORT; default: -",
    )
    made.add_argument("--token-file", metavar="FILE", help="token shared with the receiver of tcp:")
    made.add_argument(
        "--iface", default=AUTO, metavar="A,B", help="interfaces; default: the physical ones"
    )
    made.add_argument("--no-netflow", action="store_true", help="send guest rows only")
    made.add_argument("--seconds", type=float, metavar="N", help="end after this time")
    made.add_argument("--device", metavar="NAME", help="name of this device; default: its host's")
    made.add_argument("--version", action="version", version=VERSION)
    return made


def _formatter(prog: str) -> argparse.HelpFormatter:
    """Return a formatter of one width.

    To learn the terminal's, argparse loads shutil and with it three compression libraries, which
    would take half a megabyte for as long as the agent runs.
    """
    return argparse.HelpFormatter(prog, width=_HELP_WIDTH)


def main(arguments: list[str] | None = None) -> int:
    """Run the agent; return its exit code."""
    chosen = parser().parse_args(arguments)
    try:
        return _run(chosen)
    except UsageError as wrong:
        say(str(wrong))
        return EXIT_USAGE


def _run(chosen: argparse.Namespace) -> int:
    if chosen.seconds is not None and not 0 < chosen.seconds < float("inf"):
        raise UsageError(f"--seconds must be positive, got {chosen.seconds}")
    device = chosen.device or device_name(socket.gethostname())
    if not _DEVICE.fullmatch(device):
        raise UsageError(f"--device must be 1 to 63 of A-Z a-z 0-9 . _ -, got {device!r:.80}")
    output = open_output(chosen.to, chosen.token_file)
    names = physical_interfaces() if chosen.iface == AUTO else chosen.iface.split(",")
    capture, why = (None, "off") if chosen.no_netflow else _capture(names)
    if isinstance(output, SocketOutput) and capture is not None:
        output.on_connect = capture.ignore
    agent = Agent(
        GuestReader(lambda: names),
        output,
        device=device,
        version=VERSION,
        capture=capture,
        netflow=why,
        say=say,
        wake_fd=_wake_on_signals(),
    )
    if agent.run(chosen.seconds) or output.gone:
        return 0
    say(f"{output.name}: {len(agent.outbox)} rows were not sent")
    return EXIT_UNSENT


def open_output(place: str, token_file: str | None) -> Output:
    """Return the output that ``--to`` names.

    Raises
    ------
    UsageError
        If it is none, or TCP would leave this machine without a token.
    """
    kind, _, rest = place.partition(":")
    if token_file is not None and kind != "tcp":
        raise UsageError(f"--token-file is for tcp:HOST:PORT; {place} needs no token")
    if place == "-":
        return StandardOutput()
    if kind == "unix" and rest:
        return SocketOutput(place, rest)
    if kind == "serial" and rest:
        return SerialPort(place, rest)
    if kind == "tcp":
        return SocketOutput(place, _endpoint(place, rest), token=_token(rest, token_file))
    raise UsageError(f"--to {place}: wanted -, unix:PATH, serial:DEVICE or tcp:HOST:PORT")


def _endpoint(place: str, rest: str) -> tuple[str, int]:
    host, _, port = rest.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    if not host or not port.isdigit() or not 0 < int(port) <= MAX_PORT:
        raise UsageError(f"--to {place}: wanted tcp:HOST:PORT, such as tcp:127.0.0.1:7490")
    return host, int(port)


def _token(rest: str, token_file: str | None) -> bytes | None:
    if token_file is not None:
        try:
            return read_token(token_file)
        except ValueError as wrong:
            raise UsageError(f"--token-file {wrong}") from wrong
    host = rest.rpartition(":")[0].strip("[]")
    if host == "localhost" or host == "::1" or host.startswith("127."):
        return None
    raise UsageError(
        f"--to tcp:{rest}: rows leave this machine only to a receiver that holds the same token; "
        "give it with --token-file, and listen with: cis490 live tcp:HOST:PORT --token-file FILE"
    )


def _capture(names: list[str]) -> tuple[Capture | None, str]:
    """Open the capture; where that cannot be, say once what would make it possible."""
    from cis490_pipeline.collect.capture import open_capture

    try:
        return open_capture(names), ""
    except NoCapture as missing:
        say(f"{without_capture(missing)}. Remedy: {missing.remedy}")
        return None, missing.reason


def _wake_on_signals() -> int:
    """Return a file descriptor that SIGTERM, SIGINT and SIGHUP make readable."""
    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        # Under nohup SIGHUP is ignored, and stays so.
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, lambda *_: None)
    return reader


def say(text: str) -> None:
    """Print a line on standard error; one that cannot be printed is lost."""
    try:
        os.write(2, f"agent: {text}\n".encode("utf-8", "backslashreplace"))
    except OSError:
        # Nobody reads it: rows matter more.
        return
