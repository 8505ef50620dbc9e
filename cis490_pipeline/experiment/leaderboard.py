"""The stage that puts all models of a recipe and the probes side by side, and writes the page."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from cis490_pipeline.checkpoints.processor import processor
from cis490_pipeline.checkpoints.versions import library_versions
from cis490_pipeline.compute.progress import working
from cis490_pipeline.domain import Recipe, Variant
from cis490_pipeline.domain.catalogue import MODELS, ON_REQUEST
from cis490_pipeline.domain.split_summary import SplitSummary
from cis490_pipeline.evaluation.choice import choose, chosen_by, shown_ensembles
from cis490_pipeline.evaluation.ensemble import mean_predictions, variant_of
from cis490_pipeline.evaluation.leaderboard import Supplements, compare_models, leaderboard
from cis490_pipeline.evaluation.probes.learn import PROBES_VERSION
from cis490_pipeline.evaluation.report import EVALUATION_VERSION, evaluate
from cis490_pipeline.evaluation.schema.board import Leaderboard as Board
from cis490_pipeline.evaluation.schema.origin import Provenance
from cis490_pipeline.evaluation.schema.parts import Kind
from cis490_pipeline.evaluation.schema.report import EvalReport
from cis490_pipeline.evaluation.schema.stored import read_form, read_report
from cis490_pipeline.evaluation.uncertainty.seeds import seed_summary
from cis490_pipeline.experiment.pipeline.ablation import CalibrationAblation
from cis490_pipeline.experiment.pipeline.alarm_inputs import alarm_inputs
from cis490_pipeline.experiment.pipeline.controls import recipe_controls
from cis490_pipeline.experiment.pipeline.corpus import ValidationSweep
from cis490_pipeline.experiment.pipeline.dataset import RecipeStage, TensorShards, ValidationIndex
from cis490_pipeline.experiment.pipeline.evaluation import EvaluationReport
from cis490_pipeline.experiment.pipeline.host_identity import host_identity
from cis490_pipeline.experiment.pipeline.probes import RecipeProbes
from cis490_pipeline.experiment.pipeline.robustness import Robustness
from cis490_pipeline.experiment.report_files import checkpoint_summary, draw_report
from cis490_pipeline.experiment.stages.provenance import commit, machine
from cis490_pipeline.experiment.stages.record import Metrics
from cis490_pipeline.experiment.stages.stage import Stage, StageOutput
from cis490_pipeline.experiment.stages.workspace import Workspace
from cis490_pipeline.experiment.studies.study import carried_study
from cis490_pipeline.reporting.html import page_digest
from cis490_pipeline.storage.files import digest, write_json


class Leaderboard(RecipeStage):
    """``model/leaderboard``: every model that has a report, the probes, and ``report.html``.

    No model is trained here. Reports, and the tables of ``model/ablation`` and
    ``model/robustness``, are shown as far as they are up to date; what is not is left out.
    """

    key = "model/leaderboard"

    def __init__(self, workspace: Workspace, recipe: Recipe) -> None:
        super().__init__(workspace, recipe)
        self.ablation = CalibrationAblation(workspace, recipe)
        self.robustness = Robustness(workspace, recipe)

    @property
    def reports(self) -> list[EvaluationReport]:
        """The report stages of the models of a run, and of those evaluated on request."""
        of = (self.workspace, self.recipe)
        further = (EvaluationReport(*of, *model) for model in ON_REQUEST)
        return [
            *(EvaluationReport(*of, *model) for model in MODELS),
            *(stage for stage in further if stage.record() is not None),
        ]

    def above(self) -> tuple[Stage, ...]:
        """Return every report, and what is shown beside them."""
        return (*self.reports, self.ablation, self.robustness)

    def gated_by(self) -> tuple[Stage, ...]:
        """Return what is shown: a report or a table that is out of date is left out."""
        reports = (report for stage in self.evaluated() for report in self.by_seed(stage))
        beside = (self.ablation, self.robustness)
        return (*reports, *(stage for stage in beside if stage.current() is not None))

    def tables_to_make(self) -> tuple[Stage, ...]:
        """Return the stages to make before this one: none if only the page is drawn again."""
        whole = self.current() is not None or self.kept_numbers() is not None
        return () if whole else (self.ablation, self.robustness)

    def evaluated(self) -> list[EvaluationReport]:
        """Return the report stages of this recipe that are up to date."""
        return [stage for stage in self.reports if stage.current() is not None]

    def by_seed(self, stage: EvaluationReport) -> list[EvaluationReport]:
        """Return the reports on one model, up to date, of every seed it was trained with."""
        further = [
            EvaluationReport(
                self.workspace, self.recipe, stage.architecture, stage.variant, seed=seed
            )
            for seed in stage.checkpoint.further_seeds()
        ]
        return [stage, *(report for report in further if report.current() is not None)]

    def inputs(self) -> dict[str, str] | None:
        """Return digests of all that is shown and of the way reports are compared."""
        stages = [report for stage in self.evaluated() for report in self.by_seed(stage)]
        records = {stage.report_path.stem: stage.record() for stage in stages}
        reports = {name: record.digest for name, record in records.items() if record is not None}
        if not reports:
            return None
        tables = {"ablation": self.ablation.current(), "robustness": self.robustness.current()}
        quarantine = self.workspace.settings.quarantine
        return {
            **reports,
            # With the reasons, which the page shows; only where given, as boards of before are.
            **({"quarantine_reasons": digest(dict(quarantine))} if quarantine else {}),
            **{name: record.digest for name, record in tables.items() if record is not None},
            "study": digest(carried_study(self.workspace, self.recipe)),
            "evaluation": EVALUATION_VERSION,
            "probes": PROBES_VERSION,
            "page": page_digest(),
        }

    def make(self) -> StageOutput:
        """Compare, unless only what draws the page has changed; then draw it from the JSON."""
        paths = self.workspace.paths
        numbers_files = self.kept_numbers() or self.compare()
        board = read_form(paths.leaderboard(self.recipe), Board)
        drawn = draw_report(paths, self.recipe)
        kinds = [row["kind"] for row in board["rows"]]
        numbers: Metrics = {
            "best_on_test": board["rows"][0]["model"],
            f"chosen_on_{chosen_by(board, Variant.REALISTIC)}": board["selected"].get("realistic"),
            "models": kinds.count("model"),
            "probes": kinds.count("probe"),
        }
        numbers |= {
            f"macro_f1_{row['model']}": row["macro_f1"]
            for row in board["rows"]
            if row["macro_f1"] is not None
        }
        return StageOutput(digest(board), (*numbers_files, *drawn), numbers)

    def kept_numbers(self) -> tuple[Path, ...] | None:
        """Return the JSON files of the last comparison if all but the drawing is as it was."""
        record, inputs = self.record(), self.inputs()
        if record is None or inputs is None:
            return None
        paths, altered = self.workspace.paths, self.altered()
        if record.inputs == inputs and not altered:
            return None  # up to date and still asked for: the numbers are wanted again
        before, now = ({**of, "page": ""} for of in (record.inputs, inputs))
        folder = paths.leaderboard(self.recipe).parent
        files = [paths.root / name for name in record.files if name.endswith(".json")]
        kept = tuple(path for path in files if path.parent == folder)
        lost = {paths.root / name for name in altered}
        whole = paths.made_from(self.recipe) in kept and lost.isdisjoint(kept)
        return kept if before == now and whole else None

    def compare(self) -> tuple[Path, ...]:
        """Compare on identical windows; write the leaderboard and what it was made from."""
        stages = self.evaluated()
        paths = self.workspace.paths
        reports = [read_report(paths.report_json(self.recipe, stage.name)) for stage in stages]
        predictions = {stage.name: stage.predictions() for stage in stages}
        recipe_probes = RecipeProbes(self.workspace, self.recipe)
        progress = self.workspace.progress
        with working(progress, "leaderboard: fit probes"):
            probes, probe_training = recipe_probes.predictions()
        probe_reports = []
        for done, (name, frame) in enumerate(probes.items()):
            progress("leaderboard: score probes", done, len(probes), name)
            probe_reports.append(self._report(name, frame, "probe"))
        progress("leaderboard: score probes", len(probes), len(probes))
        seed = self.workspace.settings.seed
        study = carried_study(self.workspace, self.recipe)
        ensembles = shown_ensembles(study, predictions)
        mean_of = {
            name: mean_predictions(*(predictions[part] for part in parts))
            for name, parts in ensembles.items()
        }
        reports += [self._report(name, frame, "ensemble") for name, frame in mean_of.items()]
        choice = choose(reports, study)
        with working(progress, "leaderboard: compare models"):
            comparisons = compare_models(
                reports,
                probe_reports,
                {**predictions, **mean_of, **probes},
                seed=seed,
                choice=choice,
                ensembles=ensembles,
            )
        with working(progress, "leaderboard: predict hosts"):
            hosts = host_identity(recipe_probes)
        dataset = TensorShards(self.workspace, self.recipe).record()
        assert dataset is not None, "reports without a dataset"
        schema = str(dataset.numbers["schema_hash"])
        seeds = {
            stage.name: seed_summary([read_report(s.report_path) for s in self.by_seed(stage)])
            for stage in stages
        }
        board = leaderboard(
            reports,
            probe_reports,
            comparisons,
            schema=schema,
            seeds=seeds,
            supplements=Supplements(
                ablation=self.ablation.table(),
                study=study,
                probes=probe_training,
                host_identity=hosts,
                robustness=self.robustness.table({stage.name for stage in stages}),
                controls=recipe_controls(self.workspace, self.recipe, predictions),
                processor=processor(),
                choice=choice,
                ensembles=ensembles,
            ),
        )
        return self._write(board, [*reports, *probe_reports], stages)

    def _write(
        self, board: Board, reports: Sequence[EvalReport], stages: Sequence[EvaluationReport]
    ) -> tuple[Path, ...]:
        """Write the board, what it was made from, and reports on what has no stage of its own."""
        paths = self.workspace.paths
        made_from = {
            "format": "made_from",
            "split": self.split_summary(),
            "provenance": self.provenance(),
            "checkpoints": {stage.name: checkpoint_summary(stage) for stage in stages},
        }
        written: dict[Path, object] = {
            **{
                paths.report_json(self.recipe, r["model"]): r
                for r in reports
                if r["kind"] != "model"
            },
            paths.made_from(self.recipe): made_from,
            paths.leaderboard(self.recipe): board,
        }
        for path, value in written.items():
            write_json(path, value)
        return tuple(written)

    def split_summary(self) -> SplitSummary:
        """Return the split as a report prints it."""
        return ValidationIndex(self.workspace, self.recipe).placed().summary()

    def _report(self, name: str, frame: pl.DataFrame, kind: Kind) -> EvalReport:
        """Score what has no checkpoint: a probe, or the mean of two models."""
        return evaluate(
            frame,
            model=name,
            architecture=None,
            variant=variant_of(name) if kind == "ensemble" else None,
            split=self.split_summary(),
            checkpoint_digest=None,
            seed=self.workspace.settings.seed,
            kind=kind,
            alarm=alarm_inputs(
                self.workspace,
                self.recipe,
                TensorShards(self.workspace, self.recipe).open(),
            ),
            extra={"processor": processor()},
        )

    def provenance(self) -> Provenance:
        """Return what a reader needs to make these numbers again."""
        verdicts = ValidationSweep(self.workspace).record()
        dataset = TensorShards(self.workspace, self.recipe).record()
        assert verdicts is not None
        assert dataset is not None
        hidden = self.workspace.settings.quarantine
        counts = {k: v for k, v in verdicts.numbers.items() if k.startswith(("episodes", "reason"))}
        return {
            "commit": commit(),
            "machine": machine(),
            "processor": processor(),
            "seed": self.workspace.settings.seed,
            "threads": self.workspace.settings.threads,
            "versions": ", ".join(f"{name} {found}" for name, found in library_versions().items()),
            "digest of verdicts": verdicts.digest,
            "digest of dataset": dataset.digest,
            "verdicts": ", ".join(f"{name} {n}" for name, n in counts.items()),
            **({"quarantined channels": dict(hidden)} if hidden else {}),
        }
