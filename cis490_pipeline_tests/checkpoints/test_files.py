import json
import os
import shutil
import signal
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from cis490_pipeline.checkpoints.describe import describe
from cis490_pipeline.checkpoints.loading import load_checkpoint
from cis490_pipeline.checkpoints.manifest import MEMBER_LIMITS
from cis490_pipeline.checkpoints.members import read_manifest
from cis490_pipeline.checkpoints.saving import save_checkpoint
from cis490_pipeline.domain import Variant
from cis490_pipeline.errors import CheckpointError, SchemaMismatchError
from cis490_pipeline.features.channels import channel_names
from cis490_pipeline.features.schema import FeatureSchema, feature_schema
from cis490_pipeline_tests.checkpoints.consistent import edit_json, replace_member, seal
from cis490_pipeline_tests.checkpoints.made_up import make_calibrator, make_checkpoint

SCHEMA = feature_schema("summary", Variant.REALISTIC)


@pytest.fixture
def folder(tmp_path):
    save_checkpoint(tmp_path / "mlp_realistic", make_checkpoint())
    return tmp_path / "mlp_realistic"


def edit_manifest(folder, change):
    """Change what the manifest says, and its seal with it."""
    edit_json(folder / "checkpoint.json", change)
    seal(folder)


CALIBRATOR = {
    "mode": "episode_baseline",
    "gauges": "recorded",
    "scaling": "train",
    "digest": make_calibrator().digest,
    "cleanliness": None,
}

BEFORE = "05da5aa6f639108dd992362a69fb8e3979669fc64f1ccde511353f554d16c429"
"""Digest that the calibrator had before there was a quarantine."""


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_a_checkpoint_comes_back_as_it_was(folder):
    wanted, found = make_checkpoint(), load_checkpoint(folder, SCHEMA)

    arrays = ("weights", "golden", "calibrator", "cleanliness", "schema")
    for name in (field.name for field in fields(wanted) if field.name not in arrays):
        assert getattr(found, name) == getattr(wanted, name), name
    for name, array in wanted.weights.items():
        np.testing.assert_array_equal(found.weights[name], array, strict=True)
    np.testing.assert_array_equal(found.golden.inputs, wanted.golden.inputs, strict=True)
    np.testing.assert_array_equal(found.golden.probabilities, wanted.golden.probabilities)
    assert found.calibrator.digest == wanted.calibrator.digest
    assert found.calibrator.gauges == wanted.calibrator.gauges
    assert found.cleanliness.digest == wanted.cleanliness.digest
    assert found.schema.hash == wanted.schema.hash
    assert found.digest == wanted.digest == read_manifest(folder).digest


def test_a_checkpoint_from_before_processors_were_recorded_is_still_read(folder):
    edit_manifest(folder, lambda manifest: manifest.pop("computed_on"))

    assert load_checkpoint(folder, SCHEMA).computed_on == {}


def test_a_checkpoint_says_which_channels_it_does_not_see_where_there_are_any(tmp_path, folder):
    hidden = ("guest.load_1m", "guest.top_rss_bytes")
    blind = make_checkpoint(calibrator=make_calibrator(quarantine=hidden))
    save_checkpoint(tmp_path / "blind", blind)

    found = load_checkpoint(tmp_path / "blind", SCHEMA)

    assert found.calibrator.quarantine == hidden
    assert found.digest == blind.digest != load_checkpoint(folder, SCHEMA).digest
    assert describe(tmp_path / "blind")["quarantine"] == list(hidden)
    assert "quarantine" not in describe(folder)
    # As it was before there was a quarantine, to the byte: older code reads it, and older files.
    assert (
        CALIBRATOR.keys()
        == json.loads((folder / "checkpoint.json").read_text())["calibrator"].keys()
    )
    assert make_calibrator().digest == BEFORE


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (["guest.load_9m"], "quarantine"),
        (["proc.rss_bytes"], "quarantine"),
        (["guest.top_rss_bytes", "guest.load_1m"], "in their order"),
        (list(channel_names(Variant.REALISTIC)), "not all"),
        (["guest.load_1m"], "digest"),
    ],
    ids=["no channel", "none of the variant", "order", "all", "another digest"],
)
def test_a_changed_quarantine_is_refused(folder, names, problem):
    edit_manifest(folder, lambda manifest: manifest["calibrator"].update(quarantine=names))

    with pytest.raises(CheckpointError, match=problem):
        load_checkpoint(folder, SCHEMA)


def test_trees_have_a_booster_and_no_weights(tmp_path):
    trees = make_checkpoint(architecture="gbt", weights={}, booster=b"trees", onnx=b"")
    save_checkpoint(tmp_path / "gbt", trees)

    found = load_checkpoint(tmp_path / "gbt", SCHEMA)

    assert (found.booster, dict(found.weights), found.onnx) == (b"trees", {}, b"")
    assert sorted(contents(tmp_path / "gbt")) == [
        "calibration.safetensors",
        "checkpoint.json",
        "golden.safetensors",
        "model.ubj",
    ]


def test_the_same_checkpoint_is_the_same_bytes(folder, tmp_path):
    save_checkpoint(tmp_path / "again", make_checkpoint())

    assert contents(tmp_path / "again") == contents(folder)


def test_saving_again_replaces_the_checkpoint_and_keeps_what_is_not_its_own(folder):
    (folder / "predictions.json").write_text("{}")
    (folder / "seed-1").mkdir()
    (folder / "seed-1" / "checkpoint.json").write_text("{}")

    save_checkpoint(folder, make_checkpoint(seed=4, onnx=b""))

    assert load_checkpoint(folder, SCHEMA).seed == 4
    assert not (folder / "model.onnx").exists()
    assert (folder / "predictions.json").read_text() == "{}"
    assert (folder / "seed-1" / "checkpoint.json").read_text() == "{}"
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_a_save_that_fails_leaves_the_old_checkpoint(folder, monkeypatch):
    before = contents(folder)

    def fail(path, value):
        raise OSError("disk full")

    monkeypatch.setattr("cis490_pipeline.checkpoints.saving.write_json", fail)
    with pytest.raises(OSError, match="disk full"):
        save_checkpoint(folder, make_checkpoint(seed=4))

    assert contents(folder) == before
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


@pytest.mark.parametrize("n_moves", range(6))
def test_a_killed_save_loses_neither_a_checkpoint_nor_what_lies_beside_it(
    folder, monkeypatch, n_moves
):
    (folder / "predictions.json").write_text('{"openings": 3}')
    (folder / "seed-1").mkdir()
    (folder / "seed-1" / "checkpoint.json").write_text("{}")
    old, new = make_checkpoint(), make_checkpoint(seed=4, onnx=b"")

    child = os.fork()
    if child == 0:
        left = [n_moves]
        rename, rmtree = Path.rename, shutil.rmtree

        def count(do):
            def counted(*args, **kwargs):
                if not left[0]:
                    os.kill(os.getpid(), signal.SIGKILL)
                left[0] -= 1
                return do(*args, **kwargs)

            return counted

        monkeypatch.setattr(Path, "rename", count(rename))
        monkeypatch.setattr(shutil, "rmtree", count(rmtree))
        save_checkpoint(folder, new)
        os._exit(0)
    _, status = os.waitpid(child, 0)

    assert os.WIFSIGNALED(status) == (n_moves < 6)
    if folder.exists():
        assert load_checkpoint(folder, SCHEMA).seed in (old.seed, new.seed)
    save_checkpoint(folder, new)
    assert load_checkpoint(folder, SCHEMA).seed == 4
    assert (folder / "predictions.json").read_text() == '{"openings": 3}'
    assert (folder / "seed-1" / "checkpoint.json").read_text() == "{}"
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_weights_that_are_not_finite_are_not_saved(tmp_path):
    weights = {"head.weight": np.array([1, np.nan, np.inf], dtype=np.float32)}

    with pytest.raises(CheckpointError, match=r"2 of 3 values of tensor 'head.weight'"):
        save_checkpoint(tmp_path / "model", make_checkpoint(weights=weights))

    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_of_nothing_is_not_saved(tmp_path):
    with pytest.raises(CheckpointError, match="either weights or a booster"):
        save_checkpoint(tmp_path / "model", make_checkpoint(weights={}))


@pytest.mark.parametrize(
    "name",
    [
        "checkpoint.json",
        "weights.safetensors",
        "calibration.safetensors",
        "golden.safetensors",
        "model.onnx",
    ],
)
def test_a_missing_file_is_refused_by_name(folder, name):
    (folder / name).unlink()

    with pytest.raises(CheckpointError, match=f"{name}: no such file"):
        load_checkpoint(folder, SCHEMA)


@pytest.mark.parametrize(
    "name",
    ["weights.safetensors", "calibration.safetensors", "golden.safetensors", "model.onnx"],
)
def test_a_changed_byte_is_refused(folder, name):
    content = bytearray((folder / name).read_bytes())
    content[-1] ^= 1
    (folder / name).write_bytes(content)

    with pytest.raises(CheckpointError, match=f"{name}: sha256 is "):
        load_checkpoint(folder, SCHEMA)


def test_a_link_is_not_followed(folder):
    weights = folder / "weights.safetensors"
    weights.rename(folder.parent / "elsewhere")
    weights.symlink_to(folder.parent / "elsewhere")

    with pytest.raises(CheckpointError, match=r"weights\.safetensors: no such file"):
        load_checkpoint(folder, SCHEMA)


def test_a_file_larger_than_any_checkpoint_needs_is_refused(folder, monkeypatch):
    monkeypatch.setitem(MEMBER_LIMITS, "weights.safetensors", 10)

    with pytest.raises(CheckpointError, match=r"weights\.safetensors: larger than 10 bytes"):
        load_checkpoint(folder, SCHEMA)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"format_version": 1}, r"format_version is 1, this code reads 3"),
        ({"classes": ["clean", "infected"]}, "predicts the classes clean, infected, this code"),
        ({"architecture": "svm"}, "architecture is 'svm', this code knows cnn, gbt"),
        ({"input_kind": "tensor"}, "model of tensor windows, but its feature schema is of"),
        ({"seed": "three"}, r"Expected `int`, got `str` - at `\$.seed`"),
        ({"pickle": "x"}, "unknown field `pickle`"),
        ({"config": {"widths": [8]}}, "the content has digest"),
        ({"digest": "0" * 64}, "the content has digest"),
        ({"feature_schema_hash": "0" * 64}, "feature_schema has digest"),
        (
            {"calibrator": CALIBRATOR | {"mode": "none"}},
            "mode is 'none', this code knows episode_baseline",
        ),
        (
            {"calibrator": CALIBRATOR | {"gauges": "detrended"}},
            "gauges is 'detrended', this code knows centred, dropped, recorded; train the model",
        ),
        ({"calibrator": CALIBRATOR}, r"the cleanliness check has digest \w+, .* says None"),
        ({"calibrator": CALIBRATOR | {"gauges": "centred"}}, "safetensors: digest"),
        ({"calibrator": CALIBRATOR | {"scaling": "device"}}, "safetensors: digest"),
        ({"calibrator": CALIBRATOR | {"scaling": "none"}}, "scaling is 'none', this code knows"),
        ({"files": {}}, "lists the files none; wanted"),
    ],
)
def test_a_manifest_that_does_not_hold_is_refused(folder, change, problem):
    edit_manifest(folder, lambda manifest: manifest.update(change))

    with pytest.raises(CheckpointError, match=problem):
        load_checkpoint(folder, SCHEMA)


def test_a_manifest_cannot_name_files_elsewhere(folder):
    record = {"bytes": 1, "sha256": "0" * 64}
    edit_manifest(folder, lambda m: m["files"].update({"../../secret": record}))

    with pytest.raises(CheckpointError, match=r"lists the files \.\./\.\./secret, "):
        load_checkpoint(folder, SCHEMA)


def test_a_manifest_that_is_no_json_is_refused(folder):
    (folder / "checkpoint.json").write_text("{")

    with pytest.raises(CheckpointError, match=r"checkpoint\.json: Input data was truncated"):
        load_checkpoint(folder, SCHEMA)


def test_other_features_are_refused_with_the_first_difference(folder):
    now = SCHEMA.to_dict()
    now["channels"] = [dict(channel) for channel in now["channels"]]
    now["channels"][3]["kind"] = "gauge"

    with pytest.raises(SchemaMismatchError, match=r"channel 3 .*commit 0123456"):
        load_checkpoint(folder, FeatureSchema.from_dict(now))


def test_a_checkpoint_can_be_looked_at_without_a_schema(folder):
    assert load_checkpoint(folder, None).name == "mlp_realistic"


def test_weights_that_are_not_finite_are_refused(folder):
    arrays = load_tensors((folder / "weights.safetensors").read_bytes())
    arrays["head.weight"] = np.full((5, 4), np.nan, dtype=np.float32)
    replace_member(folder, "weights.safetensors", save_tensors(arrays))

    with pytest.raises(CheckpointError, match=r"20 of 20 values of tensor 'head.weight'"):
        load_checkpoint(folder, SCHEMA)


def test_other_weights_are_refused_even_if_the_manifest_vouches_for_their_file(folder):
    arrays = load_tensors((folder / "weights.safetensors").read_bytes())
    replace_member(
        folder,
        "weights.safetensors",
        save_tensors({n: np.asarray(a + 1) for n, a in arrays.items()}),
    )

    with pytest.raises(CheckpointError, match="the content has digest"):
        load_checkpoint(folder, SCHEMA)


@pytest.mark.parametrize("name", ["weights.safetensors", "calibration.safetensors"])
def test_a_file_that_is_no_safetensors_is_refused(folder, name):
    replace_member(folder, name, b"\x80\x04pickled")

    with pytest.raises(CheckpointError, match=f"{name}: no readable safetensors file"):
        load_checkpoint(folder, SCHEMA)


def test_another_calibration_is_refused(folder):
    other = {name: array + 1 for name, array in make_calibrator().arrays().items()}
    replace_member(folder, "calibration.safetensors", save_tensors(other))

    with pytest.raises(CheckpointError, match=r"calibration\.safetensors: digest"):
        load_checkpoint(folder, SCHEMA)


def test_another_cleanliness_check_is_another_checkpoint_and_refused(folder):
    path = folder / "calibration.safetensors"
    arrays = load_tensors(path.read_bytes())
    arrays["cleanliness.bias"] = arrays["cleanliness.bias"] + 1
    replace_member(folder, path.name, save_tensors(arrays))

    with pytest.raises(CheckpointError, match=r"the cleanliness check has digest"):
        load_checkpoint(folder, SCHEMA)


def test_a_checkpoint_without_a_cleanliness_check_comes_back_without_one(tmp_path):
    bare = make_checkpoint(cleanliness=None)
    save_checkpoint(tmp_path / "bare", bare)

    assert load_checkpoint(tmp_path / "bare", SCHEMA).cleanliness is None
    assert bare.digest != make_checkpoint().digest


@pytest.mark.parametrize(
    ("arrays", "problem"),
    [
        ({"inputs": np.zeros((2, 3), np.float32)}, r"holds \['inputs'\]"),
        (
            {"inputs": np.zeros((2, 3), np.float32), "probabilities": np.zeros((2, 4))},
            r"probabilities float64 \(2, 4\); wanted float32",
        ),
    ],
)
def test_golden_windows_of_another_form_are_refused(folder, arrays, problem):
    replace_member(folder, "golden.safetensors", save_tensors(arrays))

    with pytest.raises(CheckpointError, match=problem):
        load_checkpoint(folder, SCHEMA)


def test_the_digest_is_of_the_meaning_and_not_of_the_circumstances():
    wanted = make_checkpoint().digest

    same = {"commit": None, "versions": {}, "history": {}, "metrics": {}, "onnx": b"", "threads": 2}
    same |= {"computed_on": {}}
    assert make_checkpoint(**same).digest == wanted
    weights = make_checkpoint().weights
    reordered = dict(reversed(weights.items()))
    assert make_checkpoint(weights=reordered).digest == wanted


@pytest.mark.parametrize(
    "change",
    [
        {"architecture_version": 2},
        {"config": {"widths": [4, 5], "peak_lr": 2e-3}},
        {"weights": {"head.weight": np.zeros((5, 4), np.float32)}},
        {"weights": {"head.weight": np.zeros((4, 5), np.float32)}},
        {"weights": {}, "booster": b"trees"},
        {"classes": ("a", "b")},
    ],
)
def test_the_digest_changes_with_what_decides_a_prediction(change):
    assert make_checkpoint(**change).digest != make_checkpoint().digest
