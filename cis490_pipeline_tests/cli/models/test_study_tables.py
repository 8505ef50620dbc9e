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
    print_study({"split": "host", "models": {"gbt_realistic": parts}, "drift": None})

    printed = capsys.readouterr().out
    assert [text for text in shown if text not in printed] == []
