"""Blocking checks, one run per partition: what must stop a recipe before a model is trained on it.

A check that failed in an earlier run does not stop a later, separate run; the training stage
therefore asserts digests and "no leak" itself, on reading.
"""

import warnings
from collections.abc import Callable

import dagster as dg

from cis490_pipeline.domain import Architecture, Recipe, Variant
from cis490_pipeline.errors import PipelineError
from cis490_pipeline.experiment import verify
from cis490_pipeline.experiment.verify import Finding
from cis490_pipeline.experiment.workspace import Workspace
from cis490_pipeline.models.catalogue import MODELS
from cis490_pipeline.orchestration.dataset import feature_shards, tensor_shards, validation_index
from cis490_pipeline.orchestration.models import checkpoint_key
from cis490_pipeline.orchestration.partitions import recipes

Verify = Callable[[Workspace, Recipe], Finding]


def _result(finding: Finding) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        passed=finding.passed,
        description=finding.text,
        metadata=dict(finding.numbers),
    )


def _check(
    asset: dg.AssetsDefinition | dg.AssetKey, name: str, doc: str, run: Verify
) -> dg.AssetChecksDefinition:
    def check(
        context: dg.AssetCheckExecutionContext, workspace: dg.ResourceParam[Workspace]
    ) -> dg.AssetCheckResult:
        try:
            finding = run(workspace, Recipe(context.partition_key))
        except PipelineError as fault:
            # What cannot be read does not hold either; a step that fails would hide the check.
            finding = Finding(False, str(fault))
        return _result(finding)

    with warnings.catch_warnings():
        # Dagster calls partitioned checks a preview; our tests hold what we need of them.
        warnings.simplefilter("ignore", dg.PreviewWarning)
        decorate = dg.asset_check(
            asset=asset, name=name, blocking=True, partitions_def=recipes, description=doc
        )
        return decorate(check)


def _golden(architecture: Architecture, variant: Variant) -> dg.AssetChecksDefinition:
    return _check(
        checkpoint_key(architecture, variant),
        "reproduces_golden_vectors",
        "The saved checkpoint, loaded again, gives the probabilities it was saved with.",
        lambda workspace, recipe: verify.golden_vectors(workspace, recipe, architecture, variant),
    )


checks = [
    _check(
        validation_index,
        "profiles_are_stratified",
        "Every profile is on the sides its recipe promises, or is named as untested.",
        verify.stratification,
    ),
    _check(
        validation_index,
        "sides_are_disjoint",
        "No episode, content, sample (sample split) or host (host split) is on two sides.",
        verify.disjoint_sides,
    ),
    _check(
        feature_shards,
        "files_match_digests",
        "Every file has the digest its manifest gives.",
        verify.feature_digests,
    ),
    _check(
        feature_shards,
        "schema_is_this_codes",
        "The stored feature schema is the one this code builds.",
        verify.feature_schema_current,
    ),
    _check(
        feature_shards,
        "features_are_finite",
        "No feature is infinite; unknown ones are counted by source.",
        verify.finite_features,
    ),
    _check(
        tensor_shards,
        "files_match_digests",
        "Every file has the digest its manifest gives.",
        verify.tensor_digests,
    ),
    _check(
        tensor_shards,
        "no_window_on_two_sides",
        "No two windows on different sides overlap in an episode.",
        verify.disjoint_windows,
    ),
    _check(
        tensor_shards,
        "every_phase_is_trained",
        "Every phase has training and validation windows.",
        verify.class_presence,
    ),
    *(_golden(*model) for model in MODELS),
]
