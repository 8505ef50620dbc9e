from pathlib import Path

from cis490_pipeline.config import Settings
from cis490_pipeline.domain import Recipe
from cis490_pipeline.experiment.order import corpus_stages, recipe_stages
from cis490_pipeline.experiment.stages.workspace import Workspace

# Of the design, §3.
KEYS = [
    "corpus/validation_sweep",
    "corpus/grid_shards",
    "dataset/validation_index",
    "dataset/feature_shards",
    "dataset/tensor_shards",
    *(
        f"model/{architecture}/{variant}/{what}"
        for what in ("checkpoint", "eval_report")
        for architecture in ("gbt", "mlp", "cnn", "gru", "lstm", "transformer")
        for variant in ("realistic", "oracle")
    ),
    "model/ablation",
    "model/robustness",
    "model/leaderboard",
]


def test_stages_are_the_designs_assets(tmp_path: Path) -> None:
    workspace = Workspace(Settings(data=tmp_path))
    stages = (*corpus_stages(workspace), *recipe_stages(workspace, Recipe.HOST))

    assert sorted(stage.key for stage in stages) == sorted(KEYS)


def test_no_stage_comes_before_what_it_reads(tmp_path: Path) -> None:
    stages = recipe_stages(Workspace(Settings(data=tmp_path)), Recipe.HOST)
    keys = [stage.key for stage in stages]

    assert all(
        keys.index(key) < keys.index(stage.key) for stage in stages for key in stage.upstream
    )


def test_each_recipe_keeps_its_own_records(tmp_path: Path) -> None:
    workspace = Workspace(Settings(data=tmp_path))
    paths = [stage.record_path for recipe in Recipe for stage in recipe_stages(workspace, recipe)]

    assert len(set(paths)) == len(paths)
