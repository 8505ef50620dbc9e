"""What an episode may be used for, as column expressions over the index of verdicts."""

from typing import Final

import polars as pl

from cis490_pipeline.domain import Verdict
from cis490_pipeline.store.reasons import Reason

UNSCORABLE: Final = (Reason.LABEL_UNJUSTIFIED, Reason.CLOCK_SKEW)
"""Reasons that let an episode train but never be scored: its truth or its time is in doubt."""


def usable_expr() -> pl.Expr:
    """Return whether a row may be used at all: accepted or degraded, and no later duplicate."""
    status = pl.col("status").is_in([Verdict.ACCEPTED.value, Verdict.DEGRADED.value])
    return status & ~_has(Reason.DUPLICATE_CONTENT)


def scorable_expr() -> pl.Expr:
    """Return whether a row may be scored: usable, with labels and clocks to be trusted."""
    doubtful = pl.any_horizontal(_has(reason) for reason in UNSCORABLE)
    return usable_expr() & ~doubtful


def _has(reason: Reason) -> pl.Expr:
    return pl.col("reasons").list.contains(reason.value)
