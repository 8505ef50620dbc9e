"""Digests made right again after a change, as an author of every file would."""

import hashlib
import json

import msgspec
from safetensors.numpy import load as load_tensors

from cis490_pipeline.checkpoints.checkpoint import arrays_digest, meaning_digest
from cis490_pipeline.checkpoints.manifest import Manifest
from cis490_pipeline.features.calibration.calibrator import Calibrator
from cis490_pipeline.features.calibration.cleanliness import CleanlinessCheck
from cis490_pipeline.storage.files import digest


def edit_json(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def seal(folder):
    """Make the seal of a checkpoint's manifest that of what it says."""
    edit_json(
        folder / "checkpoint.json",
        lambda m: m.update(seal=digest({k: v for k, v in m.items() if k != "seal"})),
    )


def replace_member(folder, name, content):
    """Put in another file, and a manifest that vouches for it."""
    (folder / name).write_bytes(content)
    record = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    edit_json(folder / "checkpoint.json", lambda manifest: manifest["files"].update({name: record}))
    seal(folder)


def make_consistent(folder):
    """Make every digest of a checkpoint's manifest that of the files that lie there."""
    path = folder / "checkpoint.json"
    manifest = json.loads(path.read_text())
    for name in [*manifest["files"]]:
        if (folder / name).is_file():
            content = (folder / name).read_bytes()
            found = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            manifest["files"][name] = found
    _calibration(folder, manifest)
    if (folder / "weights.safetensors").is_file():
        weights = load_tensors((folder / "weights.safetensors").read_bytes())
        manifest["weights_digest"] = arrays_digest(weights).hex()
    booster = manifest["files"].get("model.ubj", {"sha256": hashlib.sha256(b"").hexdigest()})
    names = ("architecture", "architecture_version", "classes", "config", "format_version")
    meaning = {name: manifest[name] for name in (*names, "variant")}
    meaning |= {
        "calibrator": manifest["calibrator"]["digest"],
        "cleanliness": manifest["calibrator"]["cleanliness"],
        "feature_schema": manifest["feature_schema_hash"],
    }
    manifest["digest"] = meaning_digest(
        meaning,
        booster=bytes.fromhex(booster["sha256"]),
        weights=bytes.fromhex(manifest["weights_digest"]),
    )
    path.write_text(json.dumps(manifest))
    seal(folder)


def _calibration(folder, manifest):
    """Compute the digests of calibrator and check without the bounds they are refused by."""
    arrays = load_tensors((folder / "calibration.safetensors").read_bytes())
    told = manifest["calibrator"]
    loose = object.__new__(Calibrator)
    loose.__dict__.update(
        {name: arrays[name] for name in ("floor", "z_mean", "z_sd") if name in arrays},
        kind=manifest["input_kind"],
        variant=manifest["variant"],
        **{name: told[name] for name in ("mode", "gauges", "scaling")},
        quarantine=tuple(told.get("quarantine", ())),
    )
    told["digest"] = loose.digest
    check = {name.split(".")[1]: a for name, a in arrays.items() if name.startswith("cleanliness.")}
    if check:
        of_check = object.__new__(CleanlinessCheck)
        of_check.__dict__.update(check)
        told["cleanliness"] = of_check.digest
    else:
        told["cleanliness"] = None


def rebundle(folder):
    """Make every digest of a bundle's manifest that of the files that lie there."""
    path = folder / "bundle.json"
    manifest = json.loads(path.read_text())
    for name in [*manifest["files"]]:
        file = folder / name
        if file.is_file():
            content = file.read_bytes()
            found = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            manifest["files"][name] = found
    for name in manifest["models"]:
        checkpoint = folder / "models" / name / "checkpoint.json"
        try:
            manifest["models"][name] = msgspec.json.decode(
                checkpoint.read_bytes(), type=Manifest
            ).digest
        except (OSError, ValueError, RecursionError):
            continue
    manifest["digest"] = digest({k: v for k, v in manifest.items() if k != "digest"})
    path.write_text(json.dumps(manifest))
