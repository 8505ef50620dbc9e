"""Tables and words of Markdown."""

import ast
import inspect
import re
import textwrap
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

WIDTH = 100
_SPACE = "\x00"


def table(head: Sequence[str], rows: Iterable[Sequence[Any]], right: Sequence[int] = ()) -> str:
    """Return a Markdown table; columns in ``right`` are aligned to the right."""
    rules = ["---:" if i in right else "---" for i in range(len(head))]
    cells = [list(head), rules, *([str(cell) for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(row) + " |" for row in cells)


def code(text: object) -> str:
    """Return text as inline code."""
    return f"`{text}`"


def prose(text: str) -> str:
    """Return a paragraph in lines of at most ``WIDTH``; code and links stay on one line."""
    return _filled(text, "")


def bullet(text: str) -> str:
    """Return an item of a list in lines of at most ``WIDTH``; code and links stay on one line."""
    return _filled(f"- {text}", "  ")


def _filled(text: str, indent: str) -> str:
    kept = re.sub(r"`[^`]*`|\[[^\]]*\]\([^)]*\)", lambda m: m[0].replace(" ", _SPACE), text)
    lines = textwrap.fill(
        " ".join(kept.split(" ")),
        WIDTH,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return lines.replace(_SPACE, " ")


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
