import dataclasses
import hashlib
import json
import shutil

import numpy as np
import pytest
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from cis490_pipeline.checkpoints.checkpoint import arrays_digest, meaning_digest
from cis490_pipeline.errors import CheckpointError, SchemaMismatchError
from cis490_pipeline.features.calibration.record import write_record
from cis490_pipeline.live.bundle import load_bundle, write_bundle
from cis490_pipeline.live.loading import load_models
from cis490_pipeline.storage.files import digest
from cis490_pipeline_tests.checkpoints.consistent import edit_json, make_consistent, rebundle
from cis490_pipeline_tests.experiment.runs import FAST, flip_a_byte
from cis490_pipeline_tests.live.tampering import drop
from cis490_pipeline_tests.live.test_engine import make_record


@pytest.fixture(scope="module")
def checkpoints(finished):
    return [finished.paths.checkpoint("host", f"{a}_{v}") for a, v in FAST]


@pytest.fixture(scope="module")
def made(checkpoints, tmp_path_factory):
    """A bundle with a record; only to be read."""
    folder = tmp_path_factory.mktemp("bundle") / "device"
    write_bundle(folder, checkpoints, make_record())
    return folder


@pytest.fixture
def bundle(made, tmp_path):
    return shutil.copytree(made, tmp_path / "device")


def rewritten(folder, change):
    """Change bundle.json and make its digest right again."""
    path = folder / "bundle.json"
    told = json.loads(path.read_text())
    change(told)
    told["digest"] = digest({key: value for key, value in told.items() if key != "digest"})
    path.write_text(json.dumps(told))


def test_a_bundle_holds_models_alarms_and_calibration_but_no_weights(made):
    names = {path.name for path in made.rglob("*") if path.is_file()}

    assert names == {
        "bundle.json",
        "calibration.json",
        "checkpoint.json",
        "calibration.safetensors",
        "golden.safetensors",
        "model.onnx",
        "alarm.json",
    }


def test_a_bundle_is_a_few_megabytes(made):
    assert sum(path.stat().st_size for path in made.rglob("*") if path.is_file()) < 5e6


def test_what_is_loaded_are_the_models_their_alarms_and_the_record(made):
    bundle = load_bundle(made)

    assert [m.name for m in bundle.loaded.models] == sorted(f"{a}_{v}" for a, v in FAST)
    assert all(model.alarm is not None for model in bundle.loaded.models)
    assert bundle.loaded.check is not None
    assert bundle.record.id == make_record().id


def test_bundling_twice_gives_the_same_bytes(checkpoints, made, tmp_path):
    again = tmp_path / "again"
    write_bundle(again, checkpoints, make_record())

    for path in (p for p in made.rglob("*") if p.is_file()):
        assert (again / path.relative_to(made)).read_bytes() == path.read_bytes()


def test_a_bundle_without_a_record_takes_the_first_seconds(checkpoints, tmp_path):
    write_bundle(tmp_path / "b", checkpoints[:1])

    assert load_bundle(tmp_path / "b").record is None


def test_a_bundle_is_replaced_and_anything_else_is_not(checkpoints, bundle, tmp_path):
    write_bundle(bundle, checkpoints[:1])
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()

    assert len(load_bundle(bundle).loaded.models) == 1
    with pytest.raises(CheckpointError, match="exists and is no bundle"):
        write_bundle(tmp_path / "mine", checkpoints[:1])


def test_a_checkpoint_that_cannot_be_run_makes_no_bundle(checkpoints, tmp_path):
    broken = shutil.copytree(checkpoints[0], tmp_path / "gbt_realistic")
    (broken / "model.onnx").unlink()

    with pytest.raises(CheckpointError, match=r"model\.onnx: no such file"):
        write_bundle(tmp_path / "b", [broken])
    assert not (tmp_path / "b").exists()


def test_every_changed_file_is_refused_by_name(bundle):
    for path in sorted(p for p in bundle.rglob("*") if p.is_file() and p.name != "bundle.json"):
        kept = path.read_bytes()
        flip_a_byte(path)
        name = path.relative_to(bundle).as_posix()

        with pytest.raises(CheckpointError, match=rf"{name}: sha256 is .* bundle\.json says"):
            load_bundle(bundle)
        path.write_bytes(kept)
    assert load_bundle(bundle)


def test_the_first_of_several_changed_files_is_named(bundle):
    for name in ("models/mlp_oracle/model.onnx", "models/gbt_oracle/model.onnx"):
        flip_a_byte(bundle / name)

    with pytest.raises(CheckpointError, match=r"gbt_oracle/model\.onnx: sha256"):
        load_bundle(bundle)


def test_a_missing_file_is_named(bundle):
    (bundle / "models" / "gbt_oracle" / "model.onnx").unlink()

    with pytest.raises(CheckpointError, match=r"gbt_oracle/model\.onnx: no such file"):
        load_bundle(bundle)


def test_an_edited_manifest_is_refused(bundle):
    path = bundle / "bundle.json"
    told = json.loads(path.read_text())
    told["models"]["gbt_oracle"] = "0" * 64
    path.write_text(json.dumps(told))

    with pytest.raises(CheckpointError, match="it was changed, copy the bundle again"):
        load_bundle(bundle)


def test_another_models_checkpoint_in_its_place_is_refused(bundle):
    def swap(told):
        told["models"]["gbt_oracle"] = told["models"]["gbt_realistic"]

    rewritten(bundle, swap)

    with pytest.raises(
        CheckpointError, match=r"holds gbt_oracle with digest .*, bundle\.json says"
    ):
        load_bundle(bundle)


def test_other_features_are_refused_with_the_first_difference(bundle):
    def shift(told):
        told["feature_schema"]["grid"]["rate_hz"] = 5

    rewritten(bundle, shift)

    with pytest.raises(SchemaMismatchError, match=r"first difference: grid\.rate_hz was 5, is 10"):
        load_bundle(bundle)


@pytest.mark.parametrize("name", ["../../etc/passwd", "models/gbt_oracle/../../x", "notes.txt"])
def test_a_manifest_that_names_other_files_is_refused(bundle, name):
    def add(told):
        told["files"][name] = {"bytes": 1, "sha256": "0" * 64}

    rewritten(bundle, add)

    with pytest.raises(CheckpointError, match=r"lists .* and does not list"):
        load_bundle(bundle)


def test_a_model_nobody_knows_is_refused(bundle):
    def add(told):
        told["models"]["../gbt_oracle"] = "0" * 64

    rewritten(bundle, add)

    with pytest.raises(CheckpointError, match="which this code does not know"):
        load_bundle(bundle)


def test_another_version_is_refused(bundle):
    def raise_version(told):
        told["version"] = 3

    rewritten(bundle, raise_version)

    with pytest.raises(CheckpointError, match="version 3; this code reads 'live_bundle'"):
        load_bundle(bundle)


def test_a_machine_on_which_the_model_answers_otherwise_is_told(bundle, monkeypatch):
    def off_by_a_hundredth(self, X):
        return np.full((len(X), 5), 0.2)

    monkeypatch.setattr(
        "cis490_pipeline.checkpoints.runnable.OnnxClassifier.predict_proba", off_by_a_hundredth
    )

    with pytest.raises(CheckpointError, match=r"golden windows differ by .* on this machine"):
        load_bundle(bundle)


def test_the_devices_record_may_be_written_by_calibrate(checkpoints, tmp_path):
    write_record(tmp_path / "record.json", make_record())

    write_bundle(tmp_path / "b", checkpoints[:1], make_record())

    assert (tmp_path / "b" / "calibration.json").read_bytes() == (
        tmp_path / "record.json"
    ).read_bytes()


def as_version_1(bundle):
    """Make a bundle what the release before wrote: manifests without seals, alarms of no model."""
    for folder in (bundle / "models").iterdir():
        if (folder / "alarm.json").exists():
            edit_json(folder / "alarm.json", drop("checkpoint_digest"))

        def older(content, folder=folder):
            content.pop("seal")
            content.pop("weights_digest")
            content["format_version"] = 2

        edit_json(folder / "checkpoint.json", older)
        # Its digest had the version in it; without weights only that of trees can be computed.
        if "model.ubj" in json.loads((folder / "checkpoint.json").read_text())["files"]:
            edit_json(
                folder / "checkpoint.json",
                lambda content: content.update(digest=digest_of_trees(content)),
            )
    edit_json(
        bundle / "bundle.json", lambda told: (told.pop("without_alarm"), told.update(version=1))
    )
    rebundle(bundle)
    return bundle


def digest_of_trees(content):
    names = ("architecture", "architecture_version", "classes", "config", "format_version")
    meaning = {name: content[name] for name in (*names, "variant")}
    meaning |= {
        "calibrator": content["calibrator"]["digest"],
        "cleanliness": content["calibrator"]["cleanliness"],
        "feature_schema": content["feature_schema_hash"],
    }
    booster = bytes.fromhex(content["files"]["model.ubj"]["sha256"])
    return meaning_digest(meaning, booster=booster, weights=arrays_digest({}))


def test_a_bundle_of_version_1_is_read_and_says_what_it_does_not_vouch_for(bundle):
    found = load_bundle(as_version_1(bundle))

    assert [m.name for m in found.loaded.models] == sorted(f"{a}_{v}" for a, v in FAST)
    assert all(model.alarm is not None for model in found.loaded.models)
    assert found.loaded.of_bundle.startswith(
        "a bundle of version 1, in which nothing binds an alarm to its model"
    )


def test_the_alarms_in_use_are_said_whatever_the_version(bundle):
    said = [*load_bundle(bundle).loaded.notices()]
    said_of_1 = [*load_bundle(as_version_1(bundle)).loaded.notices()]

    assert said == said_of_1[1:]
    assert said[0].startswith("gbt_oracle alarms from 0.")


def test_an_alarm_dropped_into_a_bundle_without_is_refused_in_both_versions(checkpoints, tmp_path):
    bare = shutil.copytree(checkpoints[0], tmp_path / "gbt_realistic")
    alarm = (bare / "alarm.json").read_bytes()
    (bare / "alarm.json").unlink()
    edit_json(bare / "predictions.json", lambda content: content.pop("alarm_sha256"))
    write_bundle(tmp_path / "b", [bare])
    assert load_bundle(tmp_path / "b").loaded.models[0].alarm is None
    dropped = tmp_path / "b" / "models" / "gbt_realistic" / "alarm.json"
    dropped.write_bytes(alarm)

    with pytest.raises(CheckpointError, match=r"alarm\.json: bundle\.json does not list it"):
        load_bundle(tmp_path / "b")
    with pytest.raises(CheckpointError, match=r"alarm\.json: bundle\.json does not list it"):
        load_bundle(as_version_1(tmp_path / "b"))


def test_an_older_version_written_into_a_bundle_lifts_no_bound_of_an_alarm(bundle):
    edit_json(
        bundle / "bundle.json", lambda told: (told.pop("without_alarm"), told.update(version=1))
    )
    rebundle(bundle)
    alarm = bundle / "models" / "gbt_oracle" / "alarm.json"
    edit_json(alarm, lambda content: content.update(threshold=1 - 1e-9))
    rebundle(bundle)

    with pytest.raises(CheckpointError, match=r"threshold is 0\.999999999, which no fit chooses"):
        load_bundle(bundle)


def test_a_checkpoint_of_format_2_is_refused_outside_a_bundle_of_version_1(bundle):
    old = as_version_1(bundle)
    edit_json(old / "bundle.json", lambda told: told.update(version=2, without_alarm=[]))
    rebundle(old)

    with pytest.raises(CheckpointError, match="format_version is 2, this code reads 3"):
        load_bundle(old)


def test_a_check_of_the_baseline_taken_from_one_model_is_found_by_the_others(bundle):
    folder = bundle / "models" / "gbt_oracle"
    path = folder / "calibration.safetensors"
    arrays = load_tensors(path.read_bytes())
    path.write_bytes(save_tensors({n: a for n, a in arrays.items() if "cleanliness" not in n}))
    make_consistent(folder)
    edit_json(
        folder / "alarm.json",
        lambda content: content.update(
            checkpoint_digest=json.loads((folder / "checkpoint.json").read_text())["digest"]
        ),
    )
    rebundle(bundle)

    with pytest.raises(CheckpointError, match="are of one split, but have different checks"):
        load_bundle(bundle)


def test_another_devices_record_in_its_place_is_refused(bundle):
    other = dataclasses.replace(make_record(), host_id="another-device")
    (bundle / "calibration.json").unlink()
    write_record(bundle / "calibration.json", other)
    rebundle(bundle)

    with pytest.raises(CheckpointError, match=r"calibration\.json: is the record .*, bundle"):
        load_bundle(bundle)


def test_a_record_that_no_entry_names_is_refused(checkpoints, tmp_path):
    write_bundle(tmp_path / "b", checkpoints[:1])
    write_record(tmp_path / "b" / "calibration.json", make_record())

    with pytest.raises(CheckpointError, match=r"calibration\.json: bundle\.json does not list it"):
        load_bundle(tmp_path / "b")


def test_files_that_nothing_reads_may_lie_in_a_bundle(bundle):
    (bundle / "notes.txt").write_text("for the shelf by the door")

    assert load_bundle(bundle).loaded.of_bundle is None


def test_a_model_trained_again_is_not_run_with_its_older_alarm(checkpoints, tmp_path):
    again = shutil.copytree(checkpoints[0], tmp_path / "gbt_realistic")
    edit_json(again / "alarm.json", lambda content: content.update(checkpoint_digest="0" * 64))
    sha = hashlib.sha256((again / "alarm.json").read_bytes()).hexdigest()
    edit_json(again / "predictions.json", lambda content: content.update(alarm_sha256=sha))

    with pytest.raises(CheckpointError, match=r"alarm\.json: is of the model 000000000000, this"):
        load_models([again])
