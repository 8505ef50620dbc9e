"""Eligibility of episodes for training and scoring, as expressions over the validation index."""

from typing import Final

import polars as pl

from cis490_pipeline.domain import Verdict
from cis490_pipeline.store.reasons import Reason

UNSCORABLE: Final = (Reason.LABEL_UNJUSTIFIED, Reason.CLOCK_SKEW)
"""Reasons that allow training but not scoring: labels or times are doubtful."""


def usable_expr() -> pl.Expr:
    """Whether an episode is usable: accepted or degraded, and not a later duplicate."""
    status = pl.col("status").is_in([Verdict.ACCEPTED.value, Verdict.DEGRADED.value])
    return status & ~_has(Reason.DUPLICATE_CONTENT)


def scorable_expr() -> pl.Expr:
    """Whether an episode is scorable: usable, with reliable labels and clocks."""
    doubtful = pl.any_horizontal(_has(reason) for reason in UNSCORABLE)
    return usable_expr() & ~doubtful


def _has(reason: Reason) -> pl.Expr:
    return pl.col("reasons").list.contains(reason.value)
