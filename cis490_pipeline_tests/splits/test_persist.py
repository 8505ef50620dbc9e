import json

import pytest

from cis490_pipeline.domain import Recipe
from cis490_pipeline.errors import SplitError
from cis490_pipeline.splits.persist import load_or_make, load_split
from cis490_pipeline_tests.splits.corpora import corpus, sides_of

HOSTS = ("elliott-thinkpad", "garage-pi")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "host" / "split_v1.json"


def test_a_stored_split_is_read_back_unchanged(path):
    made = load_or_make(path, Recipe.HOST, corpus(HOSTS))

    assert load_or_make(path, Recipe.HOST, corpus(HOSTS)).to_dict() == made.to_dict()
    assert load_split(path).to_dict() == made.to_dict()


def test_nothing_new_leaves_the_file_untouched(path):
    load_or_make(path, Recipe.HOST, corpus(HOSTS))
    before = path.stat().st_mtime_ns

    load_or_make(path, Recipe.HOST, corpus(HOSTS))

    assert path.stat().st_mtime_ns == before


@pytest.mark.parametrize("recipe", list(Recipe))
def test_stored_episodes_stay_and_new_ones_are_placed(path, recipe):
    episodes = corpus(HOSTS)
    first = load_or_make(path, recipe, episodes.head(50))

    later = load_or_make(path, recipe, episodes)

    assert sides_of(first).items() <= sides_of(later).items()
    assert len(later.assignment) == len(episodes)


def test_the_cuts_of_a_time_split_are_frozen(path):
    episodes = corpus(HOSTS)
    first = load_or_make(path, Recipe.TIME, episodes.head(50))

    later = load_or_make(path, Recipe.TIME, episodes)

    assert later.parameters == first.parameters
    assert {sides_of(later)[i] for i in episodes["episode_id"][50:]} == {"test"}


def test_an_episode_that_comes_back_finds_its_old_side(path):
    episodes = corpus(HOSTS)
    first = load_or_make(path, Recipe.SAMPLE, episodes)
    away = load_or_make(path, Recipe.SAMPLE, episodes[1:])

    back = load_or_make(path, Recipe.SAMPLE, episodes)

    assert episodes["episode_id"][0] not in sides_of(away)
    assert back.digest == first.digest


def test_other_parameters_are_refused_rather_than_ignored(path):
    load_or_make(path, Recipe.HOST, corpus(HOSTS), seed=0)

    with pytest.raises(SplitError, match="seed was 0, is 1"):
        load_or_make(path, Recipe.HOST, corpus(HOSTS), seed=1)


def test_validation_hosts_that_are_no_longer_named_are_refused_rather_than_kept(path):
    episodes = corpus((*HOSTS, "lab-nuc"))
    rule = {"train_hosts": HOSTS[:1], "val_hosts": HOSTS[1:]}
    made = load_or_make(path, Recipe.HOST, episodes, **rule)

    assert load_or_make(path, Recipe.HOST, episodes, **rule).to_dict() == made.to_dict()
    with pytest.raises(SplitError, match=r"val_hosts was \['garage-pi'\], is \[\]"):
        load_or_make(path, Recipe.HOST, episodes, train_hosts=HOSTS[:1])


def test_a_split_of_another_recipe_is_refused(path):
    load_or_make(path, Recipe.HOST, corpus(HOSTS))

    with pytest.raises(SplitError, match="holds a host split, a time split was asked for"):
        load_or_make(path, Recipe.TIME, corpus(HOSTS))


def test_an_edited_side_is_refused(path):
    load_or_make(path, Recipe.HOST, corpus(HOSTS))
    saved = json.loads(path.read_text())
    saved["assignment"][0]["side"] = "test"
    path.write_text(json.dumps(saved))

    with pytest.raises(SplitError, match="its sides were edited"):
        load_split(path)


@pytest.mark.parametrize("content", ["{}", "[]", '{"recipe": "moon"}', "not json"])
def test_a_file_that_holds_no_split_is_refused_by_name(path, content):
    path.parent.mkdir()
    path.write_text(content)

    with pytest.raises(SplitError, match=r"split_v1\.json: "):
        load_split(path)


def test_a_missing_split_says_how_to_make_it(path):
    with pytest.raises(SplitError, match="make it first"):
        load_split(path)
