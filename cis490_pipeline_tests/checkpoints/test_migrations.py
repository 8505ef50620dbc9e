import copy

import pytest

from cis490_pipeline.checkpoints import migrations
from cis490_pipeline.checkpoints.loading import load_checkpoint
from cis490_pipeline.checkpoints.migrations import Migration, migrations_between
from cis490_pipeline.checkpoints.saving import save_checkpoint
from cis490_pipeline.domain import Variant
from cis490_pipeline.errors import SchemaMismatchError
from cis490_pipeline.features.schema import FeatureSchema, feature_schema
from cis490_pipeline_tests.checkpoints.made_up import make_checkpoint

SCHEMA = feature_schema("summary", Variant.REALISTIC)
FIRST = SCHEMA.meaning["channels"][0]["name"]
RENAMED = Migration(name="renamed", channels={FIRST: {"name": "guest.other"}})
REWORDED = Migration(name="reworded", channels={"guest.other": {"unit": "1/min"}})


def changed(schema, **words):
    meaning = copy.deepcopy(dict(schema.meaning))
    meaning["channels"][0].update(words)
    return FeatureSchema(schema.kind, schema.variant, meaning)


def test_a_renamed_channel_is_the_same_channel():
    current = changed(SCHEMA, name="guest.other")

    assert migrations_between(SCHEMA, current, [RENAMED]) == ("renamed",)


def test_migrations_follow_one_another():
    current = changed(SCHEMA, name="guest.other", unit="1/min")

    assert migrations_between(SCHEMA, current, [RENAMED, REWORDED]) == ("renamed", "reworded")


def test_the_same_schema_needs_none():
    assert migrations_between(SCHEMA, SCHEMA, [RENAMED]) == ()
    assert migrations_between(SCHEMA, SCHEMA) == ()


@pytest.mark.parametrize(
    "difference",
    [{"name": "guest.other", "kind": "gauge"}, {"name": "guest.third"}, {"unit": "1/min"}],
    ids=["meaning", "name", "word"],
)
def test_what_no_migration_makes_the_same_is_another_schema(difference):
    assert migrations_between(SCHEMA, changed(SCHEMA, **difference), [RENAMED]) is None


def test_other_formulas_under_the_new_name_are_another_schema():
    current = changed(SCHEMA, name="guest.other")
    current.meaning["golden"] = "0" * 64

    assert migrations_between(SCHEMA, current, [RENAMED]) is None


def test_a_change_of_meaning_is_no_migration():
    with pytest.raises(ValueError, match="changes kind of guest"):
        Migration(name="bad", channels={"guest.forks": {"kind": "gauge"}})


def test_a_checkpoint_is_let_in_under_a_migration_and_says_so(tmp_path, monkeypatch):
    save_checkpoint(tmp_path / "model", make_checkpoint())
    current = changed(SCHEMA, name="guest.other")
    with pytest.raises(SchemaMismatchError, match=rf"channel 0 was '{FIRST}', is 'guest.other'"):
        load_checkpoint(tmp_path / "model", current)

    monkeypatch.setattr(migrations, "MIGRATIONS", (RENAMED,))
    checkpoint = load_checkpoint(tmp_path / "model", current)

    assert checkpoint.migrated == ("renamed",)
    assert checkpoint.digest == load_checkpoint(tmp_path / "model", SCHEMA).digest
