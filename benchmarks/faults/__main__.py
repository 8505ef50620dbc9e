"""Make every fault for real and print one table: fault, moment, wanted, happened.

    python -m benchmarks.faults --bundle DIR [--image DIR] [--only NAME] [--out FILE]

Agent, receiver, recorder and QEMU are killed at six moments each; disks fill up; a guest's clock is
set; tokens are wrong, devices too many, rows no rows. Machines are booted with an image of
`cis490 record image` only. Without root it enters a user namespace, in which it may mount. Exit
code 1 if an outcome is not as wanted.
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from benchmarks.faults.agents import agent_killed
from benchmarks.faults.disks import disk_full
from benchmarks.faults.guests import clock_set, guest_lies
from benchmarks.faults.outcomes import Outcome, Place, head, lines_of
from benchmarks.faults.receivers import live_killed
from benchmarks.faults.recorders import qemu_killed, recorder_killed, store_full
from benchmarks.faults.senders import lying_guest, two_devices, wrong_token
from benchmarks.faults.watching import watch_killed

Group = Callable[[Place], Iterator[Outcome]]
DEVICES: Final[dict[str, Group]] = {
    "agent": agent_killed,
    "live": live_killed,
    "watch": watch_killed,
    "disk": disk_full,
    "token": wrong_token,
    "devices": two_devices,
    "lies": lying_guest,
}
MACHINES: Final[dict[str, Group]] = {
    "recorder": recorder_killed,
    "qemu": qemu_killed,
    "store": store_full,
    "clock": clock_set,
    "guest": guest_lies,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, required=True, help="folder of `cis490 bundle`")
    parser.add_argument("--image", type=Path, help="folder of `cis490 record image`")
    parser.add_argument("--only", action="append", choices=[*DEVICES, *MACHINES])
    parser.add_argument("--out", type=Path, help="also append the table to this file")
    options = parser.parse_args()
    if os.geteuid() != 0:
        words = [sys.executable, "-m", "benchmarks.faults", *sys.argv[1:]]
        os.execvp("unshare", ["unshare", "-Urm", *words])
    image = None if options.image is None else options.image.resolve()
    groups = DEVICES if image is None else {**DEVICES, **MACHINES}
    chosen = {name: groups[name] for name in options.only or groups}
    folder = Path(tempfile.mkdtemp(prefix="faults-"))
    try:
        outcomes = _run(chosen, Place(folder, options.bundle.resolve(), image), options.out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0 if all(outcome.ok for outcome in outcomes) else 1


def _run(chosen: dict[str, Group], place: Place, out: Path | None) -> list[Outcome]:
    outcomes: list[Outcome] = []
    began = time.monotonic()
    _write(head(), out)
    for name, group in chosen.items():
        try:
            for outcome in group(place.within(name)):
                outcomes.append(outcome)
                _write(lines_of(outcome), out)
        except (TimeoutError, AssertionError) as fault:
            wanted = "the rest of this group"
            outcomes.append(Outcome(name, "", wanted, f"{type(fault).__name__}: {fault}", False))
            _write(lines_of(outcomes[-1]), out)
    n_ok = sum(outcome.ok for outcome in outcomes)
    minutes = (time.monotonic() - began) / 60
    _write(f"{n_ok} of {len(outcomes)} as wanted, {minutes:.1f} minutes", out)
    return outcomes


def _write(text: str, out: Path | None) -> None:
    print(text, flush=True)
    if out is not None:
        with out.open("a") as stream:
            stream.write(text + "\n")


if __name__ == "__main__":
    sys.exit(main())
