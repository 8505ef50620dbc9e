"""What a page of its own does not hold of a benchmark: the cost of live, watch and capture."""

from docs.make_reference.markdown import table
from docs.make_reference.results import result


def live_cost() -> str:
    """Give what ``make bench-live`` measured, with what was wanted."""
    found = result("live")
    rows = []
    for line in found["lines"]:
        what, _, _ = line["name"].rpartition(", ")
        unit = line["unit"]
        rows.append((what, f"{line['measured']:.1f} {unit}", f"{line['wanted']} {unit}"))
    start = found["at_real_speed"]["start_cpu_s"]
    rows.append(("CPU for the start and the calibration", f"{start:.1f} s", ""))
    return table(("what", "measured", "wanted"), rows, right=(1, 2))


def watch_cost() -> str:
    """Give what watching one's own machine costs, as ``make bench-live`` found."""
    return _lines("watch")


def capture_cost() -> str:
    """Give what ``make bench-collect`` measured of both readers of packets."""
    return _lines("collect")


def _lines(of: str) -> str:
    rows = [
        (
            line["name"].removesuffix(f", {line['unit']}"),
            f"{line['measured']:,.{2 if line['unit'] else 0}f} {line['unit']}".replace(
                "-", "−"
            ).rstrip(),
            f"{line['wanted']} {line['unit']}".rstrip(),
        )
        for line in result(of)["lines"]
    ]
    return table(("what", "measured", "wanted"), rows, right=(1, 2))
