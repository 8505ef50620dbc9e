import dagster as dg

from cis490_pipeline.compute import DaskCompute
from cis490_pipeline.experiment.workspace import Workspace
from cis490_pipeline.orchestration.resources import workspace_resource


def test_what_is_set_for_one_run_wins_and_the_run_is_named_to_the_cluster(tmp_path, monkeypatch):
    monkeypatch.setenv("CIS490_DATA", str(tmp_path))
    monkeypatch.setenv("CIS490_SEED", "1")
    seen = []

    @dg.asset
    def probe(workspace: dg.ResourceParam[Workspace]) -> None:
        seen.append(workspace)

    settings = {"seed": 2, "dask_address": "tls://scheduler.lab:8786"}
    result = dg.materialize(
        [probe], resources={"workspace": workspace_resource.configured(settings)}
    )

    (workspace,) = seen
    assert (workspace.settings.data, workspace.settings.seed) == (tmp_path, 2)
    assert isinstance(workspace.compute, DaskCompute)
    assert workspace.compute.cluster.address == "tls://scheduler.lab:8786"
    assert workspace.compute.cluster.run == workspace.run == result.run_id
