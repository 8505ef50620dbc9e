import pytest

from cis490_pipeline.evaluation.probes.verdict import against_probes, beats, best_probe
from cis490_pipeline_tests.evaluation.boards import board_of


def report(name, val):
    return {"model": name, "val": {"macro_f1": val}}


def pair(probe, low=0.1, p=0.01):
    return {
        "a": "gbt_realistic",
        "b": probe,
        "difference": 0.2,
        "ci_low": low,
        "ci_high": 0.3,
        "p_value": p,
        "p_holm": p,
        "n_episodes": 30,
    }


PROBES = [
    report("probe_position", 0.5),
    report("probe_drifting_gauges", 0.6),
    report("probe_without_drifting", 0.9),
]


def test_best_shortcut_is_chosen_on_validation_and_a_control_is_none():
    assert best_probe(PROBES) == "probe_drifting_gauges"
    assert best_probe([report("probe_majority", None)]) is None


def test_a_model_beats_by_interval_and_corrected_p():
    assert beats(pair("p"))
    assert not beats(pair("p", low=-0.01))
    assert not beats(pair("p", p=0.06))
    assert not beats(pair("p", p=None))


def test_said_of_a_model_that_beats_one_shortcut_only():
    pairs = [
        pair("probe_position", low=-0.1),
        pair("probe_drifting_gauges"),
        pair("probe_without_drifting", p=0.5),
    ]

    said = against_probes("gbt_realistic", pairs, PROBES)

    assert said["best_probe"] == "probe_drifting_gauges"
    assert (said["beats"], said["difference"], said["ci_low"]) == (True, 0.2, 0.1)
    assert said["not_beaten"] == ["probe_position"]
    assert said["controls"] == ["probe_without_drifting"]
    assert (said["why"], said["comparisons"]) == (None, pairs)


@pytest.mark.parametrize(
    ("chosen", "pairs", "why"),
    [
        (None, [], "no model has a score on validation"),
        ("gbt_realistic", [], "no probe has a score on validation"),
        (
            "gbt_realistic",
            [pair("probe_drifting_gauges") | {"difference": None, "p_holm": None}],
            "30 test episodes allow no comparison",
        ),
    ],
)
def test_where_nothing_can_be_said_it_says_why(chosen, pairs, why):
    said = against_probes(chosen, pairs, PROBES)

    assert (said["beats"], said["why"]) == (None, why)


def test_a_board_carries_it():
    board, _, _ = board_of()

    best = board["best_vs_probe"]
    assert best["best_probe"] == "probe_position"
    compared = {row["b"]: row for row in best["comparisons"]}
    assert best["difference"] == compared["probe_position"]["difference"]
    assert best["beats"] == beats(compared["probe_position"])
