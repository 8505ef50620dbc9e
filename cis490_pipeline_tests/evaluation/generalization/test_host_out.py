import pytest

from cis490_pipeline.domain import Variant
from cis490_pipeline.errors import EvaluationError
from cis490_pipeline.evaluation.generalization.host_out import (
    AGAINST_PARTS,
    Pooled,
    best_on_host_out,
    ensembles_borne_out,
    host_out_scores,
)
from cis490_pipeline.evaluation.predictions import matrices_of
from cis490_pipeline.evaluation.uncertainty.intervals import episode_interval
from cis490_pipeline.evaluation.uncertainty.paired import holm
from cis490_pipeline_tests.evaluation.made_up import predictions, windows

HOSTS = ("attic", "cellar", "garage", "hall", "shed")
KEYS = windows(n_test=20, n_val=0, hosts=HOSTS, profiles=("flood",))


def pooled(architecture, *skills, seed=0):
    frames = {k: predictions(KEYS, skill=s, seed=seed + 10 * k) for k, s in enumerate(skills)}
    return Pooled(architecture=architecture, variant=Variant.REALISTIC, by_seed=frames)


@pytest.fixture(scope="module")
def scored():
    failed = Pooled(
        architecture="cnn", variant=Variant.REALISTIC, by_seed={}, why="without attic: by hand"
    )
    models = [pooled("gbt", 2, 2), pooled("mlp", 1, seed=1), pooled("gru", 1.9, 1, seed=2), failed]
    return models, *host_out_scores(models, seed=0, n_resamples=200)


def test_the_score_is_of_the_windows_of_all_hosts_at_once(scored):
    models, rows, _ = scored
    row = next(row for row in rows if row["model"] == "gbt_realistic")
    interval = episode_interval(matrices_of(models[0].shown).counts, seed=0, n_resamples=200)

    assert {name: row[name] for name in interval.to_dict()} == interval.to_dict()
    assert [host["host_id"] for host in row["per_host"]] == list(HOSTS)
    assert sum(host["n_windows"] for host in row["per_host"]) == row["n_windows"] == KEYS.height
    assert row["over_hosts"]["macro_f1"] == row["macro_f1"]
    assert len(row["per_class"]) == 5


def test_models_come_best_first_by_the_mean_over_their_seeds(scored):
    rows = scored[1]

    means = [row["seeds"]["mean"] for row in rows if row["why"] is None]
    assert means == sorted(means, reverse=True)
    assert (rows[-1]["model"], rows[-1]["macro_f1"], rows[-1]["why"]) == (
        "cnn_realistic",
        None,
        "without attic: by hand",
    )


def test_the_ensemble_is_of_the_trees_and_the_best_net_on_the_seeds_of_both(scored):
    ensemble = next(row for row in scored[1] if row["kind"] == "ensemble")

    assert ensemble["model"] == "ensemble_realistic"
    assert ensemble["parts"] == ["gbt_realistic", "gru_realistic"]
    assert ensemble["seeds"]["seeds"] == [0, 1]


def test_without_trees_or_without_a_net_there_is_no_ensemble():
    for models in ([pooled("gbt", 2)], [pooled("mlp", 1), pooled("gru", 2)]):
        rows, pairs = host_out_scores(models, seed=0, n_resamples=20)
        assert {row["kind"] for row in rows} == {"model"}
        assert len(pairs) == len(models) - 1


def test_each_family_is_corrected_by_itself(scored):
    pairs = scored[2]
    families = {}
    for pair in pairs:
        families.setdefault(pair["family"], []).append(pair)

    assert {name: len(found) for name, found in families.items()} == {
        "host-out, within realistic": 3,
        AGAINST_PARTS: 2,
    }
    for found in families.values():
        assert [p["p_holm"] for p in found] == pytest.approx(holm([p["p_value"] for p in found]))


@pytest.mark.parametrize(("low", "borne_out"), [((0.01, 0.02), True), ((0.01, 0.0), False)])
def test_an_ensemble_is_borne_out_where_it_is_ahead_of_each_of_its_parts(scored, low, borne_out):
    ends = iter(low)
    pairs = [
        {**pair, "ci_low": next(ends)} if pair["family"] == AGAINST_PARTS else pair
        for pair in scored[2]
    ]
    study = {"folds": [], "opened_test": {}, "rows": scored[1], "pairs": pairs, "why": None}

    found = ensembles_borne_out(study)

    wanted = {"ensemble_realistic": ["gbt_realistic", "gru_realistic"]} if borne_out else {}
    assert found == wanted


def test_the_best_is_looked_for_among_those_named(scored):
    rows = scored[1]

    assert best_on_host_out(rows, {"mlp_realistic", "gru_realistic"}) == "gru_realistic"
    assert best_on_host_out(rows, {"cnn_realistic"}) is None


def test_models_of_other_windows_are_not_compared():
    fewer = predictions(KEYS.filter(KEYS["host_id"] != "attic"), skill=1)
    other = Pooled(architecture="mlp", variant=Variant.REALISTIC, by_seed={0: fewer})

    with pytest.raises(EvaluationError, match="not scored on identical windows"):
        host_out_scores([pooled("gbt", 1), other], seed=0, n_resamples=20)
