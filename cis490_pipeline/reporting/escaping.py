"""Escaping of names from outside (hosts, samples, profiles) for each format they are written to."""

import re
import unicodedata
from typing import Any

_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+\-.!|~$:])")
_HTML = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def markdown_escape(name: Any) -> str:
    r"""Text that Markdown shows as it is: no markup, no HTML, no new line, no table cell.

    Examples
    --------
    >>> markdown_escape("a|b <img>")
    'a\\|b &lt;img&gt;'
    """
    visible = "".join(char if char.isprintable() else " " for char in str(name))
    escaped = _MARKDOWN.sub(r"\\\1", visible)
    return "".join(_HTML.get(char, char) for char in escaped)


_HIDDEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff]"
)
_RIGHT_TO_LEFT = frozenset({"R", "AL"})


def visible_text(text: str) -> str:
    r"""Return text with invisible characters written out and its direction isolated.

    As on the dashboard: nothing hides, and right-to-left text does not reorder its neighbours.

    Examples
    --------
    >>> visible_text("\u202egnp.exe")
    '\\u202egnp.exe'
    """
    shown = _HIDDEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
    if any(unicodedata.bidirectional(char) in _RIGHT_TO_LEFT for char in shown):
        return f"\u2068{shown}\u2069"
    return shown


_FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠", "\t", "\r", "\n")
_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "%": r"\%",
    "#": r"\#",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    '"': "''",
}


def spreadsheet_escape(text: str) -> str:
    """Return text that no spreadsheet evaluates: formulas get an apostrophe before them.

    Numbers must not be passed: a negative one would become text.

    Examples
    --------
    >>> spreadsheet_escape("=HYPERLINK(1)"), spreadsheet_escape("lab-nuc")
    ("'=HYPERLINK(1)", 'lab-nuc')
    """
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULA) else text


def latex_escape(name: Any) -> str:
    r"""Text that LaTeX prints as it is, on one line.

    Examples
    --------
    >>> latex_escape("50 % of $x_1$")
    '50 \\% of \\$x\\_1\\$'
    """
    visible = "".join(char if char.isprintable() else " " for char in str(name))
    return "".join(_LATEX.get(char, char) for char in visible)
