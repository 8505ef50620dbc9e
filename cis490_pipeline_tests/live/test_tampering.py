"""Every change to a checkpoint or a bundle is refused by whatever loads it, never by a signal."""

import shutil
from hashlib import sha256

import pytest

from cis490_pipeline.checkpoints.alarm_file import write_alarm
from cis490_pipeline.checkpoints.saving import save_checkpoint
from cis490_pipeline.domain import Variant
from cis490_pipeline.live.bundle import write_bundle
from cis490_pipeline.storage.files import write_json
from cis490_pipeline_tests.checkpoints.consistent import edit_json, make_consistent, rebundle
from cis490_pipeline_tests.checkpoints.made_up import make_cleanliness
from cis490_pipeline_tests.live.loaders import ended
from cis490_pipeline_tests.live.made_up import make_alarm
from cis490_pipeline_tests.live.tampering import (
    ALARMS_CONSISTENT,
    ALARMS_SIMPLE,
    CONSISTENT,
    SIMPLE,
    WEIGHTS_ONLY,
    put,
)
from cis490_pipeline_tests.models.conftest import fitted_model
from cis490_pipeline_tests.models.nets.test_packing import packed

MODEL = "gbt_realistic"
BOTH = {**SIMPLE, **CONSISTENT}
ALARMS = {**ALARMS_SIMPLE, **ALARMS_CONSISTENT}
CASES = [
    *((name, loader) for name in BOTH for loader in ("whole", "live", "bundle")),
    *((name, loader) for name in ALARMS for loader in ("live", "bundle")),
    *((name, "whole") for name in WEIGHTS_ONLY),
]


def trained(folder):
    """A model of trees, saved and evaluated."""
    model = fitted_model("gbt", Variant.REALISTIC)
    score = model.history_["best_val_macro_f1"]
    checkpoint = packed(
        model, with_onnx=True, cleanliness=make_cleanliness(), metrics={"val_macro_f1": score}
    )
    save_checkpoint(folder, checkpoint)
    write_json(folder / "predictions.json", {"checkpoint_digest": checkpoint.digest})
    write_alarm(folder, make_alarm().settings.to_dict())
    return folder


def tampered(source, out, changes, *, bundled):
    """A copy of a checkpoint or a bundle for each change, by the folder."""
    folders = {}
    for k, (name, change) in enumerate(changes.items()):
        root = out / str(k)
        shutil.copytree(source, root)
        inner = root / "models" / MODEL if bundled else root
        change(inner)
        if name in CONSISTENT or name in WEIGHTS_ONLY:
            make_consistent(inner)
        if bundled and name not in ALARMS_SIMPLE:
            rebundle(root)
        if not bundled and name in ALARMS_CONSISTENT:
            found = sha256((inner / "alarm.json").read_bytes()).hexdigest()
            edit_json(inner / "predictions.json", put("alarm_sha256", value=found))
        folders[root] = name
    return folders


@pytest.fixture(scope="module")
def ends(tmp_path_factory):
    """How loading each tampered folder ended, by name and loader."""
    source = trained(tmp_path_factory.mktemp("trained") / MODEL)
    bundle = tmp_path_factory.mktemp("bundle") / "device"
    write_bundle(bundle, [source])
    found = {}
    for loader, folder, changes in (
        ("whole", source, {**BOTH, **WEIGHTS_ONLY}),
        ("live", source, {**BOTH, **ALARMS}),
        ("bundle", bundle, {**BOTH, **ALARMS}),
    ):
        wanted = {"untouched": lambda folder: None, **changes}
        out = tmp_path_factory.mktemp(loader)
        folders = tampered(folder, out, wanted, bundled=loader == "bundle")
        for root, (code, message) in ended(loader, folders).items():
            found[folders[root], loader] = (code, message.replace(str(root), "…"))
    return found


@pytest.mark.parametrize(("name", "loader"), CASES)
def test_what_was_tampered_with_is_refused(ends, name, loader):
    code, message = ends[name, loader]

    assert (code, message.split(":")[0]) in ((2, "CheckpointError"), (2, "SchemaMismatchError"))


@pytest.mark.parametrize("loader", ["whole", "live", "bundle"])
def test_what_was_not_is_loaded(ends, loader):
    assert ends["untouched", loader] == (0, "loaded")
