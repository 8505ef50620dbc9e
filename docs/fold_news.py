"""Fold the fragments of ``news/`` into ``CHANGELOG.md`` for a release: version and date given."""

import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NEWS = ROOT / "news"
UNRELEASED = "## Unreleased\n"


def fragments() -> list[Path]:
    """Return the files of unreleased changes, by name."""
    return sorted(path for path in NEWS.glob("*.md") if path.name != "README.md")


def folded(changelog: str, news: Iterable[str], version: str, date: str) -> str:
    """Return the changelog with a release of what was unreleased and the fragments after it.

    Parameters
    ----------
    changelog : text with a heading ``## Unreleased``.
    news : bullets, one text for each fragment.
    version, date : of the release; the heading's.
    """
    before, found, rest = changelog.partition(UNRELEASED)
    if not found:
        raise SystemExit(
            f"CHANGELOG.md has no line {UNRELEASED.strip()!r}; add it above the releases"
        )
    waiting, heading, older = rest.partition("\n## ")
    bullets = "\n".join(text.strip() for text in (waiting, *news) if text.strip())
    return f"{before}{UNRELEASED}\n## {version}, {date}\n\n{bullets}\n{heading}{older}"


def main(arguments: list[str]) -> None:
    """Rewrite the changelog and remove the fragments."""
    if len(arguments) != 2:
        raise SystemExit("usage: python -m docs.fold_news VERSION DATE")
    changelog, found = ROOT / "CHANGELOG.md", fragments()
    text = changelog.read_text(encoding="utf-8")
    news = [path.read_text(encoding="utf-8") for path in found]
    changelog.write_text(folded(text, news, *arguments), encoding="utf-8")
    for path in found:
        path.unlink()


if __name__ == "__main__":
    main(sys.argv[1:])
