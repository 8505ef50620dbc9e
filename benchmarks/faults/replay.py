"""An agent that replays a recorded device: rows of an archive, as if they were read now.

``python -m benchmarks.faults.replay ARCHIVE START_S``; silent after the recording's end.
"""

import json
import sys
import time
from pathlib import Path

from cis490_pipeline.domain import NS_PER_S, Source
from cis490_pipeline.store.archive.unpack import read_members

SOURCES = (Source.GUEST, Source.NETFLOW)


def rows_from(archive: Path, start_s: float) -> list[dict[str, object]]:
    """Rows of guest and network from a time of the recording on, in order of time."""
    members = read_members(archive)
    rows = [json.loads(line) for s in SOURCES for line in members[s.member].splitlines()]
    rows.sort(key=lambda row: row["t_wall_ns"])
    first_ns = rows[0]["t_wall_ns"] + round(start_s * NS_PER_S)
    return [row for row in rows if row["t_wall_ns"] >= first_ns]


def main(archive: Path, start_s: float) -> None:
    rows = rows_from(archive, start_s)
    shift_ns = time.time_ns() - int(str(rows[0]["t_wall_ns"]))
    for row in rows:
        at_ns = int(str(row["t_wall_ns"])) + shift_ns
        time.sleep(max(0, at_ns - time.time_ns()) / NS_PER_S)
        sys.stdout.write(json.dumps({**row, "t_wall_ns": at_ns}) + "\n")
        sys.stdout.flush()
    time.sleep(3600)


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]))
