"""A whole made-up leaderboard for the tests of what draws it."""

from cis490_pipeline.evaluation.leaderboard import compare_models, leaderboard
from cis490_pipeline.evaluation.probes.learn import majority_probe, position_probe
from cis490_pipeline.evaluation.report import evaluate
from cis490_pipeline_tests.evaluation.made_up import SPLIT, predictions, windows

MODELS = {
    ("gbt", "realistic"): 2.0,
    ("gbt", "oracle"): 2.5,
    ("cnn", "realistic"): 1.0,
    ("cnn", "oracle"): 3.0,
    ("mlp", "realistic"): 1.5,
}


def board_of(keys=None, split=SPLIT, models=MODELS, n_resamples=100, name="{}_{}"):
    """Return (leaderboard, reports of models, reports of probes)."""
    keys = windows() if keys is None else keys
    frames, reports = {}, []
    for seed, ((architecture, variant), skill) in enumerate(models.items()):
        model = name.format(architecture, variant)
        frames[model] = predictions(keys, skill=skill, seed=seed)
        reports.append(
            evaluate(
                frames[model],
                model=model,
                architecture=architecture,
                variant=variant,
                split=split,
                checkpoint_digest=f"{seed}" * 64,
                seed=0,
                n_resamples=n_resamples,
            )
        )
    frames["probe_majority"] = majority_probe(keys, keys)
    frames["probe_position"] = position_probe(keys, keys, seed=0)
    probes = [
        evaluate(
            frames[probe],
            model=probe,
            architecture=None,
            variant=None,
            split=split,
            checkpoint_digest=None,
            seed=0,
            kind="probe",
            n_resamples=n_resamples,
        )
        for probe in ("probe_majority", "probe_position")
    ]
    paired = compare_models(reports, probes, frames, seed=0, n_resamples=n_resamples)
    return leaderboard(reports, probes, paired, schema="f" * 64), reports, probes
