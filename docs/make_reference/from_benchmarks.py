"""What a page of its own does not hold of a benchmark: the cost of watching a device."""

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
