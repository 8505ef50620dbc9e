"""Guests whose wall clock is set, and guests that lie, in real machines."""

import gzip
import json
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from benchmarks.faults.outcomes import Outcome, Place, checked
from benchmarks.faults.processes import ended, peak_mb
from benchmarks.faults.recorders import Recording, lane_of, members, meta_of
from cis490_pipeline.recording.image import (
    DESCRIPTION_FILE,
    KERNEL_FILE,
    RAMDISK_FILE,
    cpio_archive,
)
from cis490_pipeline.storage.files import file_sha256

_HOUR_S: Final = 3600
_MS: Final = 1e6
_AGENT_LINE: Final = "/usr/bin/python3 /opt/cis490/agent.pyz --to serial:/dev/cis490.rows"
_RUNNER_LINE: Final = "/usr/bin/python3 -m cis490_guest.runner /dev/cis490.control"
MAX_MB: Final = 300
LIAR: Final = """
import os, sys, time
out = os.open("/dev/cis490.rows", os.O_WRONLY)
def write(content):
    while content:
        content = content[os.write(out, content):]
lies = [
    b"\\x00\\xff\\x7fELF\\n", b"[" * 50000 + b"\\n", b"{}\\n", b'{"source":"guest_agent"}\\n',
    b'{"source":"guest_agent","x":"\\xed\\xa0\\x80"}\\n',
    b'{"source":"bridge_pcap","t_wall_ns":1,"t_mono_ns":1,"pkts_out":7}\\n',
    b'{"source":"guest_agent","t_wall_ns":1,"t_mono_ns":1,"cpu_user":"5"}\\n',
    b'{"source":"guest_agent","t_wall_ns":4000000000000000000,"t_mono_ns":4000000000000000000}\\n',
    b'{"source":"guest_agent","t_wall_ns":1,"t_mono_ns":2,"evil":"' + b"y" * 60000 + b'"}\\n',
]
n = 0
for line in sys.stdin.buffer:
    write(line)
    for lie in lies:
        write(lie)
    n += 1
    if n == 3:
        for _ in range(512):
            write(b"x" * 65536)
        write(b"\\n")
"""
MUTE: Final = """
import os, time
control = os.open("/dev/cis490.control", os.O_RDWR)
os.write(control, b'{"event":"ready","t_guest_wall_ns":1,"t_guest_mono_ns":1}\\n')
while os.read(control, 4096) or not time.sleep(0.2):
    os.write(control, b"HTTP/1.1 400 Bad Request\\n")
"""


def changed_image(
    image: Path, folder: Path, *replaced: tuple[str, str], programs: dict[str, str] | None = None
) -> Path:
    """Make an image whose first process does something else, by a second archive in it."""
    init = (files("cis490_pipeline.recording") / "guest" / "init.sh").read_text()
    for before, after in replaced:
        assert init.count(before) == 1, before
        init = init.replace(before, after)
    tree = folder / "tree"
    (tree / "opt/cis490").mkdir(parents=True)
    (tree / "init").write_text(init)
    (tree / "init").chmod(0o755)
    for name, text in (programs or {}).items():
        (tree / "opt/cis490" / name).write_text(text)
    made = folder / "image"
    made.mkdir()
    shutil.copyfile(image / KERNEL_FILE, made / KERNEL_FILE)
    added = gzip.compress(cpio_archive(tree, devices={}), mtime=0)
    (made / RAMDISK_FILE).write_bytes((image / RAMDISK_FILE).read_bytes() + added)
    description = json.loads((image / DESCRIPTION_FILE).read_text())
    description["ramdisk_sha256"] = file_sha256(made / RAMDISK_FILE)
    (made / DESCRIPTION_FILE).write_text(json.dumps(description))
    return made


def clock_set(place: Place) -> Iterator[Outcome]:
    """Set a guest's clock by an hour, from its boot on and in the middle of a run."""
    assert place.image is not None
    for hours in (1, -1):
        for moment, wait in (("before the run", False), ("in the middle of it", True)):
            own = place.within(f"{hours:+d}-{wait}")
            setting = f"date -s @$(($(date +%s) + {hours * _HOUR_S})) > /dev/null"
            # The first phase after the clean lead leaves files, whatever the boot took.
            until = 'while [ -z "$(ls /scratch | grep -v lost)" ]; do usleep 200000; done'
            when = f"({until}; {setting}) &\n" if wait else f"{setting}\n"
            image = changed_image(place.image, own.folder, (_AGENT_LINE, when + _AGENT_LINE))
            yield _of_clock(Place(own.folder, own.bundle, image), f"{hours:+d} h, {moment}", wait)


def _of_clock(place: Place, moment: str, wait: bool) -> Outcome:
    recording = Recording(place, episodes=1)
    code = recording.finish()
    [(status, content)] = members(recording) or [("none", {})]
    meta: dict[str, Any] = meta_of(content)
    guest = meta["clocks"]["guest"]
    rows = [json.loads(line) for line in content["telemetry-guest.jsonl"].splitlines()]
    offsets = [(r["t_guest_wall_ns"] - r["t_wall_ns"]) / 1e9 for r in rows]
    steps = meta["recording"]["agent"]["clock_steps"]
    facts: dict[str, object] = {
        "verdict": status,
        "uncertainty": f"{guest['uncertainty_ns'] / _MS:.1f} ms",
        "guest's wall clock less the host's": f"{offsets[0]:+.0f} s to {offsets[-1]:+.0f} s",
        "steps that the agent named": steps,
    }
    moved = abs(offsets[-1] - offsets[0]) > _HOUR_S / 2
    holds = [code == 0, status == "accepted", moved == wait, steps == int(wait)]
    wanted = "rows and labels lie by the monotonic clock; under 20 ms, accepted"
    return checked("guest's clock", moment, wanted, facts, holds)


def guest_lies(place: Place) -> Iterator[Outcome]:
    """Machines whose rows are partly none, and whose control answers are no JSON."""
    assert place.image is not None
    own = place.within("rows")
    line = "/usr/bin/python3 /opt/cis490/agent.pyz --to -"
    image = changed_image(
        place.image,
        own.folder,
        (_AGENT_LINE, line),
        ("$netflow &", "$netflow | /usr/bin/python3 /opt/cis490/liar.py &"),
        programs={"liar.py": LIAR},
    )
    recording = Recording(Place(own.folder, own.bundle, image), episodes=1)
    running, peak = recording.start(), 0.0
    with ended(running):
        while running.process.poll() is None:
            lane = lane_of(running)
            # A lane that ends between the two has no status any more.
            with suppress(OSError, StopIteration):
                peak = max(peak, peak_mb(lane) if lane else 0.0)
            time.sleep(0.3)
    [(status, content)] = members(recording)
    facts_of = meta_of(content)["recording"]
    facts: dict[str, object] = {
        "verdict": status,
        "lines left out": facts_of["guest_rows_invalid"] + facts_of["guest_rows_implausible"],
        "guest rows": len(content["telemetry-guest.jsonl"].splitlines()),
        "peak of the lane": f"{peak:.0f} MB",
    }
    wanted = "what is no row is left out and counted, the rest is recorded; memory bounded"
    holds = [status == "accepted", peak < MAX_MB]
    yield checked("a guest that lies", "rows in a machine", wanted, facts, holds)

    own = place.within("control")
    runner = _RUNNER_LINE.replace("-m cis490_guest.runner", "/opt/cis490/mute.py")
    image = changed_image(
        place.image, own.folder, (_RUNNER_LINE, runner), programs={"mute.py": MUTE}
    )
    recording = Recording(Place(own.folder, own.bundle, image), episodes=1)
    code = recording.finish()
    printed = [text for text in recording.printed().splitlines() if text.startswith("run 0 ")]
    facts = {"exit code": code, "printed": f'"{printed[-1][:120] if printed else ""}"'}
    holds = [code == 1, bool(printed) and "control line that is none" in printed[-1]]
    wanted = "the run fails by name; no episode"
    yield checked("a guest that lies", "control answers", wanted, facts, holds)
