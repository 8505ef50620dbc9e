"""Reading stored reports: JSON of the wanted form, or one error that says where it differs."""

import re
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import msgspec

from cis490_pipeline.errors import EvaluationError
from cis490_pipeline.evaluation.schema.report import EvalReport
from cis490_pipeline.storage.files import read_json

T = TypeVar("T")

REMEDY: Final = "Make it again: cis490 report"

_STEP: Final = re.compile(r"\.(\w+)|\[(\d+)\]")


def read_report(path: Path) -> EvalReport:
    """Read one model's report.

    StoreError if the file is missing or is not JSON, EvaluationError if it is not of its form.
    """
    return read_form(path, EvalReport)


def read_form(path: Path, form: type[T], *, remedy: str = REMEDY) -> T:
    """Read a JSON file of a form; raises as ``read_report``."""
    return checked_form(read_json(path), form, str(path), remedy=remedy)


def checked_form(value: object, form: type[T], where: str, *, remedy: str = REMEDY) -> T:
    """Return JSON values as they were given, keys a form does not name included, if they are of it.

    Parameters
    ----------
    form : a ``TypedDict``.
    where : the file it was read from.
    remedy : what to do about a file that does not fit, a sentence.

    Raises
    ------
    EvaluationError
        Naming the file, the first place that differs, what is there and what is wanted.
    """
    try:
        msgspec.convert(value, form)
    except msgspec.ValidationError as fault:
        wanted, _, place = str(fault).partition(" - at ")
        name = getattr(form, "__name__", str(form))
        raise EvaluationError(
            f"{where}: no {name} of this version: {place or '`$`'} is {_found(value, place)}. "
            f"{wanted}. {remedy}"
        ) from fault
    return cast("T", value)


def _found(value: Any, place: str) -> str:
    """Describe what lies at a place such as `` `$.rows[0].macro_f1` ``."""
    for name, index in _STEP.findall(place.partition("[...]")[0]):
        value = value[name] if name else value[int(index)]
    if isinstance(value, dict):
        return f"an object of {', '.join(map(str, sorted(value))) or 'nothing'}"
    return f"a list of {len(value)}" if isinstance(value, list) else repr(value)
