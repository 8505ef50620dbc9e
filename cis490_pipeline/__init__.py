"""Malware-phase detection from device telemetry, with honest scores.

The names in ``__all__`` are the public Python API (``import cis490_pipeline as cis``); each is
imported when it is first used.
"""

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from cis490_pipeline.api.data import (
        Dataset,
        StoreVerdicts,
        extract_features,
        load_dataset,
        load_episode,
        load_split,
        make_datasets,
        open_workspace,
        validate_store,
    )
    from cis490_pipeline.api.models import (
        evaluate_checkpoint,
        evaluate_predictions,
        load_model,
        macro_f1,
        predict,
        predictions_of,
        read_leaderboard,
        read_predictions,
        train_model,
    )
    from cis490_pipeline.domain import PHASES
    from cis490_pipeline.errors import PipelineError

__version__ = "0.1.0"

__all__ = [
    "PHASES",
    "Dataset",
    "PipelineError",
    "StoreVerdicts",
    "evaluate_checkpoint",
    "evaluate_predictions",
    "extract_features",
    "load_dataset",
    "load_episode",
    "load_model",
    "load_split",
    "macro_f1",
    "make_datasets",
    "open_workspace",
    "predict",
    "predictions_of",
    "read_leaderboard",
    "read_predictions",
    "train_model",
    "validate_store",
]

_MODELS: Final = frozenset(
    {
        "evaluate_checkpoint",
        "evaluate_predictions",
        "load_model",
        "macro_f1",
        "predict",
        "predictions_of",
        "read_leaderboard",
        "read_predictions",
        "train_model",
    }
)
_ELSEWHERE: Final = {"PHASES": "domain", "PipelineError": "errors"}


def __getattr__(name: str) -> Any:
    """Import a public name on first use (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    module = _ELSEWHERE.get(name) or ("api.models" if name in _MODELS else "api.data")
    value = getattr(import_module(f"{__name__}.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
