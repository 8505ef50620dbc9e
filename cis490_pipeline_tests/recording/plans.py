"""Plans for tests of recording."""

from pathlib import Path
from typing import Any

import msgspec

from cis490_pipeline.recording.plan import RecordingPlan

SAMPLES: dict[str, list[dict[str, Any]]] = {
    "cpu-saturate": [{"processes": 1}, {"processes": 2, "share": 0.5}],
    "low-and-slow": [{"every_s": 2.0}, {"every_s": 8.0}],
    "io-walk": [{"files_per_s": 5.0}],
    "scan-and-dial": [{"per_s": 20.0}],
    "exfil-burst": [{"burst_kib": 256}],
    "flood": [{"per_s": 500}],
}


def plan_fields(**changed: Any) -> dict[str, Any]:
    """A plan of two hosts and six samples as TOML gives it."""
    return {
        "format": 1,
        "episodes": 40,
        "seed": 5,
        "lookalikes": ["video", "compile"],
        "host": [{"name": "a"}, {"name": "b", "machine": "pc", "disk": "ide"}],
        "profile": [
            {
                "profile": profile,
                "name": f"{profile}-sample",
                "family": "made up",
                "category": "test",
                "parameters": parameters,
            }
            for profile, parameters in SAMPLES.items()
        ],
        **changed,
    }


def made_plan(**changed: Any) -> RecordingPlan:
    return msgspec.convert(plan_fields(**changed), RecordingPlan)


def write_plan(path: Path, fields: dict[str, Any]) -> Path:
    path.write_text(_toml(fields))
    return path


def _toml(fields: dict[str, Any]) -> str:
    plain = {k: v for k, v in fields.items() if not _is_tables(v)}
    lines = [f"{key} = {_value(value)}" for key, value in plain.items()]
    for key, tables in fields.items():
        if _is_tables(tables):
            for table in tables:
                lines.append(f"[[{key}]]")
                lines += [f"{name} = {_value(value)}" for name, value in table.items()]
    return "\n".join(lines) + "\n"


def _is_tables(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k} = {_value(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else repr(value)
