"""Outcome of one fault, and the table of all."""

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_WIDTHS: Final = (15, 22, 44, 74)
HEAD: Final = ("fault", "moment", "wanted", "happened")


@dataclass(frozen=True)
class Outcome:
    """What one fault did.

    Attributes
    ----------
    fault, moment : what was done, and when.
    wanted, happened : in words.
    ok : whether they agree.
    """

    fault: str
    moment: str
    wanted: str
    happened: str
    ok: bool


@dataclass(frozen=True)
class Place:
    """Where faults are made.

    Attributes
    ----------
    folder : empty folder for whatever they need.
    bundle : models of a receiver.
    image : kernel and ramdisk of a guest; None where no machine is booted.
    """

    folder: Path
    bundle: Path
    image: Path | None = None

    def within(self, name: str) -> "Place":
        """Return a place in a new folder of this one."""
        folder = self.folder / name
        folder.mkdir(parents=True)
        return Place(folder, self.bundle, self.image)


def checked(
    fault: str, moment: str, wanted: str, facts: dict[str, object], holds: Sequence[bool]
) -> Outcome:
    """Outcome with its facts in words; right if every one of ``holds`` is."""
    happened = ", ".join(f"{name} {value}" for name, value in facts.items())
    return Outcome(fault, moment, wanted, happened, all(holds))


def head() -> str:
    return next(_rows((*HEAD, "ok")))


def lines_of(outcome: Outcome) -> str:
    """Return one outcome as rows of the table, wrapped within each column."""
    cells = (outcome.fault, outcome.moment, outcome.wanted, outcome.happened)
    return "\n".join(_rows((*cells, "yes" if outcome.ok else "NO")))


def _rows(cells: tuple[str, ...]) -> Iterator[str]:
    wrapped = [
        textwrap.wrap(text, width) or [""] for text, width in zip(cells[:-1], _WIDTHS, strict=True)
    ]
    for number in range(max(map(len, wrapped))):
        row = (
            f"{column[number] if number < len(column) else '':{width}}"
            for column, width in zip(wrapped, _WIDTHS, strict=True)
        )
        yield ("  ".join(row) + (f"  {cells[-1]}" if number == 0 else "")).rstrip()
