"""Which files are made, and their texts."""

from typing import Any

from benchmarks import dashboard_page, evaluation_page, models_page, scale_page
from cis490_pipeline.reporting.publish_schema import schema_files
from docs.make_reference import (
    from_benchmarks,
    from_code,
    from_lab,
    from_processors,
    from_recording,
    from_run,
    from_run_limits,
    from_run_pages,
    from_sample,
)
from docs.make_reference.results import ROOT, result

END = "<!-- end -->"


def reference() -> str:
    """Return the whole of ``docs/reference.md``."""
    return f"""# Reference

This file is made from the code by `docs/make_reference`; do not edit it.

## Commands

Results go to stdout, progress goes to stderr. Exit codes: 0 good; 1 findings (an episode was
rejected or could not be checked, or `doctor` has advice); 2 wrong usage or input; 130 interrupted.

{from_code.commands()}
## Settings

A flag wins over the environment, the environment over `cis490.toml` in the working folder, that
over the default.

{from_code.settings()}

## Reason codes

What each code means: [the format](concepts/format.md#reason-codes).

{from_code.reasons()}

## Architectures

A recipe run trains each twice, `realistic` and `oracle`; `cis490 train --variant network` trains a
third, which sees traffic alone and is in no asset.

{from_code.models()}

## Assets

{from_code.assets()}

{from_code.automation()}

## Events

`POST` to the dashboard's `/publish`; the body is one event as JSON, or a list of them. An answer
with status 200 and `{{"delivered": N}}` acknowledges them. A dashboard serves the JSON Schema, with
every bound on lengths and numbers, at `/schema/events-v1.json`;
`cis490_pipeline.events.contract.json_schema` returns it.

{from_code.events()}
## Errors

All of them are in `cis490_pipeline.errors`. The command line prints the class and the message and
exits with 2.

{from_code.error_classes()}
"""


BLOCKS = {
    "README.md": {
        "takes": from_run.takes,
        "board": from_run.board,
        "reading": from_run.reading,
        "floors": from_code.floors,
        "settings": from_code.settings,
        "not shown": from_run_limits.not_shown,
    },
    "CHANGELOG.md": {"commands": from_code.command_names},
    "CONTRIBUTING.md": {"floors": from_code.floors_in_words},
    "docs/concepts/detection.md": {
        "alarms": from_run_pages.alarms,
        "alarm limits": from_run_pages.alarm_limits,
    },
    "docs/concepts/probes-and-robustness.md": {
        "probes": from_run_pages.probes,
        "identity": from_run_pages.identity,
        "faults": from_run_pages.faults,
    },
    "docs/concepts/same-numbers.md": {
        "origin": from_processors.origin,
        "switches": from_processors.switches,
        "scores": from_processors.scores,
        "unmoved": from_processors.unmoved,
    },
    "docs/concepts/splits.md": {
        "untested": from_run_pages.untested,
        "shared": from_run_pages.shared,
    },
    "docs/how-to/agent.md": {"cost": from_benchmarks.capture_cost},
    "docs/how-to/live.md": {"cost": from_benchmarks.live_cost},
    "docs/how-to/record.md": {
        "recorded rates": from_recording.recorded_rates,
        "recorded labels": from_recording.recorded_labels,
    },
    "docs/how-to/watch.md": {"cost": from_benchmarks.watch_cost},
    "docs/how-to/study.md": {"study": from_run_pages.study},
    "docs/concepts/channels.md": {"sources": from_code.sources, "channels": from_code.channels},
    "data/lab/README.md": {
        "machines": from_lab.machines,
        "phases": from_lab.phases,
        "samples": from_lab.samples,
        "lookalikes": from_lab.lookalikes,
        "blocks": from_lab.blocks,
    },
    "data/README.md": {
        "hosts": from_sample.hosts,
        "profiles": from_sample.profiles,
        "samples": from_sample.samples,
        "phases": from_sample.phases,
        "faults": from_sample.faults,
    },
}

MEASURED = {
    "models": models_page,
    "evaluation": evaluation_page,
    "data_path": scale_page,
    "dashboard": dashboard_page,
}
"""Pages that are made whole, by the result of the benchmark that they are made from."""


def with_blocks(text: str, blocks: dict[str, Any]) -> str:
    """Return a document with each of its made blocks made again."""
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
    measured = {
        page.PAGE.relative_to(ROOT).as_posix(): page.page(result(name))
        for name, page in MEASURED.items()
    }
    schemas = {f"docs/schema/{name}": text for name, text in schema_files().items()}
    return {"docs/reference.md": reference(), **made, **measured, **schemas}
