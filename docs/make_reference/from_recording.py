"""The recorder's numbers, of ``make bench-recording``: rates and lateness, labels and behaviour."""

from typing import Any

from docs.make_reference.markdown import prose, table
from docs.make_reference.results import result


def recorded_rates() -> str:
    """Give rates, lateness and losses of the recorder by shape of machine."""
    found = result("recording")
    rows = [
        (
            f"`{host['host']}`",
            f"{host['accepted']} of {host['episodes']}",
            *(f"{host[f'{source}_hz']:.2f}" for source in ("guest", "netflow", "proc", "qmp")),
            *(
                f"{host[f'{source}_late_p50_ms']:.0f}, {host[f'{source}_late_p99_ms']:.0f}"
                for source in ("guest", "proc", "qmp")
            ),
            f"{host['rows_dropped']}, {host['packets_dropped']}",
            f"{100 * host['wait_share']:.0f} %",
        )
        for host in found["hosts"]
    ]
    head = ("shape", "accepted", "guest /s", "netflow /s", "proc /s", "qmp /s")
    late = ("guest late, ms", "proc late, ms", "qmp late, ms")
    rate, machine = found["throughput"], found["machine"]
    text = (
        "Lateness is p50, p99; *waiting* is QEMU's share of its runnable time. "
        f"{rate['lanes'][0]} lanes on {machine['cores']} cores gave "
        f"{rate['episodes_per_hour']:.0f} episodes of {rate['mean_length_s']:.0f} s an hour, "
        f"at a load of {rate['load_at_start'][0][0]:g} at the start: "
        "the neighbours' share is in these numbers."
    )
    return f"{table((*head, *late, 'rows, packets lost', 'waiting'), rows)}\n\n{prose(text)}"


def recorded_labels() -> str:
    """Give the distance of labels from the change points, beside the control."""
    found = result("recording")
    rows = [_label_row(row) for row in found["labels"]]
    head = ("mimic", "edge", "n in episodes", "median, s", "p95, s")
    control = [
        f"`{profile}` {100 * one['share_within_0.3_s']:.0f} % of {one['n'] - one['nothing_varies']}"
        for profile, one in found["control"].items()
        if one and "share_within_0.3_s" in one
    ]
    text = (
        "At 1,000 random times away from labels, where anything varies in the window at all, the "
        f"change point lies within .3 s of the time in {', '.join(control)} (uniform: 7.5 %)."
    )
    return f"{table(head, rows)}\n\n{prose(text)}"


def _label_row(row: dict[str, Any]) -> tuple[str, ...]:
    beside = f", beside `{row['beside']}`" if "beside" in row else ""
    values = (
        f"{row[f'{what}_s']:.2f}"
        + (" [{:.2f}, {:.2f}]".format(*row[f"{what}_ci_s"]) if f"{what}_ci_s" in row else "")
        for what in ("median", "p95")
    )
    return (f"`{row['profile']}`{beside}", row["edge"], f"{row['n']} in {row['episodes']}", *values)
