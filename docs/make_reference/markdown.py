"""Tables and words of Markdown."""

import ast
import inspect
import textwrap
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any


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
