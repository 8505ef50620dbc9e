"""Write the parts of the documentation that are made from the code and from the sample corpus.

Run ``python docs/make_reference.py`` after a change; ``test_docs.py`` fails until it was run.
``docs/reference.md`` is written whole. In other files only the lines between
``<!-- made: NAME -->`` and ``<!-- end -->`` are replaced.
"""

import ast
import dataclasses
import inspect
import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
import polars as pl

from cis490_pipeline import errors
from cis490_pipeline.cli.main import COMMANDS, cis490
from cis490_pipeline.compute import SerialCompute
from cis490_pipeline.config import FILE_ONLY, Settings
from cis490_pipeline.domain import CHANNELS, PHASES, EpisodeRef, Kind, Source, Verdict
from cis490_pipeline.events import contract
from cis490_pipeline.features.resample import step_count
from cis490_pipeline.features.windows import touches_baseline, window_labels, window_starts
from cis490_pipeline.models.catalogue import ARCHITECTURE_VERSIONS, INPUT_KINDS
from cis490_pipeline.store.episode import load_episode, open_episode
from cis490_pipeline.store.layout import EpisodeStore
from cis490_pipeline.store.reasons import Reason
from cis490_pipeline.store.sweep import sweep
from cis490_pipeline.store.usage import UNSCORABLE

ROOT = Path(__file__).resolve().parents[1]
END = "<!-- end -->"
CLEAN_ONLY = "clean-only"


def table(head: Sequence[str], rows: Iterable[Sequence[Any]], right: Sequence[int] = ()) -> str:
    """Return a Markdown table; columns in ``right`` are aligned to the right."""
    rules = ["---:" if i in right else "---" for i in range(len(head))]
    cells = [list(head), rules, *([str(cell) for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(row) + " |" for row in cells)


def code(text: object) -> str:
    """Return text as inline code."""
    return f"`{text}`"


def attribute_docs(cls: type) -> dict[str, str]:
    """Return the docstring under each attribute of a class, on one line."""
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    assert isinstance(body, ast.ClassDef)
    found = {}
    for before, after in pairwise(body.body):
        if not (isinstance(before, ast.AnnAssign) and isinstance(before.target, ast.Name)):
            continue
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            found[before.target.id] = " ".join(str(after.value.value).split()).replace("``", "`")
    return found


def first_line(thing: object) -> str:
    """Return the first sentence of a docstring."""
    return (inspect.getdoc(thing) or "").split("\n")[0].replace("``", "`")


# What is made from the code


SHARED = (
    "--store",
    "--data",
    "--cache",
    "--seed",
    "--train-hosts",
    "--workers",
    "--threads",
    "--json",
)


def commands() -> str:
    """List every command with its arguments and options, as click has them."""
    context = click.Context(cis490, info_name="cis490")
    parts = []
    shared: dict[str, tuple[str, str]] = {}
    for name in COMMANDS:
        command = cis490.get_command(context, name)
        assert command is not None
        inner = click.Context(command, info_name=name, parent=context)
        usage = " ".join(["cis490", name, *command.collect_usage_pieces(inner)])
        text = inspect.cleandoc(command.help or "")
        options = {
            option.opts[0]: (_spelling(option), _meaning(option))
            for option in command.params
            if isinstance(option, click.Option)
        }
        shared |= {flag: options.pop(flag) for flag in SHARED if flag in options}
        parts.append(f"### {name}\n\n```text\n{usage}\n```\n\n{text}\n")
        if options:
            parts.append(table(("option", "meaning"), options.values()) + "\n")
    help_row = ("`-h`, `--help`", "Show what the command does and takes, and exit.")
    rows = [*(shared[flag] for flag in SHARED), help_row]
    head = "Every command takes these options (`inspect` only the last two):\n"
    return "\n".join([head, table(("option", "meaning"), rows) + "\n", *parts])


def _spelling(option: click.Option) -> str:
    names = "/".join(code(name) for name in [*option.opts, *option.secondary_opts])
    if option.is_flag:
        return names
    if isinstance(option.type, click.Choice):
        return f"{names} {', '.join(map(str, option.type.choices))}"
    return f"{names} {option.metavar or option.type.name.upper()}"


def _meaning(option: click.Option) -> str:
    default = option.default
    if option.is_flag and option.secondary_opts:
        chosen = option.opts[0] if default else option.secondary_opts[0]
        return f"{option.help} Default: {code(chosen)}."
    if option.is_flag or default is None or not isinstance(default, str | int) or option.multiple:
        return option.help or ""
    return f"{option.help} Default: {code(default)}."


MADE_DEFAULTS = {
    "models": "none",
    "workers": "processors this process may use",
    "cache": "`cis490` in `XDG_CACHE_HOME` or `~/.cache`",
}


def settings() -> str:
    """List every setting: its flag, its variable, its default."""
    run = cis490.get_command(click.Context(cis490), "run")
    assert run is not None
    flags = {param.name: param.opts[0] for param in run.params if isinstance(param, click.Option)}
    docs = attribute_docs(Settings)
    rows = []
    for item in dataclasses.fields(Settings):
        flag = code(flags[item.name]) if item.name in flags else "–"
        if item.default is None:
            default = "none"
        elif item.default is dataclasses.MISSING:
            default = MADE_DEFAULTS[item.name]
        else:
            value = item.default
            default = code(",".join(value) if isinstance(value, tuple) else value)
        text = docs.get(item.name, "Sent with every publication, if the dashboard wants one.")
        variable = "–" if item.name in FILE_ONLY else code(f"CIS490_{item.name.upper()}")
        rows.append((code(item.name), flag, variable, default, text))
    return table(("in `cis490.toml`", "flag", "environment", "default", "meaning"), rows)


def reasons() -> str:
    """List every reason code with the verdict it brings."""
    rows = []
    for reason in Reason:
        use = "not used" if reason.verdict is Verdict.REJECTED else "used, and counted"
        if reason in UNSCORABLE:
            use = "training only, never scored"
        if reason is Reason.DUPLICATE_CONTENT:
            use = "not used: the earliest received is"
        rows.append((code(reason), reason.verdict, use))
    return table(("code", "verdict", "such an episode is"), rows)


def error_classes() -> str:
    """List every exception of the project, with its base."""
    found = [cls for _, cls in inspect.getmembers(errors, inspect.isclass)]
    found.sort(key=lambda cls: inspect.getsourcelines(cls)[1])
    return table(
        ("class", "base", "meaning"),
        [(code(cls.__name__), code(cls.__bases__[0].__name__), first_line(cls)) for cls in found],
    )


def events() -> str:
    """Give the keys of every event, from the schema that is served."""
    parts = []
    for name, schema in contract.json_schema()["$defs"].items():
        docs = attribute_docs(getattr(contract, name))
        kind = schema["properties"]["type"]["enum"][0]
        rows = [
            (code(key), _type(value), "yes" if key in schema["required"] else "", docs.get(key, ""))
            for key, value in schema["properties"].items()
        ]
        parts.append(f"### {kind}\n\n{schema['description']}\n")
        parts.append(table(("key", "type", "required", "meaning"), rows) + "\n")
    return "\n".join(parts)


def _type(value: dict[str, Any]) -> str:
    if "enum" in value:
        return ", ".join(code(word) for word in value["enum"])
    if "anyOf" in value:
        return " or ".join(_type(part) for part in value["anyOf"] if part != {"type": "null"})
    if value["type"] == "object":
        return "object of " + _type(value["additionalProperties"])
    return f"list of {_type(value['items'])}" if value["type"] == "array" else str(value["type"])


def models() -> str:
    """List the architectures, what they read, and their versions."""
    return table(
        ("architecture", "input", "version"),
        [(code(a), INPUT_KINDS[a], ARCHITECTURE_VERSIONS[a]) for a in INPUT_KINDS],
    )


def assets() -> str:
    """List the asset graph with its checks; the twelve models as one row each."""
    from cis490_pipeline.orchestration.definitions import defs

    graph = defs.resolve_asset_graph()
    rows = {}
    for key in graph.toposorted_asset_keys:
        node = graph.get(key)
        path = list(key.path)
        if path[0] == "model" and len(path) == 4:
            path[1:3] = ["<architecture>", "<variant>"]
        checks = ", ".join(sorted(code(check.name) for check in node.check_keys))
        rows["/".join(path)] = (
            code("/".join(path)),
            "by split" if node.is_partitioned else "–",
            checks,
        )
    order = ("corpus", "dataset", "model", "dashboard")
    listed = sorted(rows.items(), key=lambda item: order.index(item[0].split("/")[0]))
    return table(("asset", "partitions", "blocking checks"), [row for _, row in listed])


def automation() -> str:
    """List jobs, schedules and sensors."""
    from cis490_pipeline.orchestration.definitions import defs

    made = defs.get_repository_def()
    rows = [
        ("job", code(job.name), job.description or "")
        for job in sorted(made.get_all_jobs(), key=lambda job: job.name)
        if not job.name.startswith("__")
    ]
    rows += [
        (
            "schedule",
            code(s.name),
            f"{s.description} {code(s.cron_schedule)}, off until you start it.",
        )
        for s in made.schedule_defs
    ]
    described = {
        "dataset_automation": "Makes `dataset/*` again where the content of its inputs changed.",
        "unpublished_scores": "Asks for a publication while scores are unpublished.",
    }
    rows += [("sensor", code(s.name), described[s.name]) for s in made.sensor_defs]
    return table(("kind", "name", "what it does"), rows)


def channels() -> str:
    """Give the registry of channels."""
    meaning = {
        Kind.COUNTER: "counter, rate per second",
        Kind.GAUGE: "gauge, last value",
        Kind.AMOUNT: "amount, per second",
    }
    rows = [
        (
            n,
            code(channel.name),
            meaning[channel.kind],
            channel.unit,
            "yes" if channel.deployable else "lab only",
            ", ".join(code(alias) for alias in channel.aliases),
        )
        for n, channel in enumerate(CHANNELS)
    ]
    head = ("n", "channel", "kind", "unit of the reading", "on a device", "other names it may have")
    return table(head, rows, right=(0,))


def sources() -> str:
    """Give the four sources and how many channels each has."""
    rows = [
        (
            code(source),
            code(source.member),
            f"{source.rate_hz:g} Hz",
            "yes" if source.deployable else "lab only",
            sum(channel.source is source for channel in CHANNELS),
        )
        for source in Source
    ]
    rows.append(("all", "", "", "", len(CHANNELS)))
    return table(("source", "member", "rate", "on a device", "channels"), rows, right=(4,))


# What is made from the sample corpus


@cache
def sample_frame() -> tuple[pl.DataFrame, EpisodeStore]:
    """Verdicts on the sample corpus, made now from its files."""
    store = EpisodeStore(ROOT / "data" / "sample")
    return sweep(store, None, SerialCompute()).frame, store


@cache
def sample_machines() -> dict[str, tuple[int, int]]:
    """Virtual processors and memory, MiB, of each host's machine."""
    frame, store = sample_frame()
    index = store.read_index()
    found: dict[str, tuple[int, int]] = {}
    for host, episode in frame.select("host_id", "episode_id").rows():
        ref = EpisodeRef(host, episode)
        meta = open_episode(store, ref, index.rows[ref]).meta
        assert meta is not None
        shape = (meta.vm.vcpus, meta.vm.ram_mib)
        assert found.setdefault(host, shape) == shape, f"{host} has two shapes"
    return found


def sample_hosts() -> str:
    """Give the machines of the corpus, and the verdicts on their episodes."""
    frame, _ = sample_frame()
    counts = Counter(frame.select("host_id", "status").rows())
    rows = [
        (code(host), *sample_machines()[host], *(counts[host, str(v)] for v in Verdict))
        for host in sorted(sample_machines())
    ]
    totals = [sum(counts[host, str(v)] for host in sample_machines()) for v in Verdict]
    rows.append(("all", "", "", *totals))
    head = ("host", "vCPUs", "memory, MiB", *(str(verdict) for verdict in Verdict))
    return table(head, rows, right=range(1, len(head)))


def sample_profiles() -> str:
    """Count episodes by profile and host; a dash where a profile never ran."""
    frame, _ = sample_frame()
    frame = frame.with_columns(pl.col("profile").fill_null(CLEAN_ONLY))
    counts = Counter(frame.select("profile", "host_id").rows())
    hosts = sorted(set(frame["host_id"]))
    profiles = sorted(set(frame["profile"]), key=lambda name: (name == CLEAN_ONLY, name))
    rows: list[Sequence[Any]] = []
    for profile in profiles:
        by_host = [counts[profile, host] for host in hosts]
        rows.append((profile, *(n or "–" for n in by_host), sum(by_host)))
    totals = [frame.filter(host_id=host).height for host in hosts]
    rows.append(("all", *totals, sum(totals)))
    return table(("profile", *hosts, "all"), rows, right=range(1, len(hosts) + 2))


def sample_samples() -> str:
    """Give the samples of each profile and how often each ran."""
    frame, _ = sample_frame()
    ran = frame.filter(pl.col("sample_name").is_not_null())
    counts = Counter(ran.select("profile", "sample_name").rows())
    rows = [
        (
            profile,
            ", ".join(f"{name} ({n})" for (p, name), n in sorted(counts.items()) if p == profile),
        )
        for profile in sorted(set(ran["profile"]))
    ]
    return table(("profile", "samples, with their episodes"), rows)


def sample_phases() -> str:
    """Count windows by phase: all of every usable episode, and those after its baseline."""
    frame, store = sample_frame()
    index = store.read_index()
    every: Counter[str] = Counter()
    later: Counter[str] = Counter()
    for host, episode_id in (
        frame.filter(pl.col("status").is_in(["accepted", "degraded"]))
        .select("host_id", "episode_id")
        .rows()
    ):
        ref = EpisodeRef(host, episode_id)
        episode = load_episode(store, ref, index.rows[ref])
        starts = window_starts(step_count(episode.t0_ns, episode.end_ns))
        times = [label.t_wall_ns for label in episode.labels]
        names = [label.phase for label in episode.labels]
        y, _ = window_labels(times, names, episode.t0_ns, episode.end_ns, starts)
        every.update(str(PHASES[k]) for k in y)
        later.update(str(PHASES[k]) for k in y[~touches_baseline(starts)])
    rows = [(code(phase), every[str(phase)], later[str(phase)]) for phase in PHASES]
    rows.append(("all", every.total(), later.total()))
    head = ("phase", "windows", "of them clear of the first 15 s")
    return table(head, rows, right=(1, 2))


def sample_faults() -> str:
    """List the episodes that are not simply accepted, with their reasons in words."""
    frame, _ = sample_frame()
    rows = [
        (
            code(f"{row['host_id']}/{row['episode_id']}"),
            row["status"],
            ", ".join(code(reason) for reason in row["reasons"]),
            "; ".join(detail.split(": ", 1)[1] for detail in row["details"]),
        )
        for row in frame.filter(pl.col("reasons").list.len() > 0).iter_rows(named=True)
    ]
    return table(("episode", "verdict", "reasons", "what the validator says"), rows)


# Putting it in place


def reference() -> str:
    """Return the whole of ``docs/reference.md``."""
    return f"""# Reference

This file is made from the code by `docs/make_reference.py`; do not edit it.

## Commands

Results go to stdout, progress goes to stderr. Exit codes: 0 good; 1 findings (an episode was
rejected or could not be checked, or `doctor` has advice); 2 wrong usage or input; 130 interrupted.

{commands()}
## Settings

A flag wins over the environment, the environment over `cis490.toml` in the working folder, that
over the default.

{settings()}

## Reason codes

What each code means: [the format](concepts/format.md#reason-codes).

{reasons()}

## Architectures

Each is trained twice, `realistic` and `oracle`.

{models()}

## Assets

{assets()}

{automation()}

## Events

`POST` to the dashboard's address; the body is a JSON list of events. An answer with status 200 and
`{{"delivered": N}}` acknowledges them. `cis490_pipeline.events.contract.json_schema` returns the
JSON Schema.

{events()}
## Errors

All of them are in `cis490_pipeline.errors`. The command line prints the class and the message and
exits with 2.

{error_classes()}
"""


BLOCKS = {
    "README.md": {"settings": settings},
    "docs/concepts/channels.md": {"sources": sources, "channels": channels},
    "data/README.md": {
        "hosts": sample_hosts,
        "profiles": sample_profiles,
        "samples": sample_samples,
        "phases": sample_phases,
        "faults": sample_faults,
    },
}


def with_blocks(text: str, blocks: dict[str, Any]) -> str:
    """Return a document with each of its made blocks made anew."""
    for name, make in blocks.items():
        start = f"<!-- made: {name} -->"
        before, found, rest = text.partition(start)
        _, ended, after = rest.partition(END)
        if not (found and ended):
            raise SystemExit(f"no lines between {start} and {END}")
        text = f"{before}{start}\n{make()}\n{END}{after}"
    return text


def made_files() -> dict[str, str]:
    """Return every file this script writes, by path from the root, with its text."""
    made = {
        name: with_blocks((ROOT / name).read_text(encoding="utf-8"), blocks)
        for name, blocks in BLOCKS.items()
    }
    return {"docs/reference.md": reference(), **made}


if __name__ == "__main__":
    for name, text in made_files().items():
        (ROOT / name).write_text(text, encoding="utf-8")
