"""What each way of calibration is worth, with one architecture and identical windows."""

from collections.abc import Iterator, Mapping
from typing import Final

import polars as pl

from cis490_pipeline.domain import PHASES, Architecture, Side, Variant
from cis490_pipeline.domain.catalogue import ARCHITECTURE_VERSIONS, InputKind
from cis490_pipeline.domain.terms import model_name
from cis490_pipeline.evaluation.predictions import matrices_of, prediction_frame
from cis490_pipeline.evaluation.report import EVALUATION_VERSION
from cis490_pipeline.evaluation.schema.board import Ablation, AblationRow, DrawnEpisodes
from cis490_pipeline.evaluation.schema.stored import read_form
from cis490_pipeline.evaluation.uncertainty.intervals import episode_interval
from cis490_pipeline.evaluation.uncertainty.paired import compare, require_identical_windows
from cis490_pipeline.experiment.pipeline.calibration import HostRecords, host_records
from cis490_pipeline.experiment.pipeline.dataset import FeatureShards, RecipeStage, ValidationIndex
from cis490_pipeline.experiment.pipeline.training import (
    CALIBRATION,
    GAUGES,
    SCALING,
    quarantine_input,
)
from cis490_pipeline.experiment.stages.record import Metrics
from cis490_pipeline.experiment.stages.stage import Stage, StageOutput
from cis490_pipeline.features.calibration.calibrator import CalibrationMode, Scaling
from cis490_pipeline.features.calibration.drifting_gauges import GaugeTreatment
from cis490_pipeline.features.calibration.segments import hash_order
from cis490_pipeline.features.datasets.load import fit_calibrator, load_windows, window_keys
from cis490_pipeline.features.schema import feature_schema
from cis490_pipeline.storage.files import digest, write_json

ABLATION_VERSION: Final = "1"
"""Raised when its rows are computed in another way."""

ARCHITECTURE: Final = Architecture.GBT
VARIANT: Final = Variant.REALISTIC
KIND: Final[InputKind] = "summary"
"""Fixed, because eleven of them are trained: the one that trains in a second or two."""

TREATMENTS: Final = (GaugeTreatment.RECORDED, GaugeTreatment.CENTRED, GaugeTreatment.DROPPED)
ROUNDS: Final[Mapping[str, float]] = {"eta": 0.15, "max_rounds": 300, "patience_rounds": 20}
"""Coarser steps than the models', alike for all settings: a third of the time."""
MAX_EPISODES: Final = 2000
"""Of each side: a lab's store holds 76,660; eleven trainings and scorings of all of them would take
longer than the models."""

Setting = tuple[CalibrationMode, GaugeTreatment, Scaling]

SETTINGS: Final[tuple[Setting, ...]] = (
    *((mode, gauges, Scaling.TRAIN) for mode in CalibrationMode for gauges in TREATMENTS),
    # What z scores alone has nothing of a device to divide by.
    *(
        (mode, GaugeTreatment.RECORDED, Scaling.DEVICE)
        for mode in (CalibrationMode.EPISODE_BASELINE, CalibrationMode.HOST_BASELINE)
    ),
)

_SIDES: Final = (Side.VAL, Side.TEST)

Frames = Mapping[Setting, pl.DataFrame]


class CalibrationAblation(RecipeStage):
    """``model/ablation``: every mode of calibration by every treatment of drifting gauges."""

    key = "model/ablation"

    def above(self) -> tuple[Stage, ...]:
        """Return the split and the summaries."""
        of = (self.workspace, self.recipe)
        return (ValidationIndex(*of), FeatureShards(*of))

    def inputs(self) -> dict[str, str] | None:
        """Return digests of data, split, features, code versions and settings."""
        index, dataset = (stage.record() for stage in self.above())
        if index is None or dataset is None:
            return None
        settings = self.workspace.settings
        sides = {str(side): index.numbers.get(f"episodes_{side}") for side in _SIDES}
        large = any(isinstance(n, int) and n > MAX_EPISODES for n in sides.values())
        return {
            # Only where it draws, so that the tables of smaller corpora stay up to date.
            **({"scored": f"at most {MAX_EPISODES} episodes of a side"} if large else {}),
            "dataset": dataset.parts.get(str(VARIANT), ""),
            "split": index.digest,
            "feature_schema": feature_schema(KIND, VARIANT).hash,
            "architecture": str(ARCHITECTURE_VERSIONS[ARCHITECTURE]),
            "ablation": ABLATION_VERSION,
            "evaluation": EVALUATION_VERSION,
            "settings": digest(
                {
                    "seed": settings.seed,
                    "threads": settings.threads,
                    "used": [CALIBRATION, GAUGES, SCALING],
                    "rounds": dict(ROUNDS),
                    # Only where given, so that boards of before stay up to date.
                    **({"calibrate_on": named} if (named := dict(settings.calibrate_on)) else {}),
                }
            ),
            **quarantine_input(settings),
        }

    def make(self) -> StageOutput:
        """Train and score each setting; write ``ablation.json``."""
        records = host_records(self.workspace, self.recipe)
        only, drawn, why = self._common_windows(records)
        frames: dict[Setting, pl.DataFrame] = {}
        for done, setting in enumerate(SETTINGS):
            self.workspace.progress("compare calibrations", done, len(SETTINGS))
            if CalibrationMode.HOST_BASELINE not in setting or why is None:
                frames[setting] = self._predictions(setting, records, only)
        self.workspace.progress("compare calibrations", len(SETTINGS), len(SETTINGS))
        require_identical_windows({", ".join(setting): frame for setting, frame in frames.items()})
        rows = list(self._rows(frames, why))
        result: Ablation = {
            "architecture": str(ARCHITECTURE),
            "variant": str(VARIANT),
            "split": str(self.recipe),
            "seed": self.workspace.settings.seed,
            "calibration_episodes": records.episodes if why is None else [],
            "hosts_refused": dict(records.refused),
            "hosts_suspect": sorted(h for h, r in records.found.items() if r.suspect),
            "host_baseline_missing": why,
            "rows": rows,
        }
        if drawn:
            result["drawn"] = drawn
        path = self.workspace.paths.ablation(self.recipe)
        write_json(path, result)
        numbers: Metrics = {
            f"val_{row['mode']}_{row['gauges']}_{row['scaling']}": row["val"]["macro_f1"]
            for row in rows
            if row["val"] is not None
        }
        return StageOutput(digest(result), (path,), numbers)

    def table(self) -> Ablation | None:
        """Return the comparison as a leaderboard carries it; None unless it is up to date."""
        if self.current() is None:
            return None
        return read_form(self.workspace.paths.ablation(self.recipe), Ablation)

    def _common_windows(
        self, records: HostRecords
    ) -> tuple[pl.Expr, dict[str, DrawnEpisodes], str | None]:
        """Return which windows all settings share, and why ``host_baseline`` is not among them.

        Those of calibrated hosts, without the episodes they are calibrated by; where that leaves a
        side empty or train without a phase, all windows, and no ``host_baseline``. Of each side
        2,000 episodes at most, drawn where it has more.
        """
        common = pl.col("host_id").is_in(sorted(records.found))
        common &= ~pl.col("episode_id").is_in(records.episodes)
        dataset = FeatureShards(self.workspace, self.recipe).open()
        keys = {side: window_keys(dataset, side) for side in (Side.TRAIN, *_SIDES)}
        left = {side: frame.filter(common) for side, frame in keys.items()}
        empty = [str(side) for side, frame in left.items() if frame.is_empty()]
        lost = sorted({str(phase) for phase in PHASES} - set(left[Side.TRAIN]["phase"]))
        if not empty and not lost:
            only, drawn = _draw({side: frame["episode_id"] for side, frame in left.items()})
            return common & only, drawn, None
        what = f"no window on {', '.join(empty)}" if empty else f"no {', '.join(lost)} in train"
        why = f"hosts with a sound clean-only episode leave {what}"
        return *_draw({side: frame["episode_id"] for side, frame in keys.items()}), why

    def _predictions(self, setting: Setting, records: HostRecords, only: pl.Expr) -> pl.DataFrame:
        from cis490_pipeline.models.registry import create

        mode, gauges, scaling = setting
        dataset = FeatureShards(self.workspace, self.recipe).open()
        settings = self.workspace.settings
        calibrator = fit_calibrator(
            dataset,
            VARIANT,
            mode,
            gauges=gauges,
            scaling=scaling,
            quarantine=settings.quarantine,
            records=records.found,
            only=only,
            kind=KIND,
        )
        train, val, test = (
            load_windows(dataset, side, calibrator, records=records.found, only=only)
            for side in (Side.TRAIN, *_SIDES)
        )
        model = create(
            ARCHITECTURE,
            VARIANT,
            kind=KIND,
            seed=settings.seed,
            config={**ROUNDS, "threads": settings.threads},
        ).fit(train, val)
        return pl.concat(
            prediction_frame(
                windows.frame.with_columns(windows.calibration_ids, windows.baseline_suspect),
                model.predict_windows(windows),
            )
            for windows in (val, test)
        )

    def _rows(self, frames: Frames, why: str | None) -> Iterator[AblationRow]:
        """Score each setting on val and test, and set it against the one in use."""
        seed = self.workspace.settings.seed
        counts = {
            setting: {
                side: matrices_of(frame.filter(pl.col("side") == side)).counts for side in _SIDES
            }
            for setting, frame in frames.items()
        }
        used = counts[CALIBRATION, GAUGES, SCALING]
        for setting in SETTINGS:
            of = counts.get(setting)
            mode, gauges, scaling = setting
            in_use = setting == (CALIBRATION, GAUGES, SCALING)
            row: AblationRow = {
                "model": model_name(ARCHITECTURE, VARIANT),
                "mode": str(mode),
                "gauges": str(gauges),
                "scaling": str(scaling),
                "in_use": in_use,
                "why_missing": why if of is None else None,
                "val": episode_interval(of[Side.VAL], seed=seed).to_dict() if of else None,
                "test": episode_interval(of[Side.TEST], seed=seed).to_dict() if of else None,
                "against_used": None,
            }
            # The difference from the setting in use, on test; its p-value would be one of many.
            if of is not None and not in_use:
                pair = compare(of[Side.TEST], used[Side.TEST], seed=seed).to_dict()
                row["against_used"] = {
                    "difference": pair["difference"],
                    "ci_low": pair["ci_low"],
                    "ci_high": pair["ci_high"],
                }
            yield row


def _draw(episodes: Mapping[Side, pl.Series]) -> tuple[pl.Expr, dict[str, DrawnEpisodes]]:
    """Draw at most 2,000 episodes of each side; return which windows are theirs, and of which side.

    By the hash of their ids: the draw depends neither on a seed nor on the order of receipt, and a
    corpus that grows keeps most of it.
    """
    only = pl.lit(value=True)
    drawn: dict[str, DrawnEpisodes] = {}
    for side, ids in episodes.items():
        ordered = sorted(set(ids), key=hash_order)
        taken = ordered[:MAX_EPISODES]
        if len(taken) < len(ordered):
            only &= (pl.col("split") != side) | pl.col("episode_id").is_in(taken)
            drawn[str(side)] = DrawnEpisodes(n_episodes=len(taken), n_episodes_in_all=len(ordered))
    return only, drawn
