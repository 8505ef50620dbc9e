"""What recorded controls show of the recorder, read from a store's archives on demand."""

from collections.abc import Collection

from cis490_pipeline.domain import EpisodeRef, Recipe
from cis490_pipeline.errors import StoreError
from cis490_pipeline.evaluation.probes.control_steps import control_steps
from cis490_pipeline.evaluation.schema.controls import ControlsReport
from cis490_pipeline.experiment.pipeline.recording_blocks import predict_blocks
from cis490_pipeline.experiment.pipeline.recordings import measure, notes_of
from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline.experiment.tools.control_scores import stored_control_scores
from cis490_pipeline.store.receiver_index import StoreIndex


def controls_report(
    workspace: Workspace, hosts: Collection[str] | None = None, recipe: Recipe = Recipe.HOST
) -> ControlsReport:
    """Find what of the recorder shows in the episodes of some hosts.

    Parameters
    ----------
    hosts : by default the hosts of the train and val sides where the settings name both, so that no
        test host is looked at; else all.
    recipe : whose models' stored predictions are scored, if there are any.

    Returns
    -------
    Which channels step at the shams of controls; how well the block of the recording is predicted
    from clean windows, before and after they are taken relative to their baseline; and how models
    score against the phases that the controls would have had.

    Raises
    ------
    StoreError
        If the store has no episode of these hosts.
    EvaluationError
        If stored predictions are damaged.
    """
    settings = workspace.settings
    index = workspace.store.read_index()
    refs = _chosen(workspace, index, hosts)
    found = measure(workspace, index, notes_of(workspace, index, refs))
    chosen = sorted({ref.host_id for ref in refs})
    return {
        "format": "controls",
        "store": workspace.store.name,
        "hosts": chosen,
        "n_episodes": len(refs),
        "unreadable": found.unreadable,
        "steps": control_steps(found.controls, found.infected, seed=settings.seed),
        "blocks": predict_blocks(found.clean, seed=settings.seed),
        "recipe": str(recipe),
        "models": stored_control_scores(
            workspace.paths, recipe, found.shams, chosen, seed=settings.seed
        ),
    }


def _chosen(
    workspace: Workspace, index: StoreIndex, hosts: Collection[str] | None
) -> list[EpisodeRef]:
    settings = workspace.settings
    if hosts is None and settings.val_hosts:
        hosts = (*settings.train_hosts, *settings.val_hosts)
    every = workspace.store.require_episodes(index)
    refs = [ref for ref in every if hosts is None or ref.host_id in hosts]
    if not refs:
        known = ", ".join(sorted({ref.host_id for ref in every}))
        raise StoreError(
            f"{workspace.store.name}: no episode of {', '.join(sorted(hosts or ()))}; its hosts "
            f"are {known}"
        )
    return refs
