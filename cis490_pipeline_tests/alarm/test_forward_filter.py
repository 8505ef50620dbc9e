from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cis490_pipeline.alarm.forward_filter import PhaseFilter, filter_sequences
from cis490_pipeline.errors import EvaluationError
from cis490_pipeline_tests.evaluation.alarms import any_filter, any_proba


def by_every_path(model, proba, present):
    """P(phase at the last window | all windows), summed over all paths of phases."""
    k = len(model.class_prior)
    total = np.zeros(k)
    for path in product(range(k), repeat=len(proba)):
        weight, before = 1.0, 0
        for phase, p, there in zip(path, proba, present, strict=True):
            weight *= model.transition[before, phase]
            if there:
                weight *= (p[phase] / model.class_prior[phase]) ** model.emission_power
            before = phase
        total[path[-1]] += weight
    return total / total.sum()


@given(seed=st.integers(0, 10_000), n=st.integers(1, 4))
def test_the_filter_is_the_sum_over_all_paths(seed, n):
    rng = np.random.default_rng(seed)
    model, proba = any_filter(rng), any_proba(rng, n)
    present = rng.random(n) < 0.7

    filtered = filter_sequences(model, proba, present, np.array([n]))

    np.testing.assert_allclose(filtered[-1], by_every_path(model, proba, present), rtol=1e-9)


def test_two_windows_by_hand():
    transition = np.eye(5)
    transition[0] = [0.9, 0, 0.1, 0, 0]
    model = PhaseFilter(
        transition=transition, class_prior=np.full(5, 0.2), emission_power=1.0, step_s=5.0
    )
    sure = np.array([0.2, 0, 0.8, 0, 0])

    one = model.advance(PhaseFilter.start(), sure)
    two = model.advance(one, sure)

    # .9 × .2 against .1 × .8; then clean .9 × 18/26 × .2, infecting (.1 × 18/26 + 8/26) × .8.
    assert one[[0, 2]] == pytest.approx([18 / 26, 8 / 26], abs=1e-6)
    assert two[2] == pytest.approx(9.8 * 0.8 / (9.8 * 0.8 + 16.2 * 0.2), abs=1e-5)


def test_a_missing_window_is_a_step_of_prediction_alone():
    model = any_filter(np.random.default_rng(0))
    state = np.array([0.5, 0.2, 0.1, 0.1, 0.1])

    np.testing.assert_allclose(model.advance(state, None), state @ model.transition, rtol=1e-14)


def test_the_class_prior_as_probabilities_says_nothing():
    model = any_filter(np.random.default_rng(1))
    state = np.array([0.5, 0.2, 0.1, 0.1, 0.1])

    told = model.advance(state, model.class_prior)

    np.testing.assert_allclose(told, model.advance(state, None), rtol=1e-12)


def test_sequences_do_not_touch_each_other():
    rng = np.random.default_rng(2)
    model, lengths = any_filter(rng), np.array([3, 7, 1, 5])
    proba, present = any_proba(rng, 16), rng.random(16) < 0.8

    together = filter_sequences(model, proba, present, lengths)

    cuts = np.cumsum(lengths)[:-1]
    alone = [
        filter_sequences(model, p, there, np.array([len(p)]))
        for p, there in zip(np.split(proba, cuts), np.split(present, cuts), strict=True)
    ]
    np.testing.assert_array_equal(together, np.concatenate(alone))


def test_no_single_window_rules_a_phase_out_for_good():
    model = any_filter(np.random.default_rng(5))
    never = model.advance(PhaseFilter.start(), np.array([1.0, 0, 0, 0, 0]))

    after = filter_sequences(
        model, np.array([[0.0, 0, 0, 1, 0]] * 20), np.ones(20, dtype=bool), np.array([20])
    )

    assert (never > 0).all()
    assert after[-1, 3] > 0.99


def test_no_later_window_changes_an_earlier_state():
    rng = np.random.default_rng(3)
    model, proba, present = any_filter(rng), any_proba(rng, 9), np.ones(9, dtype=bool)

    whole = filter_sequences(model, proba, present, np.array([9]))

    np.testing.assert_array_equal(
        filter_sequences(model, proba[:5], present[:5], np.array([5])), whole[:5]
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"transition": np.full((5, 5), 0.1)}, "transition must sum to 1"),
        ({"transition": np.eye(4)}, r"transition must be \(5, 5\)"),
        ({"class_prior": [1, 0, 0, 0, 0]}, "class_prior must be positive"),
        ({"class_prior": [np.nan] * 5}, r"class_prior must be \(5,\) probabilities"),
        ({"emission_power": 0.0}, "emission_power must be positive, got 0.0"),
        ({"step_s": float("nan")}, "step_s must be positive, got nan"),
    ],
)
def test_a_filter_that_cannot_be_is_refused(change, message):
    sound = any_filter(np.random.default_rng(4))
    given_ = {
        "transition": sound.transition,
        "class_prior": sound.class_prior,
        "emission_power": 1.0,
        "step_s": 5.0,
    }

    with pytest.raises(EvaluationError, match=message):
        PhaseFilter(**{**given_, **change})
