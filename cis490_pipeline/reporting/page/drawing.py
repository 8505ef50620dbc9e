"""Places of marks in the page's drawings: bars in per cent, curves in a box of fixed size."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, TypedDict

from cis490_pipeline.evaluation.schema.parts import DifferenceEnds, ScoreEnds

Point = tuple[float, float]

WIDTH: Final = 340
HEIGHT: Final = 210
_LEFT, _RIGHT, _TOP, _BOTTOM = 38, 8, 8, 34


def bar_end(value: float | None) -> str | None:
    """End of a bar, per cent of an axis from 0 to 1."""
    return None if value is None else f"{100 * min(1.0, max(0.0, value)):.2f}"


class Bar(TypedDict):
    """Ends of a score's bar and of its whisker, per cent of an axis from 0 to 1."""

    end: str | None
    low: str | None
    high: str | None


class Dot(TypedDict):
    """Places of a difference and of its interval's ends, per cent; zero lies in the middle."""

    at: str | None
    low: str | None
    high: str | None


def bar_of(row: ScoreEnds) -> Bar:
    """Place the ends of a score's bar and of its whisker."""
    return {
        "end": bar_end(row["macro_f1"]),
        "low": bar_end(row["ci_low"]),
        "high": bar_end(row["ci_high"]),
    }


def reach_of(differences: Iterable[DifferenceEnds], least: float = 0.1) -> float:
    """Half the length of an axis that holds all these differences' intervals."""
    ends = [
        abs(value)
        for entry in differences
        for value in (entry["difference"], entry["ci_low"], entry["ci_high"])
        if value is not None
    ]
    return max([least, *ends])


def dot_of(entry: DifferenceEnds, reach: float) -> Dot:
    """Place a difference and its interval's ends."""

    def place(value: float | None) -> str | None:
        return None if value is None else f"{50 + 48 * value / reach:.2f}"

    return {
        "at": place(entry["difference"]),
        "low": place(entry["ci_low"]),
        "high": place(entry["ci_high"]),
    }


class Tick(TypedDict):
    """A grid line of an axis."""

    at: float
    label: str


class Box(TypedDict):
    """Edges of the drawn area."""

    x0: int
    x1: int
    y0: int
    y1: int


class DrawnCurve(TypedDict):
    """A curve as a path, with the places of its dots."""

    name: str
    style: str
    path: str
    dots: list[Point]


class Chart(TypedDict):
    """All that a template needs to draw curves."""

    width: int
    height: int
    title: str
    text: str
    x_name: str
    y_name: str
    x: list[Tick]
    y: list[Tick]
    box: list[Box]
    diagonal: str | None
    curves: list[DrawnCurve]


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Points of a curve, and how they are drawn."""

    name: str
    points: Sequence[Point]
    style: str
    """``a`` solid, ``b`` dashed."""
    steps: bool = False
    dots: bool = False


@dataclass(frozen=True, kw_only=True)
class Frame:
    """The box of a curve, with its two axes."""

    x: tuple[float, float]
    """Values at the left and the right edge."""
    y: tuple[float, float] = (0.0, 1.0)
    """Values at the lower and the upper edge."""

    def place(self, point: Point) -> Point:
        """Return where a point lies, cut off at the edges."""
        (x0, x1), (y0, y1) = self.x, self.y
        across = min(1.0, max(0.0, (point[0] - x0) / (x1 - x0)))
        up = min(1.0, max(0.0, (point[1] - y0) / (y1 - y0)))
        return (
            round(_LEFT + across * (WIDTH - _LEFT - _RIGHT), 1),
            round(HEIGHT - _BOTTOM - up * (HEIGHT - _TOP - _BOTTOM), 1),
        )

    def path(self, points: Sequence[Point], *, steps: bool = False) -> str:
        """Return the path through points; with ``steps`` each holds until the next."""
        placed = [self.place(point) for point in points]
        if not placed:
            return ""
        words = [f"M{placed[0][0]:g} {placed[0][1]:g}"]
        for x, y in placed[1:]:
            words.append(f"H{x:g}V{y:g}" if steps else f"L{x:g} {y:g}")
        return "".join(words)

    def ticks(self, axis: int, n: int = 5) -> list[Tick]:
        """Return the grid lines across one axis (0: x, 1: y) with their labels."""
        return [self._tick((self.x, self.y)[axis], k / (n - 1), axis) for k in range(n)]

    def _tick(self, ends: tuple[float, float], share: float, axis: int) -> Tick:
        value = ends[0] + share * (ends[1] - ends[0])
        point = (value, self.y[0]) if axis == 0 else (self.x[0], value)
        return {"at": self.place(point)[axis], "label": f"{value:.2f}".rstrip("0").rstrip(".")}


def chart(
    frame: Frame,
    curves: Sequence[Curve],
    *,
    title: str,
    text: str,
    x: str,
    y: str,
    diagonal: bool = False,
) -> Chart:
    """Place curves in a frame.

    Parameters
    ----------
    curves : in the order of the legend.
    title, text : what it shows, and what one reads from it, for those who do not see it.
    x, y : names of the axes.
    diagonal : whether the line y = x is drawn.
    """
    return {
        "width": WIDTH,
        "height": HEIGHT,
        "title": title,
        "text": text,
        "x_name": x,
        "y_name": y,
        "x": frame.ticks(0),
        "y": frame.ticks(1),
        "box": [{"x0": _LEFT, "x1": WIDTH - _RIGHT, "y0": _TOP, "y1": HEIGHT - _BOTTOM}],
        "diagonal": frame.path([(frame.x[0], frame.y[0]), (frame.x[1], frame.y[1])])
        if diagonal
        else None,
        "curves": [
            {
                "name": curve.name,
                "style": curve.style,
                "path": frame.path(curve.points, steps=curve.steps),
                "dots": [frame.place(point) for point in curve.points] if curve.dots else [],
            }
            for curve in curves
        ],
    }
