import ast
import copy
import json
import types
from pathlib import Path

import numpy as np
import pytest

from cis490_pipeline.domain import Variant
from cis490_pipeline.errors import SchemaMismatchError
from cis490_pipeline.features import golden, history, resample, schema, summary
from cis490_pipeline.features.channels import variant_channels
from cis490_pipeline.features.schema import (
    FeatureSchema,
    feature_schema,
    first_difference,
    grid_schema,
    require_same,
)

KINDS = ("summary", "history", "tensor", "grid")


def changed(kind="summary", variant=Variant.ORACLE):
    saved = copy.deepcopy(feature_schema(kind, variant).to_dict())
    return saved, lambda: first_difference(
        FeatureSchema.from_dict(saved), feature_schema(kind, variant)
    )


@pytest.fixture
def fresh_golden():
    def clear():
        golden.golden_features.cache_clear()
        golden.golden_digest.cache_clear()
        schema.feature_schema.cache_clear()

    clear()
    yield
    clear()


@pytest.mark.parametrize("variant", Variant)
@pytest.mark.parametrize("kind", KINDS)
def test_a_schema_survives_being_written(kind, variant):
    current = feature_schema(kind, variant)

    restored = FeatureSchema.from_dict(json.loads(json.dumps(current.to_dict())))

    assert restored.hash == current.hash
    assert first_difference(restored, current) is None


def test_every_kind_and_variant_has_a_hash_of_its_own():
    hashes = {feature_schema(kind, variant).hash for kind in KINDS for variant in Variant}

    assert len(hashes) == len(KINDS) * len(Variant)


def test_swapped_channels_are_a_difference_named_by_position():
    saved, difference = changed()
    channels = saved["channels"]
    channels[3], channels[4] = channels[4], channels[3]

    assert difference() == "channel 3 was 'proc.ctxt_voluntary', is 'proc.major_faults'"


def test_a_changed_kind_of_channel_is_named():
    saved, difference = changed()
    saved["channels"][3]["kind"] = "gauge"

    assert difference() == "channel 3 (proc.major_faults) kind was 'gauge', is 'counter'"


def test_a_missing_channel_is_named():
    saved, difference = changed()
    del saved["channels"][-1]

    assert difference() == "the number of channels was 45, is 46"


def test_a_changed_window_is_named():
    saved, difference = changed()
    saved["window"]["stride_s"] = 2.5

    assert difference() == "window.stride_s was 2.5, is 5.0"


def test_swapped_statistics_are_a_difference():
    saved, difference = changed()
    saved["statistics"].reverse()

    assert difference().startswith("statistics was ['zero_fraction'")


def test_a_changed_formula_is_a_difference_when_all_names_are_the_same():
    saved, difference = changed()
    saved["golden"] = "0" * 64

    assert difference().startswith("the formulas: the fixed fixture's features had digest '000000")


def test_another_variant_is_a_difference():
    assert (
        first_difference(
            feature_schema("summary", Variant.ORACLE), feature_schema("summary", Variant.REALISTIC)
        )
        == "variant was 'oracle', is 'realistic'"
    )


def test_a_mismatch_says_where_what_and_how_to_go_back():
    saved, _ = changed()
    saved["channels"][3]["kind"] = "gauge"

    with pytest.raises(
        SchemaMismatchError,
        match=r"model: made with .* channel 3 \(proc.major_faults\) kind .* commit abcdef1\.",
    ):
        require_same(
            Path("model"),
            FeatureSchema.from_dict(saved),
            feature_schema("summary", Variant.ORACLE),
            "abcdef1234567",
        )


def test_the_same_schema_is_let_through():
    require_same(Path("model"), grid_schema(), grid_schema(), None)


OLDER_HASHES = {
    "grid": "4a724603c4f3b3e7953f37328462f2327ccabe6bf4d5db4737e89182a12d2e35",
    "summary": "471eaff6d3fc4b36ad10c66a9056fcf12fbae95ef7a6d633e298584089f54239",
    "tensor": "9e877ace81d5c1671e905ef0232f17411253a023ab0d831abc80d22df180fabd",
}
"""Of oracle schemas, as the last code without `READING_RULES` made them."""


@pytest.mark.parametrize("kind", OLDER_HASHES)
def test_what_was_made_before_the_rules_of_readings_is_let_in_where_that_is_asked_for(kind):
    current = feature_schema(kind, Variant.ORACLE)
    meaning = copy.deepcopy(dict(current.meaning))
    for rule in schema.READING_RULES:
        del meaning["grid"][rule]
    meaning["golden"] = schema._OLDER_GOLDEN[kind, "oracle"]
    older = FeatureSchema(kind, Variant.ORACLE, meaning)
    assert older.hash == OLDER_HASHES[kind]

    require_same(Path("model"), older, current, None, older_rules=True)

    with pytest.raises(SchemaMismatchError, match="first difference: grid"):
        require_same(Path("model"), older, current, None)


def test_other_differences_of_older_schemas_are_refused():
    current = feature_schema("grid", Variant.ORACLE)
    meaning = copy.deepcopy(dict(current.meaning))
    for rule in schema.READING_RULES:
        del meaning["grid"][rule]
    meaning["golden"] = schema._OLDER_GOLDEN["grid", "oracle"]
    meaning["grid"]["rate_hz"] = 5
    older = FeatureSchema("grid", Variant.ORACLE, meaning)

    with pytest.raises(SchemaMismatchError, match=r"grid\.rate_hz was 5, is 10"):
        require_same(Path("model"), older, current, None, older_rules=True)


@pytest.mark.parametrize("saved", [{}, {"kind": "summary", "variant": "both"}, {"kind": "image"}])
def test_what_is_no_schema_is_refused(saved):
    with pytest.raises(SchemaMismatchError, match="not a feature schema"):
        FeatureSchema.from_dict(saved)


def test_comments_and_layout_of_the_code_do_not_change_the_hash():
    code = ast.unparse(ast.parse(Path(schema.__file__).read_text(encoding="utf-8")))
    assert "#" not in code
    stripped = types.ModuleType("stripped_schema")

    exec(compile(code, "stripped_schema", "exec"), stripped.__dict__)

    assert (
        stripped.feature_schema("summary", Variant.ORACLE).hash
        == feature_schema("summary", Variant.ORACLE).hash
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("STALE_INTERVALS", 2.0),
        ("MERGE_INTERVALS", 0.0),
        ("_is_recent", lambda t, now, *_: now >= 0),
    ],
)
@pytest.mark.usefixtures("fresh_golden")
def test_a_change_of_a_resampling_rule_changes_the_golden_features(monkeypatch, name, value):
    before = golden.golden_digest("grid", Variant.ORACLE)
    golden.golden_features.cache_clear()
    golden.golden_digest.cache_clear()

    monkeypatch.setattr(resample, name, value)

    assert golden.golden_digest("grid", Variant.ORACLE) != before


@pytest.mark.usefixtures("fresh_golden")
def test_a_change_of_a_statistic_changes_the_golden_features(monkeypatch):
    before = golden.golden_digest("summary", Variant.REALISTIC)
    golden.golden_features.cache_clear()
    golden.golden_digest.cache_clear()

    monkeypatch.setattr(summary, "known_quantile", lambda x, n, q: x[..., -1])

    assert golden.golden_digest("summary", Variant.REALISTIC) != before


def test_a_changed_quantum_is_named():
    saved, difference = changed("history")
    saved["history"]["quanta"]["guest.load_1m"] = 0.1

    assert difference() == "history.quanta.guest.load_1m was 0.1, is 0.05"


@pytest.mark.usefixtures("fresh_golden")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("KNOWN_SHARE", 0.4),
        ("quanta", lambda variant: np.ones(len(variant_channels(variant)))),
        ("_mean_of_known", lambda bins: bins[..., -1]),
    ],
)
def test_a_change_of_the_history_changes_its_golden_features(monkeypatch, name, value):
    before = golden.golden_digest("history", Variant.REALISTIC)
    golden.golden_features.cache_clear()
    golden.golden_digest.cache_clear()

    monkeypatch.setattr(history, name, value)
    if hasattr(golden, name):
        monkeypatch.setattr(golden, name, value)

    assert golden.golden_digest("history", Variant.REALISTIC) != before


HASHES = {
    ("summary", "realistic"): "177aba818079765b49956d8f4d11e66584094a3877b3e9648305307313602dc4",
    ("summary", "oracle"): "6a70fa586765c6786333bda069586d4f6b86bfe94da6ee201a28df61ffb5fbae",
    ("history", "realistic"): "13e03715c87ad5bffd552de1a3651c7ff1d71985263fbef30acbf1b3c2da44e4",
    ("history", "oracle"): "f3b8712b6ea4ec909bce0ce7dd63f124216cfd9b2769aac18ed7c7473756ffe1",
}
"""Of today's schemas: a model trained on one is refused once it changes."""


@pytest.mark.parametrize(("kind", "variant"), HASHES)
def test_the_schemas_of_features_are_those_that_models_were_trained_on(kind, variant):
    assert feature_schema(kind, Variant(variant)).hash == HASHES[kind, variant]


@pytest.mark.parametrize("kind", KINDS)
def test_no_golden_value_lies_where_another_processors_last_bit_would_change_the_digest(kind):
    values = golden.golden_features(kind, Variant.ORACLE)
    units = values[~np.isnan(values)].astype(np.float64) / golden.UNITS[kind]

    to_border = np.abs(units - np.floor(units) - 0.5) * golden.UNITS[kind]

    assert to_border.min() > 1e-5


def test_every_channel_of_the_fixture_is_known_unknown_zero_and_not():
    grid = golden.golden_features("grid", Variant.ORACLE)

    assert np.isnan(grid).any(axis=0).all()
    assert (grid == 0).any(axis=0).all()
    assert (grid > 0).any(axis=0).all()
