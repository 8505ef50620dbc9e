"""The package and its documents are written in plain technical English."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BANNED = re.compile(
    r"\b(?:told|said|heard|astray|whoever|somebody|anew|dealt)\b|\bof equals\b|\ba look at\b",
    re.IGNORECASE,
)
CODE = [
    path
    for folder in ("cis490_pipeline", "docs", "benchmarks")
    for path in sorted((ROOT / folder).rglob("*"))
    if path.suffix in (".py", ".html", ".js", ".css") and "vendor" not in path.parts
]
DOCS = sorted(
    path
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "news").glob("*.md")]
)

LITERAL: dict[str, str] = {}
"""Words that data of others hold, by file: each with the reason why it cannot be another."""


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def lines_with_banned_words(text: str) -> Iterator[str]:
    for number, line in enumerate(text.splitlines(), start=1):
        # Names in code are split at underscores: `was_told` is a word too.
        if BANNED.search(line.replace("_", " ")):
            yield f"{number}: {line.strip()}"


def without_code(text: str) -> str:
    """Return a document without fenced blocks and inline code, which quote what programs print."""
    text = re.sub(
        r"^```.*?^```$", lambda m: "\n" * m[0].count("\n"), text, flags=re.MULTILINE | re.DOTALL
    )
    return re.sub(r"`[^`\n]*`", "", text)


@pytest.mark.parametrize("path", CODE, ids=name_of)
def test_code_uses_no_quaint_word(path: Path) -> None:
    found = list(lines_with_banned_words(path.read_text(encoding="utf-8")))
    allowed = LITERAL.get(name_of(path))

    assert [line for line in found if allowed is None or allowed not in line] == []


@pytest.mark.parametrize("path", DOCS, ids=name_of)
def test_documents_use_no_quaint_word(path: Path) -> None:
    found = list(lines_with_banned_words(without_code(path.read_text(encoding="utf-8"))))

    assert found == []


@pytest.mark.parametrize(
    "line", ["as he Told me", "is_heard = 1", "first of equals", "take a look at"]
)
def test_a_quaint_word_is_found_in_sentences_and_names(line: str) -> None:
    assert list(lines_with_banned_words(line)) == [f"1: {line}"]


@pytest.mark.parametrize("line", ["a dashboard unfolds", "essential", "renewed", "look at it"])
def test_other_words_are_left_alone(line: str) -> None:
    assert list(lines_with_banned_words(line)) == []
