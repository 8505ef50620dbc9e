"""Whether the model that is spoken of beats the best shortcut, and each of them."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from cis490_pipeline.evaluation.probes.learn import CONTROLS

LEVEL: Final = 0.05

Report = Mapping[str, Any]


def best_probe(probe_reports: Sequence[Report]) -> str | None:
    """Name of the best shortcut on validation, where the model is chosen too; None without one.

    Probes that see real signal, the controls, are no shortcut and are not among them.
    """
    scored = [
        report
        for report in probe_reports
        if report["model"] not in CONTROLS and report["val"]["macro_f1"] is not None
    ]
    if not scored:
        return None
    return str(min(scored, key=lambda r: (-r["val"]["macro_f1"], r["model"]))["model"])


def against_probes(
    chosen: str | None, comparisons: Sequence[Mapping[str, Any]], probe_reports: Sequence[Report]
) -> dict[str, Any]:
    """Say what the comparisons of the chosen model with every probe come to.

    Parameters
    ----------
    chosen : the model, best on validation; None if none has a score there.
    comparisons : of it (``a``) with each probe (``b``): difference, interval, p, p by Holm.
    probe_reports : what ``evaluate`` gave of the probes.

    Returns
    -------
    ``model`` and ``comparisons``; ``best_probe``, the shortcut best on validation; ``difference``,
    its interval and p-values; ``beats``, whether the model is better than it by an interval above
    zero and a p-value by Holm of at most .05; ``not_beaten``, all shortcuts of which that cannot be
    said; ``controls``; and ``why`` where nothing can be said.
    """
    best = best_probe(probe_reports)
    named = {pair["b"]: pair for pair in comparisons}
    pair = named.get(best or "")
    why = None
    if chosen is None:
        why = "no model has a score on validation"
    elif best is None or pair is None:
        why = "no probe has a score on validation"
    elif pair["difference"] is None or pair["p_holm"] is None:
        why = f"{pair['n_episodes']} test episodes allow no comparison"
    fields = ("difference", "ci_low", "ci_high", "p_value", "p_holm", "n_episodes")
    return {
        "model": chosen,
        "comparisons": list(comparisons),
        "best_probe": best,
        **{name: pair[name] if pair is not None else None for name in fields},
        "beats": None if why is not None or pair is None else beats(pair),
        "not_beaten": sorted(n for n, p in named.items() if n not in CONTROLS and not beats(p)),
        "controls": sorted(name for name in named if name in CONTROLS),
        "why": why,
    }


def beats(pair: Mapping[str, Any]) -> bool:
    """Whether the first of a pair is better: interval above zero and p by Holm at most .05."""
    if pair["ci_low"] is None or pair["p_holm"] is None:
        return False
    return bool(pair["ci_low"] > 0 and pair["p_holm"] <= LEVEL)
