"""What is made from the code: commands, settings, reasons, assets, events, channels."""

import dataclasses
import importlib
import inspect
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from cis490_pipeline import errors
from cis490_pipeline.cli.main import COMMANDS, cis490
from cis490_pipeline.config import FILE_ONLY, Settings
from cis490_pipeline.domain import CHANNELS, Kind, Source, Verdict
from cis490_pipeline.domain.catalogue import ARCHITECTURE_VERSIONS, INPUT_KINDS
from cis490_pipeline.events import contract, identity
from cis490_pipeline.store.reasons import Reason
from cis490_pipeline.store.verdicts.eligibility import UNSCORABLE
from docs.make_reference.markdown import attribute_docs, bullet, code, first_line, prose, table

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "cis490_pipeline"
SHARED = (
    "--store",
    "--data",
    "--cache",
    "--seed",
    "--train-hosts",
    "--val-hosts",
    "--features",
    "--workers",
    "--threads",
    "--json",
)


def commands() -> str:
    """List every command with its arguments and options, as click has them."""
    context = click.Context(cis490, info_name="cis490")
    parts = []
    shared: dict[str, tuple[str, str]] = {}
    for name, command in _all_commands(context):
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


def _all_commands(context: click.Context) -> Iterator[tuple[str, click.Command]]:
    """Yield every command by name; after a group its commands, by both names."""
    for name in COMMANDS:
        command = cis490.get_command(context, name)
        assert command is not None
        yield name, command
        if isinstance(command, click.Group):
            for inner, found in command.commands.items():
                yield f"{name} {inner}", found


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
    "calibrate_on": "none",
    "models": "none",
    "quarantine": "none",
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
        if item.default is None or item.default == ():
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


def floors() -> str:
    """List the floors from the top down, as the import linter has them, with what each is."""
    rows = [
        (number, code(f"{PACKAGE}/{name}" + ("" if _is_folder(name) else ".py")), _about(name))
        for number, floor in zip(range(len(_floors()), 0, -1), _floors(), strict=True)
        for name in floor
    ]
    return table(("floor", "module", "what it is"), rows, right=(0,))


def _about(name: str) -> str:
    return first_line(importlib.import_module(f"{PACKAGE}.{name}"))


def floors_in_words() -> str:
    """Name the floors from the top down in a sentence; modules on one floor by a slash."""
    named = [" / ".join(map(code, floor)) for floor in _floors()]
    return prose(f"From the top: {', '.join(named)}.")


def _floors() -> list[list[str]]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (layers,) = [
        contract["layers"]
        for contract in project["tool"]["importlinter"]["contracts"]
        if contract["type"] == "layers"
    ]
    # In brackets stand modules that need not exist; they are no floor of their own.
    return [re.split(r"\s*[|:]\s*", layer) for layer in layers if not layer.startswith("(")]


def _is_folder(name: str) -> bool:
    return (ROOT / PACKAGE / name).is_dir()


def command_names() -> str:
    """Name every command, for the list of changes."""
    return bullet(f"Commands: {', '.join(map(code, COMMANDS))}.")


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
        docs = attribute_docs(identity.Published) | attribute_docs(getattr(contract, name))
        # What is a part of an event has no type of its own; it goes by its name.
        kind = schema["properties"].get("type", {"enum": [name]})["enum"][0]
        rows = [
            (code(key), _type(value), "yes" if key in schema["required"] else "", docs.get(key, ""))
            for key, value in schema["properties"].items()
        ]
        parts.append(f"### {kind}\n\n{schema['description']}\n")
        parts.append(table(("key", "type", "required", "meaning"), rows) + "\n")
    return "\n".join(parts)


def _type(value: dict[str, Any]) -> str:
    if "$ref" in value:
        return code(value["$ref"].rpartition("/")[2])
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
        [(code(a), ", ".join(INPUT_KINDS[a]), ARCHITECTURE_VERSIONS[a]) for a in INPUT_KINDS],
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
        checks = ", ".join(
            code(check.name) + ("" if graph.get(check).blocking else " (warns)")
            for check in sorted(node.check_keys)
        )
        rows["/".join(path)] = (
            code("/".join(path)),
            "by split" if node.is_partitioned else "–",
            checks,
        )
    order = ("corpus", "dataset", "model", "dashboard")
    listed = sorted(rows.items(), key=lambda item: order.index(item[0].split("/")[0]))
    return table(("asset", "partitions", "checks"), [row for _, row in listed])


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
        "unpublished_scores": "Publishes leaderboards to each dashboard until acknowledged.",
        "failed_runs": "Logs each failed run with its cause; posts it to `CIS490_FAILURE_URL`.",
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
