"""Names that come from outside (hosts, samples, profiles), made harmless where they land."""

import re
from typing import Any

_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+\-.!|~$:])")
_HTML = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def markdown_escape(name: Any) -> str:
    r"""Return text that Markdown shows as it is: no markup, no HTML, no new line, no table cell.

    Parameters
    ----------
    name : anything; its ``str`` is escaped.

    Examples
    --------
    >>> markdown_escape("a|b <img>")
    'a\\|b &lt;img&gt;'
    """
    visible = "".join(char if char.isprintable() else " " for char in str(name))
    escaped = _MARKDOWN.sub(r"\\\1", visible)
    return "".join(_HTML.get(char, char) for char in escaped)
