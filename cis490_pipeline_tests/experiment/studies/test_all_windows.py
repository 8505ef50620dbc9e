import polars as pl
import pytest

from cis490_pipeline.errors import SplitError
from cis490_pipeline.experiment.studies.all_windows import Arrangement
from cis490_pipeline.experiment.studies.drawing import drawn, folds, train_and_val


def corpus(n_by_profile, unscorable=()):
    rows = [
        (f"{profile or 'clean'}-{i}", profile, f"{profile}-{i}" not in unscorable)
        for profile, n in n_by_profile.items()
        for i in range(n)
    ]
    return pl.DataFrame(rows, schema=["episode_id", "profile", "scorable"], orient="row")


def test_an_episode_on_two_sides_of_an_arrangement_is_refused_by_name():
    with pytest.raises(SplitError, match="by hand: episode b is in train and in scored"):
        Arrangement(name="by hand", train=("a", "b"), val=("c",), scored=("b",))


def test_a_fifth_of_each_profile_validates_and_one_at_least():
    episodes = corpus({"flood": 10, "io-walk": 2, "exfil": 1, None: 5})

    train, val = train_and_val(episodes)

    assert sorted([*train, *val]) == sorted(episodes["episode_id"])
    by_profile = {name.rpartition("-")[0]: 0 for name in val}
    for name in val:
        by_profile[name.rpartition("-")[0]] += 1
    assert by_profile == {"flood": 2, "io-walk": 1, "clean": 1}


def test_what_may_not_be_scored_never_validates():
    _, val = train_and_val(corpus({"flood": 2}, unscorable=["flood-0"]))

    assert val == ("flood-1",)


def test_folds_hold_each_episode_once_and_spread_each_profile():
    episodes = corpus({"flood": 10, "io-walk": 5, None: 3})

    dealt = folds(episodes, 5)

    assert sorted(sum(dealt, ())) == sorted(episodes["episode_id"])
    for fold in dealt:
        assert sum(name.startswith("flood") for name in fold) == 2
        assert sum(name.startswith("io-walk") for name in fold) == 1


def test_a_draw_is_the_same_in_any_order():
    names = [f"e{i}" for i in range(50)]

    assert drawn(names, 20) == drawn(reversed(names), 20)
    assert len(drawn(names, 20)) == 20
