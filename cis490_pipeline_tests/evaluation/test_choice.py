import pytest

from cis490_pipeline.evaluation.choice import choose, chosen_by, selected_model, shown_ensembles
from cis490_pipeline_tests.evaluation.measured import HOST_OUT, STUDY

NAMES = ("gbt_realistic", "mlp_realistic", "cnn_realistic", "gbt_oracle")


def report(model, val, kind="model"):
    return {
        "model": model,
        "kind": kind,
        "variant": model.rpartition("_")[2],
        "val": {"macro_f1": val},
    }


REPORTS = [report(name, 0.5 + k / 10) for k, name in enumerate(NAMES)]


def studied(means, **changes):
    """A study in which models have these means over hosts left out."""
    rows = [
        {**row, "model": name, "seeds": {**row["seeds"], "mean": mean}}
        for row in HOST_OUT["rows"][1:2]
        for name, mean in means.items()
    ]
    return {**STUDY, "host_out": {**HOST_OUT, "rows": rows, **changes}}


def test_without_a_study_validation_chooses():
    choice = choose(REPORTS)

    assert choice.selected == {"realistic": "cnn_realistic", "oracle": "gbt_oracle"}
    assert (choice.by, choice.first) == ({}, "cnn_realistic")


def test_hosts_left_out_choose_among_the_models_they_scored():
    choice = choose(REPORTS, studied({"gbt_realistic": 0.7, "mlp_realistic": 0.6}))

    assert choice.selected == {"realistic": "gbt_realistic", "oracle": "gbt_oracle"}
    assert choice.by == {"realistic": "host_out"}


@pytest.mark.parametrize(
    "study",
    [
        studied({"gbt_realistic": 0.7}),
        studied({"gbt_realistic": 0.7, "gru_realistic": 0.6}),
        studied({"gbt_realistic": 0.7, "mlp_realistic": 0.6}, opened_test={"lab-nuc": 3}),
        studied({"gbt_realistic": 0.7, "mlp_realistic": 0.6}, why="2 hosts may be scored"),
        {**STUDY, "host_out": None},
        {"format": "study", "split": "host", "status": "stale", "why": "another split"},
    ],
    ids=["one model", "one on the board", "test opened", "too few hosts", "not run", "stale"],
)
def test_a_study_that_cannot_choose_leaves_it_to_validation(study):
    assert choose(REPORTS, study) == choose(REPORTS)
    assert shown_ensembles(study, NAMES) == {}


def test_an_ensemble_is_never_chosen():
    ensemble = report("ensemble_realistic", 0.99, kind="ensemble")

    assert choose([*REPORTS, ensemble], STUDY).selected["realistic"] in NAMES


def test_a_model_without_a_validation_score_is_never_chosen():
    reports = [report("a_realistic", None), report("b_realistic", 0.1)]

    assert selected_model(reports, "realistic") == "b_realistic"
    assert selected_model(reports[:1], "realistic") is None


def test_an_ensemble_is_shown_where_it_is_borne_out_and_its_parts_are_on_the_board():
    assert shown_ensembles(STUDY, NAMES) == {
        "ensemble_realistic": ["gbt_realistic", "mlp_realistic"]
    }
    assert shown_ensembles(STUDY, NAMES[:1]) == {}
    assert shown_ensembles(None, NAMES) == {}


def test_a_board_that_does_not_say_was_chosen_on_validation():
    assert chosen_by({}, "realistic") == "val"
    assert chosen_by({"selected_by": {"realistic": "host_out"}}, "realistic") == "host_out"
