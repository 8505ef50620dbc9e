"""The stage that opens the held-out side for one checkpoint, once, and reports on it."""

from functools import cached_property
from pathlib import Path

import polars as pl

from cis490_pipeline.checkpoints.alarm_file import write_alarm
from cis490_pipeline.checkpoints.processor import processor
from cis490_pipeline.domain import Side
from cis490_pipeline.evaluation.predictions import PREDICTIONS_VERSION, scored_windows
from cis490_pipeline.evaluation.report import EVALUATION_VERSION, evaluate
from cis490_pipeline.evaluation.schema.alarm import Times
from cis490_pipeline.evaluation.schema.report import EvalReport
from cis490_pipeline.evaluation.scoring import score_sides, stored_predictions
from cis490_pipeline.experiment.pipeline.alarm_inputs import alarm_inputs
from cis490_pipeline.experiment.pipeline.corpus import GridShards
from cis490_pipeline.experiment.pipeline.dataset import ValidationIndex
from cis490_pipeline.experiment.pipeline.host_baseline import HostBaselineReport
from cis490_pipeline.experiment.pipeline.training import ModelStage, TrainedCheckpoint
from cis490_pipeline.experiment.stages.record import Metrics
from cis490_pipeline.experiment.stages.stage import Stage, StageOutput, digests
from cis490_pipeline.features.datasets.load import CalibratedWindows, load_windows
from cis490_pipeline.features.grids.store import GridStore
from cis490_pipeline.storage.files import digest, read_object, write_json
from cis490_pipeline.storage.scope_lock import lock_of


class EvaluationReport(ModelStage):
    """``model/<architecture>/<variant>/eval_report``: what one checkpoint is worth."""

    artefact = "eval_report"

    @cached_property
    def checkpoint(self) -> TrainedCheckpoint:
        """The stage that trains it."""
        of = (self.workspace, self.recipe, self.architecture, self.variant)
        return TrainedCheckpoint(*of, seed=self.seed)

    def above(self) -> tuple[Stage, ...]:
        """Return the split and the checkpoint."""
        return (ValidationIndex(self.workspace, self.recipe), self.checkpoint)

    def inputs(self) -> dict[str, str] | None:
        """Return digests of the checkpoint, the split, and the way numbers are computed."""
        made = digests(
            checkpoint=self.checkpoint, split=ValidationIndex(self.workspace, self.recipe)
        )
        named = dict(self.workspace.settings.calibrate_on)
        return made and {
            **made,
            "evaluation": EVALUATION_VERSION,
            "predictions": PREDICTIONS_VERSION,
            "seed": str(self.seed),
            # Only where given, so that reports without records are as they were.
            **({"calibrate_on": digest(named)} if named else {}),
        }

    @property
    def report_path(self) -> Path:
        """Where the report lies."""
        return self.workspace.paths.report_json(self.recipe, self.full_name)

    def predictions(self, *, include_baseline: bool = False) -> pl.DataFrame:
        """Return the checkpoint's predictions of val and test, made only if none are stored.

        Parameters
        ----------
        include_baseline : also of the windows that touch the baseline, which are never scored.
        """
        inputs = self.inputs()
        assert inputs is not None, "predictions need a checkpoint and a split"
        frame = stored_predictions(
            self.checkpoint.folder,
            self._predict,
            checkpoint_digest=inputs["checkpoint"],
            split_digest=inputs["split"],
            lock=lambda: lock_of(self.record_path.parent),
        )
        return frame if include_baseline else scored_windows(frame)

    def _predict(self) -> pl.DataFrame:
        from cis490_pipeline.models.registry import restore

        checkpoint = self.checkpoint.load()
        dataset = self.checkpoint.dataset.open()

        def opened(side: Side, *, touches: bool) -> CalibratedWindows:
            return load_windows(
                dataset,
                side,
                checkpoint.calibrator,
                include_baseline=touches,
                only=pl.col("baseline") == touches,
            )

        return score_sides(
            restore(checkpoint).predict_proba,
            opened,
            grids=GridStore(GridShards(self.workspace).folder),
            cleanliness=checkpoint.cleanliness,
            progress=self.workspace.progress,
            task=f"score {self.name}",
        )

    def make(self) -> StageOutput:
        """Score the predictions and write the report."""
        everything = self.predictions(include_baseline=True)
        split = ValidationIndex(self.workspace, self.recipe).placed()
        record = self.checkpoint.record()
        assert record is not None, "a report needs a checkpoint"
        stored = read_object(self.checkpoint.folder / "predictions.json", "n_test_openings")
        scored = scored_windows(everything)
        inputs = alarm_inputs(self.workspace, self.recipe, self.checkpoint.dataset.open())
        report = evaluate(
            scored,
            model=self.name,
            architecture=str(self.architecture),
            variant=str(self.variant),
            split=split.summary(),
            checkpoint_digest=record.digest,
            seed=self.seed,
            alarm=inputs,
            baseline_windows=everything.filter(pl.col("touches_baseline")),
            extra={
                "n_test_openings": stored["n_test_openings"],
                "training": record.numbers,
                "processor": processor(),
            },
        )
        detection = report["detection"]
        assert detection is not None, "an alarm was fitted"
        alarm, further = detection, tuple[Path, ...]()
        if self.workspace.settings.calibrate_on:
            by_host = self._by_host(scored)
            account = report["host_baseline"] = by_host.make(inputs, seed=self.seed)
            if account["detection"] is not None:
                alarm, further = account["detection"], by_host.files
        write_json(self.report_path, report)
        folder = self.checkpoint.folder
        alarm_path = write_alarm(folder, alarm["alarm"]["settings"])
        predictions = (folder / "predictions.parquet", folder / "predictions.json")
        files = (self.report_path, *predictions, *further, alarm_path)
        return StageOutput(digest(report), files, _numbers(report, detection["time_to_detection"]))

    def _by_host(self, scored: pl.DataFrame) -> HostBaselineReport:
        """Return the account of the checkpoint with each host's own record."""
        inputs = self.inputs()
        assert inputs is not None, "predictions need a checkpoint and a split"
        return HostBaselineReport(
            stage=self.checkpoint,
            own=scored,
            checkpoint_digest=inputs["checkpoint"],
            split_digest=inputs["split"],
            lock=lambda: lock_of(self.record_path.parent),
        )


def _numbers(report: EvalReport, times: Times) -> Metrics:
    """Select what the record shows of a report: no number without its interval."""
    baselines = report["baselines"]["test"]
    return {
        "macro_f1": report["macro_f1"],
        "ci_low": report["ci_low"],
        "ci_high": report["ci_high"],
        "n_episodes": report["n_episodes"],
        "n_windows": report["n_windows"],
        "accuracy": report["accuracy"],
        "val_macro_f1": report["val"]["macro_f1"],
        "selected_on": report["selected_on"],
        "untested_profiles": _named(report["untested_profiles"]),
        "n_test_openings": report["n_test_openings"],
        "suspect_baselines": baselines["n_suspect"],
        "checked_baselines": baselines["n_checked"],
        "share_detected": times["share_detected"],
        "share_low": times["share_low"],
        "share_high": times["share_high"],
        "n_infected": times["n_infected"],
        "median_s": times["median_s"],
        "median_low_s": times["median_low_s"],
        "median_high_s": times["median_high_s"],
        **{f"f1_{row['phase']}": row["f1"] for row in report["per_class"]},
    }


def _named(untested: dict[str, list[str]]) -> str:
    return "; ".join(f"{host}: {', '.join(names)}" for host, names in sorted(untested.items()))
