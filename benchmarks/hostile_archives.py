"""Memory and time that built archives cost: 100 tars and 100 zstd files, each changed in one way.

    python -m benchmarks.hostile_archives [--number 200] [--seed 13]

Sizes and their signs, types, names and checksums of tar headers; windows, content sizes, blocks,
dictionaries and checksums of zstd frames; cuts and additions. Most are followed by 600 MiB of zeros
in little, so that a bound that was lifted shows. Each is validated in a process of its own that
measures itself; none may take 300 MB or 5 s of processor time. Exit code 1 if one does.
"""

import argparse
import json
import os
import random
import re
import resource
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from benchmarks.hostile_bytes import FRAME_CHANGES, TAR_CHANGES, sample_tar
from cis490_pipeline.domain import EpisodeRef
from cis490_pipeline.store.receiver import LocalStore
from cis490_pipeline.store.receiver_index import IndexRow
from cis490_pipeline.store.verdicts.validate import validate_episode

MAX_MB: Final = 300
MAX_SECONDS: Final = 5.0
_CAP_BYTES: Final = 8 << 30
"""Of a process's memory, so that what is unbounded ends here and not with the machine."""
REF: Final = EpisodeRef("garage-pi", "01M818WXRG33PWZSGRJ7Q6BEC5")


@dataclass(frozen=True)
class Cost:
    """What one archive cost."""

    name: str
    n_bytes: int
    status: str
    reasons: str
    cpu_s: float
    wall_s: float
    peak_mb: float

    @property
    def is_bounded(self) -> bool:
        """Whether it stayed within both limits."""
        return self.cpu_s < MAX_SECONDS and self.peak_mb < MAX_MB


def built(number: int, seed: int) -> tuple[str, bytes]:
    """Build one archive; the same number and seed give the same bytes."""
    rng = random.Random(f"{seed}/{number}")
    changes = TAR_CHANGES if number % 2 == 0 else FRAME_CHANGES
    name, change = sorted(changes.items())[number // 2 % len(changes)]
    return name, change(rng, sample_tar(rng))


def measured(name: str, content: bytes, root: Path) -> Cost:
    """Validate one archive in a process of its own."""
    row = _stored(content, root)
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        resource.setrlimit(resource.RLIMIT_DATA, (_CAP_BYTES, _CAP_BYTES))
        with os.fdopen(writing, "w") as answer:
            json.dump(_validated(root, row), answer)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        printed = answer.read()
    os.waitpid(child, 0)
    if not printed:
        return Cost(name, len(content), "died", "", float("nan"), float("nan"), _CAP_BYTES / 1e6)
    return Cost(name, len(content), **json.loads(printed))


def _stored(content: bytes, root: Path) -> IndexRow:
    path = LocalStore(root).archive_path(REF)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return IndexRow(
        ref=REF,
        received_at_wall="2026-11-22T10:00:00.000000Z",
        sha256=None,
        bytes=len(content),
        schema_version=1,
    )


def _validated(root: Path, row: IndexRow) -> dict[str, str | float]:
    began, began_cpu = time.perf_counter(), time.process_time()
    try:
        verdict = validate_episode(LocalStore(root), REF, row)
    except MemoryError:
        verdict = {"status": "errored", "reasons": ["(no memory left)"]}
    cpu_s, wall_s = time.process_time() - began_cpu, time.perf_counter() - began
    status = Path("/proc/self/status").read_text()
    # Not getrusage: its peak survives exec, so that a large parent would be measured.
    (peak_kib,) = re.findall(r"VmHWM:\s+(\d+) kB", status)
    reasons = ", ".join(reason for reason in verdict["reasons"] if reason != "unsealed")
    return {
        "status": verdict["status"],
        "reasons": reasons,
        "cpu_s": cpu_s,
        "wall_s": wall_s,
        "peak_mb": int(peak_kib) * 1024 / 1e6,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--number", type=int, default=200)
    parser.add_argument("--seed", type=int, default=13)
    parser.add_argument("--out", type=Path, help="also write every row as JSON")
    options = parser.parse_args()
    costs = []
    print(f"{'archive':44}{'bytes':>10}{'CPU s':>8}{'MB':>7}  verdict")
    with tempfile.TemporaryDirectory(prefix="cis490-hostile-") as scratch:
        for number in range(options.number):
            name, content = built(number, options.seed)
            cost = measured(f"{number:3} {name}", content, Path(scratch))
            costs.append(cost)
            print(_line(cost), flush=True)
    if options.out:
        options.out.write_text(json.dumps([asdict(cost) for cost in costs], indent=1) + "\n")
    return _summed_up(costs)


def _line(cost: Cost) -> str:
    mark = "" if cost.is_bounded else "  OVER"
    return (
        f"{cost.name:44}{cost.n_bytes:10}{cost.cpu_s:8.2f}{cost.peak_mb:7.0f}  "
        f"{cost.status} {cost.reasons}{mark}"
    )


def _summed_up(costs: list[Cost]) -> int:
    over = [cost for cost in costs if not cost.is_bounded]
    slow = max(costs, key=lambda cost: cost.cpu_s)
    large = max(costs, key=lambda cost: cost.peak_mb)
    print(
        f"{len(costs)} archives; most time {slow.cpu_s:.2f} s ({slow.name}), most memory "
        f"{large.peak_mb:.0f} MB ({large.name}); {len(over)} over {MAX_SECONDS:g} s or {MAX_MB} MB"
    )
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
