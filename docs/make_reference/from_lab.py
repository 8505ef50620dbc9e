"""What is made from the recorded corpus `data/lab`: its machines, samples, controls and blocks."""

import tomllib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import pairwise
from statistics import median
from typing import Any, Final

import msgspec

from cis490_pipeline.domain import NS_PER_S, PHASES
from cis490_pipeline.store.archive.unpack import read_members
from cis490_pipeline.store.receiver import LocalStore
from docs.make_reference.markdown import code, prose, table
from docs.make_reference.results import ROOT

LAB: Final = ROOT / "data" / "lab"
SIDES: Final = ("train", "val", "test")
_LABELS: Final = msgspec.json.Decoder(dict[str, Any])


@dataclass(frozen=True)
class Run:
    """One recorded run: its host's side, its meta and its labels."""

    side: str
    meta: dict[str, Any]
    labels: list[dict[str, Any]]

    @property
    def host(self) -> str:
        """Host it was recorded on."""
        return str(self.meta["host_id"])

    @property
    def recording(self) -> dict[str, Any]:
        """How the run went."""
        found: dict[str, Any] = self.meta["recording"]
        return found

    @property
    def seconds(self) -> float:
        """Length, s."""
        return float(self.meta["result"]["duration_observed_s"])

    @cached_property
    def phase_s(self) -> dict[str, float]:
        """Seconds of each phase."""
        end_ns = self.labels[0]["t_wall_ns"] + round(self.seconds * NS_PER_S)
        times = [*(label["t_wall_ns"] for label in self.labels), end_ns]
        found: dict[str, float] = defaultdict(float)
        for label, (begin_ns, until_ns) in zip(self.labels, pairwise(times), strict=True):
            found[label["phase"]] += (until_ns - begin_ns) / NS_PER_S
        return found

    @property
    def kind(self) -> str:
        """What the run is for."""
        if self.meta["sample"] is not None:
            return "infected"
        if self.recording["shams"]:
            return "sham-armed"
        return "clean"


@cache
def runs() -> tuple[Run, ...]:
    """Read every sound run of the corpus, by the ends of phases in its own files."""
    settings = tomllib.loads((LAB / "cis490.toml").read_text())
    side_of = dict.fromkeys(settings["train_hosts"], "train")
    side_of |= dict.fromkeys(settings["val_hosts"], "val")
    store = LocalStore(LAB)
    found = []
    for ref in sorted(store.read_index().rows, key=lambda ref: ref.episode_id):
        members = read_members(store.archive_path(ref))
        meta = msgspec.json.decode(members["meta.json"])
        if "failure" not in meta:
            labels = _LABELS.decode_lines(members["labels.jsonl"])
            found.append(Run(side_of.get(ref.host_id, "test"), meta, labels))
    return tuple(found)


def _by(key: Callable[[Run], str]) -> dict[str, list[Run]]:
    found: dict[str, list[Run]] = defaultdict(list)
    for run in runs():
        found[key(run)].append(run)
    return found


def machines() -> str:
    """Give each host's side, its machine and what runs beside the phases."""
    rows = []
    for host, of_host in sorted(_by(lambda run: run.host).items(), key=_by_side):
        shape = of_host[0].meta["vm"]["shape"]
        disk = "none" if shape["disk"] == "none" else f"{shape['disk']}, {shape['cache']}"
        rows.append(
            (
                code(host),
                of_host[0].side,
                f"{shape['vcpus']}, {shape['ram_mib']} MiB",
                f"{shape['machine']}, {shape['cpu']}, {shape['threads']}",
                disk + (", tmpfs" if shape["filesystem"] == "tmpfs" else ""),
                ", ".join(_besides(shape)) or "–",
                len(of_host),
                _hours(of_host),
            )
        )
    head = ("host", "side", "vCPUs, memory", "emulator", "disk", "besides", "episodes", "hours")
    return table(head, rows, right=(6, 7))


def _by_side(item: tuple[str, list[Run]]) -> tuple[int, str]:
    return SIDES.index(item[1][0].side), item[0]


def _besides(shape: dict[str, Any]) -> Iterable[str]:
    yield from shape["services"]
    if shape["neighbours"]:
        yield f"{shape['neighbours']} neighbour{'s' if shape['neighbours'] > 1 else ''}"
    if shape["cpu_percent"]:
        yield f"{shape['cpu_percent']} % of a core"


def _hours(of_it: Iterable[Run]) -> str:
    return f"{sum(run.seconds for run in of_it) / 3600:.2f}"


def phases() -> str:
    """Give minutes of each phase and of each kind of run by side."""
    rows = []
    for side in SIDES:
        of_side = [run for run in runs() if run.side == side]
        kinds = Counter(run.kind for run in of_side)
        rows.append(
            (
                side,
                *(f"{sum(run.phase_s[phase] for run in of_side) / 60:.0f}" for phase in PHASES),
                *(kinds[kind] for kind in ("infected", "sham-armed", "clean")),
                sum(run.seconds > 1000 for run in of_side),
            )
        )
    head = ("side", *(f"{phase}, min" for phase in PHASES))
    counted = ("infected runs", "sham-armed", "clean", "of 30 min")
    return table((*head, *counted), rows, right=range(1, len(head) + len(counted)))


def samples() -> str:
    """Give each sample's parameters and its episodes by side."""
    of_sample: dict[tuple[str, str, str], Counter[str]] = defaultdict(Counter)
    for run in runs():
        if sample := run.meta["sample"]:
            given = ", ".join(
                f"{name} {value if isinstance(value, int | float) else ' '.join(map(str, value))}"
                for name, value in sample["parameters"].items()
            )
            of_sample[sample["profile"], sample["name"], given][run.side] += 1
    rows = [
        (profile, code(name), given, *(counts[side] or "–" for side in SIDES))
        for (profile, name, given), counts in sorted(of_sample.items())
    ]
    return table(("profile", "sample", "parameters", *SIDES), rows, right=(3, 4, 5))


def lookalikes() -> str:
    """Give minutes of each benign look-alike by side."""
    spent_s: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for run in runs():
        for ran in run.recording["backgrounds"]:
            seconds = (ran["ended_ns"] - ran["began_ns"]) / NS_PER_S
            spent_s[ran["activity"]][run.side] += seconds
    rows = [
        (name, *(f"{spent[side] / 60:.0f}" if spent[side] else "–" for side in SIDES))
        for name, spent in sorted(spent_s.items())
    ]
    return table(("look-alike", *(f"{side}, min" for side in SIDES)), rows, right=(1, 2, 3))


def blocks() -> str:
    """Give when each block was recorded, and how busy the recording machine was."""
    rows = []
    for block, of_block in sorted(_by(lambda run: str(run.recording["block"])).items()):
        pressure = [run.meta["host_pressure"] for run in of_block]
        rows.append(
            (
                block,
                min(run.meta["started_at_wall"] for run in of_block)[:16].replace("T", " "),
                max(run.meta["ended_at_wall"] for run in of_block)[:16].replace("T", " "),
                len(of_block),
                len({run.host for run in of_block}),
                f"{100 * median(one['qemu_wait_share'] for one in pressure):.0f} %",
                f"{median(run.recording['lateness_s'] for run in of_block):.2f}",
            )
        )
    head = ("block", "from (UTC)", "to", "episodes", "hosts", "QEMU waiting", "confirmed late, s")
    dropped = sum(run.recording["packets_dropped"] for run in runs())
    packets = sum(run.recording["packets"] for run in runs())
    text = (
        "*QEMU waiting* is the median share of its runnable time in which a machine waited for a "
        "processor; *confirmed late* the median of a run's latest confirmation. "
        f"{dropped} of {packets:,} packets were lost. {_made_with()}"
    )
    return f"{table(head, rows, right=(3, 4, 5, 6))}\n\n{prose(text)}"


def _made_with() -> str:
    """Name what every run was recorded with; more than one of a kind is named too."""

    def each(what: str, value_of: Callable[[Run], str]) -> str:
        values = sorted({value_of(run) for run in runs()})
        return f"{what} {', '.join(map(code, values))}"

    parts = (
        each("plan", lambda run: run.recording["plan_sha256"][:12]),
        each("recorder", lambda run: run.recording["recorder_sha256"][:12]),
        each("image", lambda run: run.meta["vm"]["image_sha256"][:12]),
        each("processor", lambda run: run.meta["host_fingerprint"]["cpu_model"]),
        each("QEMU", lambda run: run.meta["host_fingerprint"]["qemu_version"]),
    )
    return f"Recorded with {'; '.join(parts)}."
