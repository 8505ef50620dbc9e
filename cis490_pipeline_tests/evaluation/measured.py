"""Made-up parts of reports: reliability, segments, subsets, the alarm, robustness, a study."""

import numpy as np

from cis490_pipeline_tests.evaluation.measured_controls import controls

PHASES = ("clean", "armed", "infecting", "infected_running", "dormant")
PROFILES = ("flood", "io-walk")


def reliability(rng):
    confidence = np.linspace(0.3, 0.98, 15)
    right = np.clip(confidence - 0.15 + rng.normal(0, 0.04, 15), 0, 1)

    def bins(at):
        return [
            {"confidence": float(c), "accuracy": float(a), "n": 23}
            for c, a in zip(at, right, strict=True)
        ]

    coverage = np.linspace(0.02, 1, 50)
    return {
        "temperature": 1.62,
        "fitted_on": "val",
        "n_bins": 15,
        "before": {"brier": 0.57, "log_loss": 1.13, "ece": 0.192},
        "after": {"brier": 0.54, "log_loss": 0.99, "ece": 0.061},
        "bins_before": bins(confidence),
        "bins_after": bins(np.clip(confidence - 0.13, 0.2, 1)),
        "aurc": 0.231,
        "risk_coverage": [
            {"coverage": float(c), "risk": float(0.1 + 0.3 * c**2)} for c in coverage
        ],
    }


def segments():
    error = {"median": 5.0, "p90": 17.5, "n": 88}
    return {"f1_50": 0.61, "boundary_error_s": error, "n_true": 140, "n_predicted": 173}


def subsets(report):
    kept = ("macro_f1", "ci_low", "ci_high", "ci_method", "n_episodes", "n_windows")
    head = {name: report[name] for name in kept}
    return [
        {"subset": "scored", "what": "what the headline counts", **head},
        {
            "subset": "with_baseline_windows",
            "what": "and the windows of the first 15 s",
            **head,
            "macro_f1": 0.6,
        },
        {
            "subset": "pure",
            "what": "only windows of one phase",
            **head,
            "macro_f1": None,
            "ci_low": None,
            "ci_high": None,
        },
    ]


def times(share, n, curve=True):
    n_detected = round(share * n)
    steps = [(5.0 * (k + 1), share * (1 - 0.5 ** (k + 1))) for k in range(24)]
    found = {
        "median_s": 12.5,
        "p90_s": None,
        "n_infected": n,
        "n_detected": n_detected,
        "n_missed": n - n_detected - 1,
        "n_already_alarming": 1,
        "share_detected": share,
        "share_low": max(0.0, share - 0.14),
        "share_high": min(1.0, share + 0.1),
    }
    if curve:
        found["curve"] = [{"t_s": 0.0, "share": 0.0}]
        found["curve"] += [{"t_s": t, "share": s} for t, s in steps]
    return found


def detection(rng, profiles=PROFILES):
    short = "0.06 clean device-days cannot support a rate of 0.1 a day (at least 30 are needed)"
    return {
        "alarm": {
            "threshold": 0.62,
            "release": 0.48,
            "hold_windows": 2,
            "fitted_on": "val",
            "prior_per_day": 1.0,
        },
        "time_to_detection": times(0.86 + float(rng.normal(0, 0.03)), 28),
        "by_profile": [{"profile": name, **times(0.8, 5)} for name in profiles],
        "false_alarms": {
            "n": 2,
            "device_days": 0.0631,
            "per_day": 31.7,
            "low": 3.84,
            "high": 114.5,
            "why": None,
        },
        "at_rates": [
            {
                "per_day": budget,
                "threshold": None,
                "share_detected": None,
                "median_s": None,
                "why": short.replace("0.1", f"{budget:g}"),
            }
            for budget in (0.1, 1, 10)
        ],
        "ppv": [
            {"prior": 0.001, "ppv": 0.009, "low": 0.002, "high": 0.05, "why": None},
            {"prior": 0.01, "ppv": 0.083, "low": 0.02, "high": 0.34, "why": None},
            {"prior": 0.1, "ppv": None, "low": None, "high": None, "why": "no clean episode"},
        ],
        "episodes": {
            "infected": {"n": 28, "alarmed": 25, "share": 0.893, "low": 0.728, "high": 0.963},
            "clean": {"n": 3, "alarmed": 1, "share": 0.333, "low": 0.061, "high": 0.792},
        },
        "by_elapsed": [
            {"from_s": 0, "to_s": 30, "n_alarms": 0, "device_hours": 0.025},
            {"from_s": 30, "to_s": 60, "n_alarms": 2, "device_hours": 0.025},
            {"from_s": 60, "to_s": 120, "n_alarms": 0, "device_hours": 0.0},
        ],
    }


def measured_report(report, seed=0, profiles=PROFILES):
    """A report of ``evaluate`` with every part that can be measured."""
    rng = np.random.default_rng(seed)
    return {
        **report,
        "per_class": [
            {**entry, "pr_auc": 0.5 + 0.08 * k, "prevalence": 0.2}
            for k, entry in enumerate(report["per_class"])
        ],
        "reliability": reliability(rng),
        "segments": segments(),
        "subsets": subsets(report),
        "detection": detection(rng, profiles),
        "n_test_openings": 2,
    }


SCENARIOS = {
    "agent_dead": "the agent in the guest dies at infection",
    "qmp_gap": "QMP is silent for 10 s",
    "rows_lost": "5 % of the rows are lost",
    "clock_skew": "one source is 2 s off",
    "counter_reset": "counters start again from 0",
    "infected_baseline": "the baseline is taken while infected",
}


def robustness(models, seed=0):
    rng = np.random.default_rng(seed)
    rows = []
    for model in models:
        for k, scenario in enumerate(SCENARIOS):
            change = 0.0 if k == 1 and model.endswith("realistic") else -0.03 * k
            change += 0.0 if change == 0 else float(rng.normal(0, 0.01))
            rows.append(
                {
                    "model": model,
                    "scenario": scenario,
                    "macro_f1": 0.57 + change,
                    "difference": change,
                    "ci_low": change - 0.04,
                    "ci_high": change + 0.03,
                    "n_episodes": 31,
                    "n_windows": 350,
                    "why": None,
                }
            )
    rows[-1] |= {"macro_f1": None, "difference": None, "ci_low": None, "ci_high": None}
    rows[-1] |= {"why": "no infected stretch is long enough for a baseline"}
    return {
        "scenarios": [{"name": name, "what": what} for name, what in SCENARIOS.items()],
        "rows": rows,
    }


HOST_IDENTITY = {
    "what": "which host clean windows are of, predicted by trees that never saw the episode",
    "variant": "realistic",
    "learner": "extremely randomized trees, 5-fold cross-validation by episode",
    "seed": 0,
    "n_hosts": 4,
    "n_episodes": 58,
    "n_episodes_in_all": 58,
    "n_windows": 210,
    "largest_host": {"host_id": "garage-pi", "share": 0.41},
    "chance_balanced": 0.25,
    "why": None,
    "rows": [
        {
            "features": name,
            "accuracy": at,
            "accuracy_low": at - 0.05,
            "accuracy_high": at + 0.05,
            "balanced_accuracy": at - 0.02,
            "balanced_low": at - 0.08,
            "balanced_high": at + 0.04,
            "ci_method": "percentile bootstrap by episode",
        }
        for name, at in (("raw", 0.91), ("calibrated", 0.52))
    ],
}


def _alarms(n, of):
    share = {"n": n, "share": n / of, "share_low": 0.3, "share_high": 0.97, "why": None}
    return {"any": share, "new": share, "n_episodes": of}


def _left_out(profile, scope, why=None):
    area = {
        "auroc": 0.62,
        "ci_low": 0.48,
        "ci_high": 0.75,
        "ci_level": 0.95,
        "ci_method": "percentile bootstrap by episode",
        "n_novel_episodes": 5,
        "n_novel_windows": 40,
        "n_known_episodes": 21,
        "n_known_windows": 200,
        "why": None,
    }
    return {
        "profile": profile,
        "scope": scope,
        "hosts": ["garage-pi"],
        "alarm": None if why else _alarms(4, 5),
        "auroc": None if why else {"max_softmax": area, "energy": {**area, "ci_low": None}},
        "quiet": None,
        "alarm_of": None,
        "why": why,
    }


def _cell(trained_on, tested_on):
    why = "no clean baseline" if (trained_on, tested_on) == ("lab-nuc", "garage-pi") else None
    return {
        "trained_on": trained_on,
        "tested_on": tested_on,
        "diagonal": trained_on == tested_on,
        "n_host_episodes": 15,
        "untrained_profiles": [],
        "ci_level": None if why else 0.95,
        "ci_method": None if why else "percentile bootstrap by episode",
        "macro_f1": None if why else 0.61,
        "ci_low": None if why else 0.5,
        "ci_high": None if why else 0.7,
        "n_episodes": 0 if why else 12,
        "n_windows": 0 if why else 130,
        "why": why,
    }


SCORE = {
    "macro_f1": 0.71,
    "ci_low": 0.66,
    "ci_high": 0.76,
    "ci_level": 0.95,
    "ci_method": "percentile bootstrap by episode",
    "n_episodes": 36,
    "n_windows": 404,
}
LEFT_OUT = ("garage-pi", "k-gamingcom", "lab-nuc")


def _left_out_row(model, parts=(), why=None):
    nothing = {"macro_f1": None, "ci_low": None, "ci_high": None, "n_episodes": 0, "n_windows": 0}
    mean = {"mean": 0.7, "sd": 0.01, "ci_low": 0.68, "ci_high": 0.72, "n_seeds": 3}
    phase = {"precision": 0.7, "recall": 0.7, "f1": 0.7, "support": 80, "predicted": 80}
    host = {"tested": True, "accuracy": 0.8, "why": None}
    return {
        **(SCORE | nothing if why else SCORE),
        "model": model,
        "kind": "ensemble" if parts else "model",
        "variant": "realistic",
        "parts": list(parts),
        "seeds": {
            **(dict.fromkeys(mean) | {"n_seeds": 0} if why else mean),
            "seeds": [] if why else [0, 1, 2],
            "macro_f1": [] if why else [0.71, 0.7, 0.69],
            "ci_level": 0.95,
            "ci_method": "t over seeds",
        },
        "over_hosts": None if why else {**SCORE, "ci_low": 0.55, "ci_high": 0.87},
        "per_class": [] if why else [{"phase": name, **phase} for name in PHASES],
        "per_host": [] if why else [{**SCORE, **host, "host_id": name} for name in LEFT_OUT],
        "why": why,
    }


HOST_OUT = {
    "folds": [
        {"scored": a, "val": b, "train": ["attic"], "n_episodes": 12}
        for a, b in zip(LEFT_OUT, [*LEFT_OUT[1:], LEFT_OUT[0]], strict=True)
    ],
    "opened_test": {},
    "rows": [
        _left_out_row("ensemble_realistic", parts=["gbt_realistic", "mlp_realistic"]),
        _left_out_row("gbt_realistic"),
        _left_out_row("mlp_realistic"),
        _left_out_row("cnn_realistic", why="without lab-nuc: train lacks armed"),
    ],
    "pairs": [
        {
            "family": "host-out, ensemble against its parts",
            "a": "ensemble_realistic",
            "b": part,
            "difference": 0.03,
            "ci_low": 0.01,
            "ci_high": 0.05,
            "p_value": 0.004,
            "p_holm": 0.008,
            "n_episodes": 36,
        }
        for part in ("gbt_realistic", "mlp_realistic")
    ],
    "why": None,
}

STUDY_HOSTS = ("garage-pi", "lab-nuc")
STUDY = {
    "format": "study",
    "split": "host",
    "seed": 0,
    "of": {"split": "5p1i7", "study": "3", "seed": 0},
    "left_out": [],
    "status": "current",
    "why": None,
    "alarm_rule": "the lowest threshold that at most 5 % of quiet windows of val reach",
    "models": {
        "gbt_realistic": {
            "settings": "5e77165",
            "profiles": {
                "reference": [{"profile": "flood", "alarm": _alarms(5, 5), "why": None}],
                "rows": [
                    _left_out("flood", "test side"),
                    _left_out("io-walk", "train side", why="the profile was not run there"),
                ],
            },
            "hosts": {
                "hosts": list(STUDY_HOSTS),
                "n_folds": 5,
                "cells": [_cell(a, b) for a in STUDY_HOSTS for b in STUDY_HOSTS],
            },
            "time": {
                "cut": "2026-11-22T09:43:16+00:00",
                "aut": 0.73,
                "ci_low": 0.67,
                "ci_high": 0.79,
                "why": None,
                "slots": [
                    {
                        "from": f"2026-11-22T09:4{k}:00+00:00",
                        "to": f"2026-11-22T09:4{k + 1}:00+00:00",
                        "ci_level": 0.95,
                        "ci_method": "percentile bootstrap by episode",
                        "macro_f1": 0.7,
                        "ci_low": 0.6,
                        "ci_high": 0.8,
                        "n_episodes": 6,
                        "n_windows": 67,
                    }
                    for k in range(4)
                ],
            },
        }
    },
    "host_out": HOST_OUT,
    "drift": {
        "threshold": 0.25,
        "smoothing": "0.5 added to each bin",
        "n_train_episodes": 25,
        "views": {"level": "as recorded", "relative": "as models see them"},
        "summary": [
            {
                "group": "test side",
                "view": "relative",
                "n_episodes": 31,
                "n_flagged": 1,
                "n_flagged_beyond_chance": 1,
                "n_channels": 46,
            }
        ],
        "rows": [
            {
                "channel": "guest.load1",
                "view": "relative",
                "group": "test side",
                "n_episodes": 31,
                "psi": 1.3,
                "flagged": True,
                "chance_95": 0.4,
                "beyond_chance": True,
                "why": None,
            },
            {
                "channel": "qmp.reads",
                "view": "relative",
                "group": "test side",
                "n_episodes": 31,
                "psi": None,
                "flagged": None,
                "chance_95": None,
                "beyond_chance": None,
                "why": "unknown in train",
            },
        ],
    },
}


def measured(board, reports, seed=0, profiles=PROFILES):
    """A leaderboard and its models' reports with every part that can be measured."""
    models = [report["model"] for report in reports]
    whole = {
        **board,
        "host_identity": HOST_IDENTITY,
        "robustness": robustness(models),
        "controls": controls(models),
        "study": STUDY,
    }
    made = [measured_report(r, seed=seed + k, profiles=profiles) for k, r in enumerate(reports)]
    return whole, made


MEASURED_PARTS = ("reliability", "segments", "subsets", "detection")
MEASURED_OF_PHASES = ("pr_auc", "prevalence")
MEASURED_OF_BOARDS = ("host_identity", "robustness", "controls", "study", "probes")


def _without(value, names):
    return {name: part for name, part in value.items() if name not in names}


def older(board, reports, probes):
    """The same leaderboard and reports as they were before any of these parts was measured."""

    def report_without(report):
        phases = [_without(entry, MEASURED_OF_PHASES) for entry in report["per_class"]]
        return {**_without(report, MEASURED_PARTS), "per_class": phases}

    return (
        _without(board, MEASURED_OF_BOARDS),
        [report_without(report) for report in reports],
        [report_without(report) for report in probes],
    )
