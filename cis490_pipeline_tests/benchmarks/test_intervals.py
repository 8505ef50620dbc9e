"""The pieces of `make bench-evaluation`, so that what they promise of their corpora holds."""

import numpy as np
import pytest
from sklearn.metrics import f1_score

from benchmarks import agreement, bootstrap_speed, coverage, evaluation_page
from benchmarks.made_episodes import RECALL, Population, draw_ease, draw_windows


@pytest.mark.parametrize("icc", [0.0, 0.3])
def test_the_true_macro_f1_is_that_of_very_many_windows(icc):
    rng, population = np.random.default_rng(0), Population(icc)
    y_true, episode = draw_windows(rng, 40_000)

    y_pred = population.predicted(rng, y_true, draw_ease(rng, 40_000)[episode])

    assert f1_score(y_true, y_pred, average="macro") == pytest.approx(population.macro_f1, abs=4e-3)


@pytest.mark.parametrize("icc", [0.0, 0.1, 0.3])
def test_windows_of_a_phase_correlate_as_said(icc):
    rng = np.random.default_rng(1)
    n_pairs, phase = 40_000, 2
    ease = np.repeat(draw_ease(rng, n_pairs), 2)
    y_true = np.full(ease.size, phase)

    right = (Population(icc).predicted(rng, y_true, ease) == phase).reshape(n_pairs, 2)

    assert right.mean() == pytest.approx(RECALL[phase], abs=0.01)
    assert np.corrcoef(right.T)[0, 1] == pytest.approx(icc, abs=0.02)


def test_every_episode_has_windows_and_some_are_clean_only():
    y_true, episode = draw_windows(np.random.default_rng(2), 500)

    assert set(episode) == set(range(500))
    clean_only = [not y_true[episode == e].any() for e in range(500)]
    assert 0.05 < np.mean(clean_only) < 0.2


def test_by_window_intervals_are_too_narrow_where_windows_are_alike():
    shares = coverage.coverage(30, 0.3, 40, seed=0, n_resamples=200)

    assert shares["used"].value > shares["by window"].value + 0.1
    assert shares["used"].value > 0.8


def test_swapping_windows_calls_equal_models_different_more_often():
    shares = coverage.false_differences(
        30, (0.3, 0.3), 60, seed=0, n_by_window=60, n_permutations=150
    )

    assert shares["by episode"].value <= 0.15
    assert shares["by window"].value > shares["by episode"].value


def test_two_standard_errors_are_those_of_a_share():
    assert coverage.Share(0.05, 1900).two_se == pytest.approx(0.01)
    assert str(coverage.Share(0.95, 1900)) == "95.0 ± 1.0 %"


def test_the_page_says_what_is_missed(monkeypatch):
    monkeypatch.setattr(bootstrap_speed, "N_WINDOWS", 300)
    monkeypatch.setattr(bootstrap_speed, "N_RESAMPLES", 100)
    monkeypatch.setattr(bootstrap_speed, "LOOPED", 2)
    share = coverage.Share(0.95, 100).to_dict()
    covered = {"used": share, "percentile": share, "bca": share, "by window": share}
    low = {**covered, "used": coverage.Share(0.9, 100).to_dict()}
    differing = {"by episode": coverage.Share(0.05, 100).to_dict(), "interval": share}
    result = {
        "machine": {"processor": "x", "cores": 1, "python": "3", "load_average": [0]},
        "n_simulations": 100,
        "n_resamples": 100,
        "n_permutations": 100,
        "agreement": agreement.measure(n_cases=20, n_corpora=2),
        "speed": {**bootstrap_speed.measure(1), "times_faster": 150.0},
        "coverage": [
            {"n_episodes": 10, "icc": 0.1} | low,
            {"n_episodes": 20, "icc": 0.1} | low,
            {"n_episodes": 40, "icc": 0.1} | covered,
        ],
        "false_differences": [
            {"n_episodes": 20, "icc": [0.0, 0.3], "by window": share} | differing
        ],
    }

    page = evaluation_page.page(result)

    assert "Of 10 wanted numbers 9 are met." in page
    ends = [line.rsplit("|", 2)[1].strip() for line in page.splitlines() if line.startswith("| ")]
    assert [end for end in ends if end in ("not asked", "met", "**missed**")] == [
        *["met"] * 6,
        "not asked",
        "**missed**",
        "met",
        "met",
        "met",
    ]
