"""Whether a baseline was clean: the test keeps its level and finds the infected."""

import numpy as np
import pytest

from cis490_pipeline.compute import SerialCompute
from cis490_pipeline.domain import PHASES, Variant
from cis490_pipeline.errors import CalibrationError
from cis490_pipeline.features.calibration.cleanliness import (
    LEVEL,
    METHOD,
    METHOD_BY_HOST,
    MIN_HOSTS,
    MIN_REFERENCES,
    CleanlinessCheck,
    lacking,
)
from cis490_pipeline.features.calibration.segments import (
    Stretches,
    deployable_statistics,
    pure_stretches,
    stretches_of,
)
from cis490_pipeline.features.channels import channel_names
from cis490_pipeline.features.grids.build import build_grids
from cis490_pipeline.features.grids.store import GridStore
from cis490_pipeline.features.resample import STEP_NS
from cis490_pipeline.simulation.store import SimulationConfig, simulate_store
from cis490_pipeline.store.receiver import LocalStore
from cis490_pipeline.store.verdicts.sweep import sweep

SEED = 800_100
HOSTS = tuple(f"unit-{i:02d}" for i in range(16))
TRAINED = HOSTS[:10]
HIDDEN = "guest.top_rss_bytes"
CLEAN, ARMED, INFECTING, RUNNING, DORMANT = range(5)


@pytest.fixture(scope="module")
def grids(tmp_path_factory):
    """Grids of 320 simulated episodes of 16 hosts; ten of the hosts are trained on."""
    root = tmp_path_factory.mktemp("simulated")
    config = SimulationConfig(episodes=320, seed=SEED, hosts=HOSTS)
    simulate_store(root / "store", config, SerialCompute())
    store = LocalStore(root / "store")
    verdicts = sweep(store, None, SerialCompute()).frame
    build_grids(store, verdicts, root / "grids", SerialCompute())
    return GridStore(root / "grids")


def of_hosts(grids, hosts):
    rows = grids.frame.filter(grids.frame["host_id"].is_in(hosts))
    return stretches_of(grids, rows["episode_id"].to_list())


@pytest.fixture(scope="module")
def check(grids):
    return CleanlinessCheck.fit(of_hosts(grids, TRAINED))


@pytest.fixture(scope="module")
def of_few_hosts(grids):
    """A check of too few hosts to leave each out in turn."""
    return CleanlinessCheck.fit(of_hosts(grids, TRAINED[: MIN_HOSTS - 1]))


@pytest.fixture(scope="module")
def unseen(grids):
    return grids.frame.filter(grids.frame["host_id"].is_in(HOSTS[10:]))


def flagged(check, grids, unseen, phase):
    """Share of unseen episodes whose baseline, taken in the phase, is flagged, and their number."""
    said = []
    for row in unseen.iter_rows(named=True):
        grid = grids.grid(row["episode_id"])
        labels = row["label_t_wall_ns"], row["label_phase"], row["t0_wall_ns"]
        start = next((s for s, p in pure_stretches(len(grid), *labels) if p == phase), None)
        if start is not None:
            said.append(check.judge(grid[start : start + 150]).suspect)
    return np.mean(said), len(said)


@pytest.mark.long
def test_about_as_many_clean_baselines_of_unseen_hosts_are_flagged_as_stated(check, grids, unseen):
    share, n = flagged(check, grids, unseen, CLEAN)

    assert n == 120
    # Above it by three standard errors would be another rate; below it only costs power.
    assert share <= LEVEL + 3 * np.sqrt(LEVEL * (1 - LEVEL) / n)


@pytest.mark.long
@pytest.mark.parametrize(("phase", "least"), [(INFECTING, 0.7), (RUNNING, 0.5)])
def test_baselines_taken_while_infected_are_flagged(check, grids, unseen, phase, least):
    share, n = flagged(check, grids, unseen, phase)

    assert n >= 8
    assert share >= least


def test_of_few_hosts_references_are_one_for_each_clean_baseline_of_train(of_few_hosts, grids):
    train = of_hosts(grids, TRAINED[: MIN_HOSTS - 1])

    assert of_few_hosts.references.size == (train.clean & train.first).sum() == 80
    assert (of_few_hosts.method, of_few_hosts.weights.shape) == (METHOD, (145,))


def test_of_few_hosts_the_p_value_is_the_share_of_references_as_high(of_few_hosts, grids, unseen):
    check = of_few_hosts
    found = check.judge(grids.grid(unseen["episode_id"][0])[:150])

    as_high = (check.references >= found.score).sum()
    assert found.p_value == pytest.approx((1 + as_high) / (check.references.size + 1))
    assert found.suspect == (found.p_value <= LEVEL)
    assert (found.check, found.method) == (check.digest, METHOD)


def test_of_many_hosts_each_is_compared_by_a_regression_that_did_not_see_it(check, grids, unseen):
    train = of_hosts(grids, TRAINED)
    names = sorted(TRAINED)
    kept = train.hosts != names[3]
    without = CleanlinessCheck._regression(train, kept)

    np.testing.assert_allclose(check.weights[3], without.weights)
    own = np.sort(without._scores(train.features[~kept & train.clean]))
    assert set(np.round(check.references[3], 9)) <= set(np.round(own, 9))
    grid = grids.grid(unseen["episode_id"][0])[:150]
    tails = [
        (check.references[k] >= check._scores(deployable_statistics(grid[None]))[k, 0]).mean()
        for k in range(len(names))
    ]
    found = check.judge(grid)
    n = check.references.size
    assert found.p_value == pytest.approx((1 + n * np.mean(tails)) / (n + 1))
    assert (found.check, found.method) == (check.digest, METHOD_BY_HOST)


@pytest.mark.long
def test_hosts_count_alike_however_long_they_were_recorded(check, grids):
    train = of_hosts(grids, TRAINED)
    again = np.flatnonzero(train.clean & (train.hosts == TRAINED[0]))
    rows = np.concatenate([np.arange(train.phases.size), *[again] * 9])
    longer = Stretches(
        train.features[rows],
        train.phases[rows],
        train.first[rows],
        train.episodes[rows],
        train.hosts[rows],
    )

    row = sorted(TRAINED).index(TRAINED[0])
    found = CleanlinessCheck.fit(longer)

    assert found.references.shape == check.references.shape == (10, 50)
    np.testing.assert_allclose(found.references[row], check.references[row], atol=1e-3)


def test_only_guest_and_netflow_are_looked_at(check, grids, unseen):
    grid = grids.grid(unseen["episode_id"][0])[:150].copy()
    said = check.judge(grid)
    grid[:, :17] = 1e3

    assert check.judge(grid) == said == check.judge(grid[:, 17:])


def test_a_longer_baseline_is_judged_by_the_mean_of_its_stretches(check, grids, unseen):
    grid = grids.grid(unseen["episode_id"][0])[:400]

    scores = [check.judge(grid[:150]).score, check.judge(grid[150:300]).score]

    assert check.judge(grid).score == pytest.approx(np.mean(scores))


@pytest.mark.parametrize("n_hosts", [1, 6])
def test_a_channel_left_out_of_the_fit_has_no_say_and_no_baseline_alone(n_hosts):
    rng, n = np.random.default_rng(3), 60
    features = rng.normal(size=(n, 145)).astype(np.float32)
    names = np.array([f"episode-{k}" for k in range(n)])
    phases, place = np.arange(n) % 3 % 2 * INFECTING, channel_names(Variant.REALISTIC).index(HIDDEN)
    features[phases == INFECTING, place * 5] += 3
    hosts = np.array([f"host-{k % n_hosts}" for k in range(n)])
    train = Stretches(features, phases, np.ones(n, dtype=bool), names, hosts)
    grid = rng.normal(size=(150, 29)).astype(np.float32)
    other, alone = grid.copy(), np.full_like(grid, np.nan)
    other[:, place] += 5
    alone[:, place] = grid[:, place]
    with_it, without = (CleanlinessCheck.fit(t) for t in (train, train.without([HIDDEN])))

    assert with_it.judge(other).score > with_it.judge(grid).score + 0.3
    assert without.judge(other) == without.judge(grid)
    weights = np.atleast_2d(without.weights)
    assert not weights[:, place * 5 : place * 5 + 5].any()
    assert weights.any(axis=0).sum() == 140
    assert (without.by_host, without.judge(alone)) == (n_hosts == 6, None)


def test_nothing_recorded_is_nothing_judged(check):
    assert check.judge(np.full((150, 46), np.nan, np.float32)) is None


@pytest.mark.parametrize(
    ("shape", "problem"), [((149, 46), "150 steps, got 149"), ((150, 17), r"\(1, 150, 17\)")]
)
def test_what_is_no_baseline_is_refused(check, shape, problem):
    with pytest.raises(CalibrationError, match=problem):
        check.judge(np.zeros(shape, np.float32))


@pytest.mark.parametrize("kind", ["check", "of_few_hosts"])
def test_a_check_is_restored_from_its_arrays(kind, request, grids, unseen):
    check = request.getfixturevalue(kind)
    restored = CleanlinessCheck.from_arrays(check.arrays())
    grid = grids.grid(unseen["episode_id"][0])[:150]

    assert restored.digest == check.digest
    assert restored.judge(grid) == check.judge(grid)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"weights": np.zeros((10, 144))}, r"weights must be finite and have shape \(10, 145\)"),
        ({"weights": np.zeros(145)}, r"centre must be finite and have shape \(145,\)"),
        ({"bias": np.array([np.nan])}, "bias must be finite"),
        ({"scale": np.zeros((10, 145))}, "scale must be positive"),
        ({"references": np.linspace(1, 0, 500).reshape(10, 50)}, "references ascending"),
        ({"references": np.zeros((10, 49))}, r"references must .* shape \(10, 50\)"),
    ],
)
def test_damaged_arrays_are_refused_by_name(check, change, problem):
    with pytest.raises(CalibrationError, match=problem):
        CleanlinessCheck.from_arrays({**check.arrays(), **change})


def test_a_missing_array_is_refused_by_name(check):
    arrays = check.arrays()
    del arrays["bias"]

    with pytest.raises(CalibrationError, match=r"wanted \[.*'bias'"):
        CleanlinessCheck.from_arrays(arrays)


def test_the_same_stretches_give_the_same_check_in_any_order(check, grids):
    train = of_hosts(grids, TRAINED)
    back = np.arange(train.phases.size)[::-1]
    turned = Stretches(
        train.features[back],
        train.phases[back],
        train.first[back],
        train.episodes[back],
        train.hosts[back],
    )

    np.testing.assert_allclose(CleanlinessCheck.fit(turned).references, check.references, atol=1e-3)


def test_too_few_clean_baselines_make_no_check(grids):
    few = grids.frame["episode_id"].to_list()[: MIN_REFERENCES - 1]
    train = stretches_of(grids, few)

    assert f"{MIN_REFERENCES - 1} episodes begin with a clean stretch" in lacking(train)
    with pytest.raises(CalibrationError, match="a cleanliness check takes 19 and 2"):
        CleanlinessCheck.fit(train)


def test_stretches_lie_within_one_phase():
    t0, second = 10**18, 10**9
    labels = [t0, t0 + 20 * second, t0 + 36 * second]
    phases = ["clean", "armed", "infecting"]

    found = list(pure_stretches(600, labels, phases, t0))

    assert found == [(0, CLEAN), (50, CLEAN), (200, ARMED), (400, INFECTING), (450, INFECTING)]
    for start, phase in found:
        inside = [
            p for t, p in zip(labels, phases, strict=True)
            if t0 + start * STEP_NS < t < t0 + (start + 150) * STEP_NS
        ]  # fmt: skip
        assert set(inside) <= {str(PHASES[phase])}


def test_statistics_are_those_of_the_deployable_channels(grids):
    grid = grids.grid(grids.frame["episode_id"][0])[:150]

    both = deployable_statistics(grid[None]), deployable_statistics(grid[None, :, 17:])

    np.testing.assert_array_equal(*both)
    assert both[0].shape == (1, 145)
