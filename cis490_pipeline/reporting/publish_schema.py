"""Published JSON Schemas of reports, leaderboards and what controls show."""

from typing import Any, Final, Literal, get_args

import msgspec

from cis490_pipeline.evaluation.schema.board import Leaderboard
from cis490_pipeline.evaluation.schema.controls import ControlsReport
from cis490_pipeline.evaluation.schema.report import EvalReport

Format = Literal["eval_report", "leaderboard", "controls"]

_FORMS: Final[dict[Format, Any]] = {
    "eval_report": EvalReport,
    "leaderboard": Leaderboard,
    "controls": ControlsReport,
}
DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"


def schema_text(name: Format) -> str:
    """Return the JSON Schema (draft 2020-12) of a format, as sorted and indented JSON.

    Keys that it does not name are allowed: a later version may have more.
    """
    schema = {
        "$schema": DRAFT,
        "$id": f"urn:cis490_pipeline:{name}",
        **msgspec.json.schema(_FORMS[name]),
    }
    encoded = msgspec.json.encode(schema, order="sorted")
    return msgspec.json.format(encoded, indent=1).decode() + "\n"


def schema_files() -> dict[str, str]:
    """Return the text of every format's schema, by the name of its file."""
    return {f"{name}.schema.json": schema_text(name) for name in get_args(Format)}
