"""Published JSON Schemas of reports and leaderboards."""

from typing import Any, Final, Literal, get_args

import msgspec

from cis490_pipeline.evaluation.schema.board import Leaderboard
from cis490_pipeline.evaluation.schema.report import EvalReport

Format = Literal["eval_report", "leaderboard"]

_FORMS: Final[dict[Format, Any]] = {"eval_report": EvalReport, "leaderboard": Leaderboard}
DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"


def json_schema(name: Format) -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a format.

    Keys that it does not name are allowed: a later version may say more.
    """
    return {
        "$schema": DRAFT,
        "$id": f"urn:cis490_pipeline:{name}",
        **msgspec.json.schema(_FORMS[name]),
    }


def schema_files() -> dict[str, str]:
    """Return the text of every format's schema, by the name of its file."""
    return {f"{name}.schema.json": _text(json_schema(name)) for name in get_args(Format)}


def _text(schema: dict[str, Any]) -> str:
    encoded = msgspec.json.encode(schema, order="sorted")
    return msgspec.json.format(encoded, indent=1).decode() + "\n"
