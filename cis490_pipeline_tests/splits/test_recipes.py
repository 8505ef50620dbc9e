import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cis490_pipeline.domain import Recipe, Side
from cis490_pipeline.errors import SplitError
from cis490_pipeline.splits.recipes import (
    held_out_host,
    held_out_sample,
    held_out_time,
    make_split,
)
from cis490_pipeline.splits.split import Split
from cis490_pipeline_tests.splits.corpora import PROFILES, corpus, marked, sides_of

HOSTS = ("elliott-thinkpad", "garage-pi", "lab-nuc")
RECIPES = list(Recipe)


def on(split, episodes, side):
    ids = split.assignment.filter(pl.col("side") == side)["episode_id"]
    return episodes.filter(pl.col("episode_id").is_in(ids.implode()))


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_episode_is_on_exactly_one_side(recipe):
    episodes = corpus(HOSTS)

    split = make_split(recipe, episodes)

    masks = split.masks(episodes["episode_id"].to_numpy())
    assert np.array_equal(sum(mask.astype(int) for mask in masks.values()), np.ones(len(episodes)))


@pytest.mark.parametrize("recipe", RECIPES)
def test_sides_do_not_depend_on_the_order_of_the_rows(recipe):
    episodes = corpus(HOSTS)

    shuffled = make_split(recipe, episodes.sample(fraction=1, shuffle=True, seed=3))

    assert shuffled.digest == make_split(recipe, episodes).digest


@pytest.mark.parametrize("recipe", RECIPES)
@settings(max_examples=15, deadline=None)
@given(n_first=st.integers(70, 130), seed=st.integers(0, 5))
def test_no_episode_moves_when_others_are_added(recipe, n_first, seed):
    episodes = corpus(HOSTS, n_samples=6, n_runs=2)
    first = make_split(recipe, episodes.head(n_first), seed=seed)

    later = make_split(recipe, episodes, seed=seed, stored=first)

    assert sides_of(first).items() <= sides_of(later).items()


@pytest.mark.parametrize("recipe", RECIPES)
def test_unscorable_episodes_are_never_on_a_scored_side(recipe):
    episodes = marked(corpus(HOSTS), "scorable", range(0, 100, 7))

    split = make_split(recipe, episodes)

    assert on(split, episodes, Side.VAL)["scorable"].all()
    assert on(split, episodes, Side.TEST)["scorable"].all()
    assert not on(split, episodes, Side.TRAIN)["scorable"].all()
    assert "unscorable: label_unjustified or clock_skew" in split.excluded


@pytest.mark.parametrize("recipe", RECIPES)
def test_an_episode_without_a_clean_baseline_is_excluded_by_that_name(recipe):
    episodes = marked(corpus(HOSTS), "baseline_clean", [0, 50, 90])

    split = make_split(recipe, episodes)

    assert split.excluded == {"no_clean_baseline": 3}


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_fault_found_later_excludes_and_moves_nothing_else(recipe):
    episodes = corpus(HOSTS)
    first = make_split(recipe, episodes)
    tested = on(first, episodes, Side.TEST)["episode_id"][0]
    position = episodes["episode_id"].to_list().index(tested)

    later = make_split(recipe, marked(episodes, "scorable", [position]), stored=first)

    changed = {i for i, side in sides_of(later).items() if sides_of(first)[i] != side}
    assert changed == {tested}
    assert sides_of(later)[tested] == "excluded"


def test_held_out_host_tests_every_other_host_and_only_them():
    episodes = corpus(HOSTS)

    split = held_out_host(episodes)

    assert set(on(split, episodes, Side.TEST)["host_id"]) == {"garage-pi", "lab-nuc"}
    assert split.shared["hosts"] == []
    assert split.selected_on == "same host"


def test_held_out_host_validates_a_fifth_of_each_profile_of_the_training_host():
    episodes = corpus(HOSTS, n_samples=5, n_runs=2, n_clean=5)

    validated = on(held_out_host(episodes), episodes, Side.VAL)

    counts = dict(validated.group_by(pl.col("profile").fill_null("clean-only")).len().iter_rows())
    assert counts == {**dict.fromkeys(PROFILES, 2), "clean-only": 1}


def test_held_out_host_validates_on_a_whole_host_where_three_may_train():
    episodes = corpus((*HOSTS, "k-gamingcom"))

    split = held_out_host(episodes, train_hosts=HOSTS)

    val_hosts = set(on(split, episodes, Side.VAL)["host_id"])
    assert val_hosts == {split.parameters["val_host"]}
    assert val_hosts.isdisjoint(set(on(split, episodes, Side.TRAIN)["host_id"]))
    assert split.selected_on == f"held-out host {split.parameters['val_host']}"


def test_held_out_host_validates_on_the_hosts_named_for_it():
    episodes = corpus((*HOSTS, "k-gamingcom", "attic-box"))

    split = held_out_host(episodes, train_hosts=HOSTS[:2], val_hosts=("k-gamingcom", "attic-box"))

    assert set(on(split, episodes, Side.TRAIN)["host_id"]) == set(HOSTS[:2])
    assert set(on(split, episodes, Side.VAL)["host_id"]) == {"k-gamingcom", "attic-box"}
    assert set(on(split, episodes, Side.TEST)["host_id"]) == {HOSTS[2]}
    assert split.selected_on == "held-out hosts attic-box, k-gamingcom"
    assert split.parameters["val_hosts"] == ["attic-box", "k-gamingcom"]
    assert "val_hosts" not in held_out_host(episodes, train_hosts=HOSTS).parameters


def test_untested_profiles_are_named_by_host():
    episodes = corpus(HOSTS).filter(
        (pl.col("host_id") != "lab-nuc") | (pl.col("profile").fill_null("") != "io-walk")
    )

    assert held_out_host(episodes).untested_profiles == {"lab-nuc": ["io-walk"]}


@settings(max_examples=20, deadline=None)
@given(n_samples=st.integers(3, 9), seed=st.integers(0, 99), fraction=st.floats(0.1, 0.45))
def test_held_out_sample_puts_every_profile_on_every_side_and_no_sample_on_two(
    n_samples, seed, fraction
):
    episodes = corpus(HOSTS[:2], n_samples=n_samples)

    split = held_out_sample(episodes, seed=seed, test_fraction=fraction, val_fraction=fraction)

    parts = [on(split, episodes, side) for side in (Side.TRAIN, Side.VAL, Side.TEST)]
    for part in parts:
        assert set(part["profile"]) == {*PROFILES, None}
    samples = [set(part["sample_name"].drop_nulls()) for part in parts]
    assert sum(map(len, samples)) == len(set.union(*samples)) == 3 * n_samples
    assert split.shared["samples"] == []


def test_held_out_sample_excludes_a_profile_with_too_few_samples_by_name():
    episodes = corpus(HOSTS).filter(
        ~pl.col("sample_name").fill_null("").is_in(["io-walk-0", "io-walk-1", "io-walk-2"])
    )

    split = held_out_sample(episodes)

    n_episodes = episodes.filter(pl.col("profile") == "io-walk").height
    assert split.excluded == {"too few samples: io-walk": n_episodes}
    assert split.parameters["excluded_profiles"] == ["io-walk"]


def test_held_out_sample_keeps_a_sample_of_two_profiles_in_one_piece():
    episodes = corpus(HOSTS).with_columns(
        sample_name=pl.when(pl.col("sample_name") == "scan-and-dial-0")
        .then(pl.lit("cpu-saturate-0"))
        .otherwise("sample_name")
    )

    split = held_out_sample(episodes)

    shared = episodes.filter(pl.col("sample_name") == "cpu-saturate-0")
    assert len({sides_of(split)[i] for i in shared["episode_id"]}) == 1


def test_held_out_sample_refuses_when_a_profile_lost_a_side():
    episodes = corpus(HOSTS)
    first = held_out_sample(episodes)
    tested = on(first, episodes, Side.TEST).filter(pl.col("profile") == "io-walk")["sample_name"]
    left = episodes.filter(~pl.col("sample_name").is_in(tested.implode()).fill_null(False))

    with pytest.raises(SplitError, match="io-walk is missing on test"):
        held_out_sample(left, stored=first)


def test_held_out_time_tests_only_what_came_after_all_training():
    episodes = corpus(HOSTS)

    split = held_out_time(episodes)

    received = [on(split, episodes, s)["received_at_wall"] for s in ("train", "val", "test")]
    assert received[0].max() < received[1].min() <= received[1].max() < received[2].min()
    assert len(received[2]) == round(0.2 * len(episodes))


def test_held_out_time_compares_instants_and_not_text():
    times = [f"2026-01-01T00:00:0{i}Z" for i in range(9)] + ["2026-01-01T00:00:08.5Z"]
    episodes = corpus(HOSTS).head(10).with_columns(received_at_wall=pl.Series(times))

    split = held_out_time(episodes, test_fraction=0.1)

    assert on(split, episodes, Side.TEST)["received_at_wall"].to_list() == [times[-1]]


def test_held_out_time_keeps_episodes_of_one_instant_together():
    times = ["2026-01-01T00:00:00Z"] * 4 + ["2026-01-02T00:00:00Z"] * 3
    times += ["2026-01-03T00:00:00Z"] * 5
    episodes = corpus(HOSTS).head(12).with_columns(received_at_wall=pl.Series(times))

    split = held_out_time(episodes)

    assert split.counts == {"train": 4, "val": 3, "test": 5, "excluded": 0}


@pytest.mark.parametrize(
    ("recipe", "parameters", "message"),
    [
        (Recipe.HOST, {"train_hosts": ("lab-x1",)}, r"no usable episode .*\['lab-x1'\]"),
        (Recipe.HOST, {"train_hosts": HOSTS}, "none is left to test"),
        (
            Recipe.HOST,
            {"train_hosts": HOSTS[:1], "val_hosts": HOSTS[1:]},
            "has a side, none is left to test",
        ),
        (
            Recipe.HOST,
            {"train_hosts": HOSTS[:1], "val_hosts": HOSTS[:1]},
            "in train_hosts and in val_hosts",
        ),
        (Recipe.HOST, {"val_hosts": ("lab-x1",)}, r"of the validation hosts \['lab-x1'\]"),
        (Recipe.HOST, {"val_fraction": float("nan")}, "val_fraction must lie between 0 and 1"),
        (Recipe.SAMPLE, {"test_fraction": 1.0}, "test_fraction must lie between 0 and 1"),
        (Recipe.TIME, {"train_hosts": HOSTS}, r"no parameters \['train_hosts'\]"),
    ],
)
def test_impossible_parameters_are_refused(recipe, parameters, message):
    with pytest.raises(SplitError, match=message):
        make_split(recipe, corpus(HOSTS), **parameters)


def test_episodes_received_at_one_instant_cannot_be_split_by_time():
    episodes = corpus(HOSTS).with_columns(received_at_wall=pl.lit("2026-01-01T00:00:00Z"))

    with pytest.raises(SplitError, match="received at one instant"):
        held_out_time(episodes)


def test_a_time_that_is_none_is_refused():
    episodes = marked(corpus(HOSTS), "received_at_wall", [3], "yesterday")

    with pytest.raises(SplitError, match="'yesterday' is not ISO 8601"):
        held_out_time(episodes)


def test_an_episode_that_is_there_twice_is_refused():
    episodes = corpus(HOSTS)

    with pytest.raises(SplitError, match=r"2 episodes share 1 ids: .*01EP000000, .*01EP000000"):
        held_out_host(pl.concat([episodes, episodes.head(1)]))


def test_absent_columns_are_named():
    with pytest.raises(SplitError, match=r"\['baseline_clean', 'scorable'\]"):
        held_out_host(corpus(HOSTS).drop("scorable", "baseline_clean"))


def test_masks_place_windows_by_their_episode():
    split = held_out_host(corpus(HOSTS))
    ids = np.repeat(split.assignment["episode_id"].to_numpy(), 3)[::-1]

    masks = split.masks(ids)

    sides = sides_of(split)
    assert [sides[i] == "test" for i in ids] == masks[Side.TEST].tolist()


def test_masks_refuse_an_episode_the_split_does_not_hold():
    with pytest.raises(SplitError, match="1 of the episodes, first elsewhere"):
        held_out_host(corpus(HOSTS)).masks(["01EP000000", "elsewhere"])


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_split_survives_its_json(recipe):
    split = make_split(recipe, marked(corpus(HOSTS), "baseline_clean", [2]))

    restored = Split.from_dict(split.to_dict())

    assert restored.to_dict() == split.to_dict()
