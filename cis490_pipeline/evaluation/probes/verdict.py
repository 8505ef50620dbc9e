"""The chosen model against the probes: does it beat the best shortcut, and each other one."""

from collections.abc import Sequence
from typing import Final

from cis490_pipeline.evaluation.probes.learn import CONTROLS
from cis490_pipeline.evaluation.schema.board import Versus
from cis490_pipeline.evaluation.schema.parts import Pair
from cis490_pipeline.evaluation.schema.report import EvalReport

LEVEL: Final = 0.05


def best_probe(probe_reports: Sequence[EvalReport]) -> str | None:
    """Name of the best shortcut on validation, where the model is chosen too; None without one.

    Probes that see real signal, the controls, are no shortcut and are not among them.
    """
    scored = [
        (-score, report["model"])
        for report in probe_reports
        if report["model"] not in CONTROLS and (score := report["val"]["macro_f1"]) is not None
    ]
    return min(scored)[1] if scored else None


def against_probes(
    chosen: str | None, comparisons: Sequence[Pair], probe_reports: Sequence[EvalReport]
) -> Versus:
    """Sum up the comparisons of the chosen model (``a``) with every probe (``b``).

    ``beats`` says whether the model is better than the shortcut best on validation, by an interval
    above zero and a p-value by Holm of at most .05; ``not_beaten`` lists all shortcuts for which
    that does not hold, and ``why`` says why there is no verdict.
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
    return {
        "model": chosen,
        "comparisons": list(comparisons),
        "best_probe": best,
        "difference": pair["difference"] if pair is not None else None,
        "ci_low": pair["ci_low"] if pair is not None else None,
        "ci_high": pair["ci_high"] if pair is not None else None,
        "p_value": pair["p_value"] if pair is not None else None,
        "p_holm": pair["p_holm"] if pair is not None else None,
        "n_episodes": pair["n_episodes"] if pair is not None else None,
        "beats": None if why is not None or pair is None else beats(pair),
        "not_beaten": sorted(n for n, p in named.items() if n not in CONTROLS and not beats(p)),
        "controls": sorted(name for name in named if name in CONTROLS),
        "why": why,
    }


def beats(pair: Pair) -> bool:
    """Whether the first of a pair is better: interval above zero and p by Holm at most .05."""
    if pair["ci_low"] is None or pair["p_holm"] is None:
        return False
    return pair["ci_low"] > 0 and pair["p_holm"] <= LEVEL
