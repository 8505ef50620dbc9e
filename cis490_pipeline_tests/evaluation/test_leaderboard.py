import json

import pytest

from cis490_pipeline.errors import EvaluationError
from cis490_pipeline.evaluation.choice import Choice
from cis490_pipeline.evaluation.ensemble import mean_predictions
from cis490_pipeline.evaluation.leaderboard import Supplements, compare_models, leaderboard
from cis490_pipeline.evaluation.probes.learn import majority_probe
from cis490_pipeline.evaluation.report import evaluate
from cis490_pipeline.evaluation.uncertainty.paired import holm
from cis490_pipeline_tests.evaluation.boards import MODELS, board_of
from cis490_pipeline_tests.evaluation.made_up import SPLIT, predictions, windows

PAIRED = {"pairs": [], "best_vs_probe": {"model": None, "comparisons": []}}


@pytest.fixture(scope="module")
def made():
    return board_of()


def test_a_leaderboard_survives_json(made):
    board, _, _ = made

    assert json.loads(json.dumps(board, allow_nan=False)) == board


def test_rows_have_what_every_reader_of_the_file_expects(made):
    board, _, _ = made

    assert {"split", "schema", "untested_profiles", "rows"} <= set(board)
    for row in board["rows"]:
        assert {"model", "kind", "macro_f1", "ci_low", "ci_high", "n_episodes"} <= set(row)
        assert "n_windows" in row


def test_models_come_best_first_and_probes_after_them(made):
    rows = made[0]["rows"]

    assert [row["kind"] for row in rows] == ["model"] * 5 + ["probe"] * 2
    scores = [row["macro_f1"] for row in rows[:5]]
    assert scores == sorted(scores, reverse=True)


def test_the_choice_is_made_on_validation_in_each_variant(made):
    board, reports, _ = made

    for variant in ("realistic", "oracle"):
        best = max(
            (r for r in reports if r["variant"] == variant), key=lambda r: r["val"]["macro_f1"]
        )
        assert board["selected"][variant] == best["model"]
    assert {r["model"] for r in board["rows"] if r["selected"]} == set(board["selected"].values())


def test_each_family_of_pairs_is_whole_and_corrected_for_itself(made):
    pairs = made[0]["pairs"]

    families = {}
    for pair in pairs:
        families.setdefault(pair["family"], []).append(pair)
    assert {name: len(found) for name, found in families.items()} == {
        "within realistic": 3,
        "within oracle": 1,
        "oracle against realistic": 2,
    }
    for found in families.values():
        assert [p["p_holm"] for p in found] == pytest.approx(holm([p["p_value"] for p in found]))


def test_six_architectures_make_fifteen_pairs_per_variant_and_six_prices_of_deployment():
    names = ("gbt", "mlp", "cnn", "gru", "lstm", "transformer")
    models = {(n, v): 1.0 for n in names for v in ("realistic", "oracle")}

    pairs = board_of(models=models, n_resamples=20)[0]["pairs"]

    families = [pair["family"] for pair in pairs]
    assert {name: families.count(name) for name in families} == {
        "within realistic": 15,
        "within oracle": 15,
        "oracle against realistic": 6,
    }
    prices = [(p["a"], p["b"]) for p in pairs if p["family"] == "oracle against realistic"]
    assert prices == [(f"{n}_oracle", f"{n}_realistic") for n in sorted(names)]


def test_windows_that_touch_the_baseline_are_not_compared(made):
    _, reports, _ = made
    touching = predictions(windows().with_columns(touches_baseline=True), skill=1)

    with pytest.raises(EvaluationError, match="gbt_realistic: 80 of 80 windows touch the baseline"):
        compare_models(reports[:1], [], {"gbt_realistic": touching}, seed=0, n_resamples=20)


def test_the_chosen_model_is_compared_with_every_probe(made):
    board, _, _ = made

    against = board["best_vs_probe"]
    assert against["model"] == board["selected"]["realistic"]
    assert [c["b"] for c in against["comparisons"]] == ["probe_majority", "probe_position"]


def test_differences_are_those_of_the_scores_shown(made):
    scores = {row["model"]: row["macro_f1"] for row in made[0]["rows"]}

    for pair in made[0]["pairs"]:
        assert pair["difference"] == pytest.approx(scores[pair["a"]] - scores[pair["b"]])


def test_reports_of_two_splits_are_refused(made):
    _, reports, probes = made
    other = {**reports[1], "split_digest": "other"}

    with pytest.raises(EvaluationError, match="gbt_oracle was scored on split_digest other"):
        leaderboard([reports[0], other], probes, PAIRED, schema="f")


def test_two_reports_of_one_model_are_refused(made):
    _, reports, _ = made

    with pytest.raises(EvaluationError, match=r"two reports of \['gbt_realistic'\]"):
        leaderboard([reports[0], reports[0]], [], PAIRED, schema="f")


def test_nothing_to_compare_is_refused():
    with pytest.raises(EvaluationError, match="needs a report"):
        leaderboard([], [], PAIRED, schema="f")


def test_missing_predictions_are_named(made):
    _, reports, probes = made

    with pytest.raises(EvaluationError, match=r"no predictions to compare of .*'cnn_oracle'"):
        compare_models(reports, probes, {}, seed=0)


def test_models_scored_on_other_windows_are_refused(made):
    _, reports, _ = made
    frames = {f"{a}_{v}": predictions(windows(), skill=1) for a, v in MODELS}
    frames["mlp_realistic"] = predictions(windows(n_test=6), skill=1)

    with pytest.raises(EvaluationError, match="not scored on identical windows"):
        compare_models(reports, [], frames, seed=0)


def test_a_network_model_changes_no_price_of_deployment_and_no_choice(made):
    board, _, _ = made
    more, _, _ = board_of(models=MODELS | {("gbt", "network"): 4.0, ("cnn", "network"): 0.5})

    families = {pair["family"] for pair in more["pairs"]}
    assert families - {pair["family"] for pair in board["pairs"]} == {"within network"}
    assert [p for p in more["pairs"] if p["family"] != "within network"] == board["pairs"]
    assert more["best_vs_probe"]["model"] == board["best_vs_probe"]["model"]
    assert more["selected"] == board["selected"] | {"network": "gbt_network"}


def test_where_only_network_models_were_made_the_best_of_them_is_the_chosen_one():
    board, _, _ = board_of(models={("gbt", "network"): 2.0, ("cnn", "network"): 1.0})

    assert board["best_vs_probe"]["model"] == "gbt_network"
    assert board["selected"] == {"realistic": None, "oracle": None, "network": "gbt_network"}


def test_an_ensemble_stands_between_models_and_probes_and_changes_no_other_number(made):
    board, reports, probes = made
    parts = ("gbt_realistic", "mlp_realistic")
    frames = {
        f"{a}_{v}": predictions(windows(), skill=s, seed=k)
        for k, ((a, v), s) in enumerate(MODELS.items())
    }
    frames |= {probe["model"]: majority_probe(windows(), windows()) for probe in probes}
    mean = mean_predictions(*(frames[part] for part in parts))
    ensemble = evaluate(
        mean,
        model="ensemble_realistic",
        architecture=None,
        variant="realistic",
        split=SPLIT,
        checkpoint_digest=None,
        seed=0,
        kind="ensemble",
        n_resamples=100,
    )
    ensembles = {"ensemble_realistic": parts}

    paired = compare_models(
        [*reports, ensemble],
        probes,
        {**frames, "ensemble_realistic": mean},
        seed=0,
        n_resamples=100,
        ensembles=ensembles,
    )
    found = leaderboard(
        [*reports, ensemble],
        probes,
        paired,
        schema="f" * 64,
        supplements=Supplements(ensembles=ensembles),
    )

    rows = found["rows"]
    assert [row["kind"] for row in rows] == ["model"] * 5 + ["ensemble"] + ["probe"] * 2
    assert (rows[5]["model"], rows[5]["parts"], rows[5]["selected"]) == (
        "ensemble_realistic",
        list(parts),
        False,
    )
    assert [row for row in rows if row["kind"] != "ensemble"] == board["rows"]
    new = [pair for pair in found["pairs"] if pair["family"] == "ensemble against its parts"]
    assert [(pair["a"], pair["b"]) for pair in new] == [("ensemble_realistic", p) for p in parts]
    assert [pair for pair in found["pairs"] if pair not in new] == board["pairs"]
    assert found["selected"] == board["selected"]


def test_the_board_says_where_hosts_left_out_chose(made):
    _, reports, probes = made
    choice = Choice(selected={"realistic": "cnn_realistic"}, by={"realistic": "host_out"})
    frames = {f"{a}_{v}": predictions(windows(), skill=1) for a, v in MODELS}
    frames |= {probe["model"]: majority_probe(windows(), windows()) for probe in probes}

    paired = compare_models(reports, probes, frames, seed=0, n_resamples=20, choice=choice)
    supplements = Supplements(choice=choice)
    found = leaderboard(reports, probes, paired, schema="f", supplements=supplements)

    assert found["best_vs_probe"]["model"] == "cnn_realistic"
    assert found["selected"] == {"realistic": "cnn_realistic"}
    assert found["selected_by"] == {"realistic": "host_out"}
    assert [row["model"] for row in found["rows"] if row["selected"]] == ["cnn_realistic"]
    assert "selected_by" not in made[0]
