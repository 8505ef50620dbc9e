"""Tables of a study, from sections made by hand."""

import pytest

from cis490_pipeline.cli.models.study_tables import print_study

NO_INTERVAL = {"macro_f1": 0.5, "ci_low": None, "ci_high": None, "n_episodes": 4, "n_windows": 9}
HOSTS = {
    "hosts": ["attic[bold]"],
    "cells": [
        {**NO_INTERVAL, "trained_on": "attic[bold]", "tested_on": "attic[bold]", "why": None}
    ],
}
TIME = {
    "aut": None,
    "ci_low": None,
    "cut": "2026-11-22",
    "slots": [{**NO_INTERVAL, "from": "9:00"}],
    "why": None,
}
ALARM = {"any": {"n": 2}, "new": {"n": 1}, "n_episodes": 4}
PROFILES = {
    "reference": [],
    "rows": [
        {
            "profile": "flood[bold]",
            "scope": "known hosts",
            "alarm": ALARM,
            "quiet": None,
            "why": None,
            "auroc": {"max_softmax": {"auroc": 0.5, "ci_low": None}},
        }
    ],
}


HOST_OUT = {
    "folds": [{"scored": "attic[bold]", "val": "cellar"}, {"scored": "cellar", "val": "attic"}],
    "opened_test": {"attic[bold]": 3},
    "rows": [
        {
            **NO_INTERVAL,
            "model": "gbt_realistic",
            "seeds": {"n_seeds": 3, "mean": 0.52},
            "over_hosts": None,
            "per_host": [
                {**NO_INTERVAL, "host_id": "attic[bold]", "macro_f1": 0.62},
                {**NO_INTERVAL, "host_id": "cellar", "macro_f1": None},
            ],
            "why": None,
        },
        {
            **NO_INTERVAL,
            "macro_f1": None,
            "model": "mlp_realistic",
            "seeds": {"n_seeds": 0, "mean": None},
            "over_hosts": None,
            "per_host": [],
            "why": "without cellar: train lacks armed",
        },
    ],
    "pairs": [
        {
            "a": "gbt_realistic",
            "b": "cnn_realistic",
            "difference": 0.1,
            "ci_low": 0.05,
            "ci_high": 0.15,
            "p_holm": 0.01,
        }
    ],
    "why": None,
}


def test_hosts_left_out_are_printed_with_intervals_seeds_and_what_was_opened(capsys):
    print_study({"split": "host", "models": {}, "drift": None, "host_out": HOST_OUT})

    printed = capsys.readouterr().out
    for text in (
        "macro F1 over 2 hosts, each left out in turn",
        "0.500 [n/a]",
        "3, 0.520",
        "attic[bold] (stopped on cellar)",
        "0.620 [n/a]",
        "mlp_realistic: without cellar: train lacks armed",
        "gbt_realistic against cnn_realistic: +0.100 [+0.050, +0.150], p = 0.0100 (Holm)",
        "opened episodes of the test side, log it in docs/decisions.md: attic[bold]: 3",
    ):
        assert text in printed


@pytest.mark.parametrize(
    ("section", "shown"),
    [
        ({"hosts": HOSTS}, ["attic[bold]", "0.500 [n/a]"]),
        ({"time": TIME}, ["0.500 [n/a]"]),
        ({"profiles": PROFILES}, ["flood[bold]", "0.50 [n/a]"]),
    ],
)
def test_brackets_of_names_and_of_missing_intervals_are_text(section, shown, capsys):
    parts = {"profiles": None, "hosts": None, "time": None, **section}
    models = {"gbt_realistic": parts}
    print_study({"split": "host", "models": models, "drift": None, "host_out": None})

    printed = capsys.readouterr().out
    assert [text for text in shown if text not in printed] == []
