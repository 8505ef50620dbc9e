"""Every line that ``print_leaderboard`` prints, from a board made by hand."""

import io

import pytest
from rich.console import Console

from cis490_pipeline.cli.tables import leaderboard_lines, print_leaderboard
from cis490_pipeline.errors import EvaluationError

ONE_SEED = {"n_seeds": 1, "mean": 0.5, "ci_low": None, "ci_high": None}


def score(macro_f1, low=None, high=None):
    return {"macro_f1": macro_f1, "ci_low": low, "ci_high": high}


def row(model, of, *, val=0.7, kind="model", selected=False, seed=0, seeds=ONE_SEED):
    sizes = {"n_episodes": 31, "n_windows": 350}
    about = {"kind": kind, "selected": selected, "seed": seed, "seeds": dict(seeds)}
    about["variant"] = None if kind == "probe" else model.rpartition("_")[2]
    return {"model": model, **of, "val_macro_f1": val, **sizes, **about}


def ablated(mode, test, *, gauges="recorded", scaling="train", in_use=False, why=None):
    setting = {"mode": mode, "gauges": gauges, "scaling": scaling, "in_use": in_use}
    return {"model": "gbt_realistic", **setting, "test": test, "why_missing": why}


def against(probe, difference, low=None, high=None, p_holm=None):
    ends = {"ci_low": low, "ci_high": high}
    return {"a": "gbt_realistic", "b": probe, "difference": difference, **ends, "p_holm": p_holm}


ABLATION = [
    ablated("episode_baseline", score(0.547, 0.48, 0.61), in_use=True),
    ablated("episode_baseline", score(0.411, 0.40, 0.42), gauges="dropped"),
    ablated("host_baseline", score(0.569, 0.481, 0.657)),
    ablated("host_baseline", score(0.333, 0.30, 0.36), gauges="centred"),
    ablated("train_z", score(0.486, 0.42, 0.55)),
    ablated("episode_baseline", score(0.566, 0.511, 0.615), scaling="device"),
    ablated("host_baseline", score(0.458, 0.368, 0.550), scaling="device"),
]
VERSUS = {
    "model": "gbt_realistic",
    "comparisons": [
        against("probe_majority", 0.464, 0.39, 0.534, 0.00074),
        against("probe_drifting_gauges", -0.0014, -0.069, 0.078, 0.9718),
        against("probe_zeros", 0.2, 0.1, 0.3, None),
        against("probe_position", None),
        against("probe_threshold", 0.1),
    ],
    "beats": False,
    "best_probe": "probe_drifting_gauges",
    "not_beaten": ["probe_drifting_gauges"],
    "why": None,
}


def board(**changed):
    return {
        "split": "host",
        "selected_on": "same host",
        "rows": [
            row("gru_oracle", score(0.617, 0.527, 0.687), val=0.686),
            row("gbt_realistic", score(0.57, 0.497, 0.637), val=0.861, selected=True),
            row("mlp_realistic", score(0.5), val=None),
            row("cnn_realistic", score(None), val=0.5),
            row("probe_majority", score(0.106, 0.091, 0.119), kind="probe", seed=7),
        ],
        "untested_profiles": {"lab-nuc": ["exfil-burst"], "k-gamingcom": ["flood", "scan"]},
        "ablation": ABLATION,
        "ablation_of": {"hosts_refused": {}},
        "best_vs_probe": VERSUS,
        **changed,
    }


def lines_of(begins, **changed):
    return [line for line in leaderboard_lines(board(**changed)) if line.startswith(begins)]


def printed(shown):
    stream = io.StringIO()
    print_leaderboard(shown, Console(file=stream, width=100))
    return stream.getvalue()


def cells(text, model):
    (line,) = [line for line in text.splitlines() if line.startswith(f"│ {model} ")]
    return [cell.strip() for cell in line.strip("│").split("│")]


@pytest.mark.parametrize(
    ("model", "told"),
    [
        ("gru_oracle", ["gru_oracle", "0.617 [0.527, 0.687]", "0.686", "31", "350"]),
        (
            "gbt_realistic",
            ["gbt_realistic  chosen on val", "0.570 [0.497, 0.637]", "0.861", "31", "350"],
        ),
        ("mlp_realistic", ["mlp_realistic", "0.500 [n/a]", "n/a", "31", "350"]),
        ("cnn_realistic", ["cnn_realistic", "n/a", "0.500", "31", "350"]),
        ("probe_majority", ["probe_majority", "0.106 [0.091, 0.119]", "0.700", "31", "350"]),
    ],
)
def test_a_row_of_the_table_has_its_own_numbers(model, told):
    assert cells(printed(board()), model) == told


def test_the_title_names_split_and_side_of_choice_as_they_are():
    text = printed(board(split="time", selected_on="[bold]earlier[/bold] episodes"))

    assert "split: time   chosen on: [bold]earlier[/bold] episodes" in text


def test_a_model_chosen_over_hosts_left_out_is_marked_so():
    text = printed(board(selected_by={"realistic": "host_out"}))

    assert "gbt_realistic  chosen on hosts left out" in text
    assert "chosen on val" not in text


def test_all_lines_are_below_the_table_in_their_order():
    text = printed(board())
    below = text.rpartition("┘\n")[2]

    assert below == "".join(f"{line}\n" for line in leaderboard_lines(board()))


def test_calibration_is_told_of_the_row_in_use_and_of_the_other_modes_like_it():
    assert lines_of("calibrated by ") == [
        (
            "calibrated by episode_baseline (gbt_realistic, common windows): "
            "0.547 [0.480, 0.610], in use"
        ),
        "calibrated by host_baseline (gbt_realistic, common windows): 0.569 [0.481, 0.657]",
        "calibrated by train_z (gbt_realistic, common windows): 0.486 [0.420, 0.550]",
    ]


def test_which_calibration_is_shown_follows_the_board():
    rows = [{**r, "in_use": r["scaling"] == "device" and r["mode"][0] == "h"} for r in ABLATION]

    assert lines_of("calibrated by ", ablation=rows) == [
        "calibrated by host_baseline (gbt_realistic, common windows): 0.458 [0.368, 0.550], in use",
        "calibrated by episode_baseline (gbt_realistic, common windows): 0.566 [0.511, 0.615]",
    ]


def test_a_calibration_without_a_score_says_why():
    rows = [
        ablated("episode_baseline", score(0.5), in_use=True),
        ablated("host_baseline", None, why="hosts leave no window on test"),
    ]

    assert lines_of("calibrated by ", ablation=rows) == [
        "calibrated by episode_baseline (gbt_realistic, common windows): 0.500 [n/a], in use",
        (
            "calibrated by host_baseline (gbt_realistic, common windows): "
            "n/a (hosts leave no window on test)"
        ),
    ]


def test_a_board_without_ablation_has_no_line_of_calibration():
    assert lines_of("calibrated by ", ablation=[], ablation_of={}) == []


@pytest.mark.parametrize("in_use", [False, True])
def test_an_ablation_of_which_not_one_row_is_in_use_is_refused(in_use):
    rows = [{**r, "in_use": in_use} for r in ABLATION]

    with pytest.raises(EvaluationError, match=f"{7 * in_use} of 7 ablation rows are in use"):
        leaderboard_lines(board(ablation=rows))


def test_hosts_without_a_record_are_named_with_the_reason():
    refused = {"lab-nuc": "has no sound clean-only episode", "attic": "flagged"}

    assert lines_of("no calibration", ablation_of={"hosts_refused": refused}) == [
        "no calibration record of attic: flagged",
        "no calibration record of lab-nuc: has no sound clean-only episode",
    ]


def test_untested_profiles_are_named_by_host():
    assert lines_of("untested") == [
        "untested on k-gamingcom: flood, scan",
        "untested on lab-nuc: exfil-burst",
    ]


def test_where_all_was_tested_that_is_said():
    assert lines_of("untested", untested_profiles={}) == ["untested profiles: none"]


def test_each_probe_has_its_difference_interval_and_p_or_n_a():
    assert lines_of("gbt_realistic against") == [
        "gbt_realistic against probe_majority: +0.464 [+0.390, +0.534], p = 0.0007 (Holm)",
        "gbt_realistic against probe_drifting_gauges: -0.001 [-0.069, +0.078], p = 0.9718 (Holm)",
        "gbt_realistic against probe_zeros: +0.200 [+0.100, +0.300], p = n/a (Holm)",
        "gbt_realistic against probe_position: n/a",
        "gbt_realistic against probe_threshold: n/a",
    ]


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (
            {},
            "gbt_realistic does not beat the best probe on validation, probe_drifting_gauges",
        ),
        (
            {"beats": True, "not_beaten": []},
            "gbt_realistic beats the best probe on validation, probe_drifting_gauges",
        ),
        (
            {"not_beaten": ["probe_drifting_gauges", "probe_position", "probe_zeros"]},
            (
                "gbt_realistic does not beat the best probe on validation, probe_drifting_gauges; "
                "not shown against probe_position, probe_zeros"
            ),
        ),
        (
            {"model": None, "comparisons": [], "beats": None, "why": "no model has a score"},
            "against the best probe: n/a (no model has a score)",
        ),
    ],
)
def test_the_last_line_says_whether_the_best_shortcut_is_beaten(changed, told):
    assert leaderboard_lines(board(best_vs_probe={**VERSUS, **changed}))[-1] == told


THREE = {"n_seeds": 3, "mean": 0.533, "ci_low": 0.45, "ci_high": 0.616}


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([row("a", score(0.5)), row("b", score(0.4))], ["one seed (0) for each"]),
        ([row("a", score(0.5), seed=4), row("b", score(0.4))], ["one seed (0, 4) for each"]),
        (
            [row("a", score(0.5), seeds=THREE), row("b", score(0.4))],
            [
                "a over 3 seeds: mean 0.533 [0.450, 0.616] (t over seeds)",
                "one seed (0) for all others",
            ],
        ),
        (
            [row("a", score(0.5), seeds=THREE)],
            ["a over 3 seeds: mean 0.533 [0.450, 0.616] (t over seeds)"],
        ),
        (
            [row("a", score(None), seeds={**THREE, "mean": None, "ci_low": None})],
            ["a over 3 seeds: n/a"],
        ),
        ([row("p", score(0.5), kind="probe", seed=3)], []),
    ],
)
def test_seeds_are_told_of_every_model_and_of_no_probe(rows, told):
    lines = leaderboard_lines(board(rows=rows))

    assert [line for line in lines if "seed" in line] == told


def test_no_line_is_cut_or_read_as_markup():
    why = "[red]" + "because of a long reason " * 8
    rows = [
        ablated("episode_baseline", score(0.5), in_use=True),
        ablated("host_baseline", None, why=why),
    ]

    text = printed(board(ablation=rows))

    assert f"n/a ({why})\n" in text
