"""``cis490 agent``: send rows of this machine, or pack the agent for another one."""

import os
import sys
from pathlib import Path
from typing import NoReturn

import click

from cis490_pipeline.collect.pack import write_pack

_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.option(
    "--to",
    default="-",
    show_default=True,
    metavar="PLACE",
    help="- for standard output, unix:PATH, serial:DEVICE, or tcp:HOST:PORT.",
)
@click.option("--token-file", type=_FILE, help="Token shared with the receiver of tcp:.")
@click.option(
    "--iface", default="auto", show_default=True, metavar="A,B", help="Network interfaces to count."
)
@click.option("--no-netflow", is_flag=True, help="Send guest rows only.")
@click.option("--seconds", type=float, metavar="N", help="End after this time.")
@click.option("--device", metavar="NAME", help="Name of this device; default: its host's.")
@click.option("--pack", type=_FILE, metavar="FILE", help="Write the agent as one file, and end.")
def agent(
    to: str,
    token_file: Path | None,
    iface: str,
    no_netflow: bool,
    seconds: float | None,
    device: str | None,
    pack: Path | None,
) -> int:
    """Send this machine's rows: /proc once a second, its network in buckets of 100 ms.

    It reads only, and needs CAP_NET_RAW for the network and nothing else. --pack writes a file
    that does the same on any machine with Python 3.9 or later, without this package.
    """
    if pack is not None:
        n_bytes = write_pack(pack)
        click.echo(f"{pack}: {n_bytes / 1e3:.0f} kB; run it with: python3 {pack} --to PLACE")
        return 0
    arguments = ["--to", to, "--iface", iface]
    for flag, value in (("--token-file", token_file), ("--seconds", seconds), ("--device", device)):
        if value is not None:
            arguments += [flag, str(value)]
    if no_netflow:
        arguments.append("--no-netflow")
    sys.stdout.flush()
    # -P: a socket.py in the current folder is not the library's.
    return _become(["-P", "-m", "cis490_pipeline.collect", *arguments])


def _become(arguments: list[str]) -> NoReturn:
    """Replace this process by the agent, which needs a third of what this command has loaded."""
    os.execv(sys.executable, [sys.executable, *arguments])  # noqa: S606
