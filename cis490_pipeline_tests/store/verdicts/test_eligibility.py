import polars as pl
import pytest

from cis490_pipeline.domain import Verdict
from cis490_pipeline.store.reasons import Reason, verdict_of
from cis490_pipeline.store.verdicts.eligibility import scorable_expr, usable_expr


@pytest.mark.parametrize("reason", list(Reason))
def test_use_of_an_episode_follows_from_its_reason(reason: Reason) -> None:
    row = pl.DataFrame({"status": [reason.verdict.value], "reasons": [[reason.value]]})
    never_used = reason.verdict is Verdict.REJECTED or reason is Reason.DUPLICATE_CONTENT
    training_only = reason in (Reason.LABEL_UNJUSTIFIED, Reason.CLOCK_SKEW)

    used, scored = row.select(usable_expr().alias("u"), scorable_expr().alias("s")).row(0)

    assert used is not never_used
    assert scored is not (never_used or training_only)


def test_errored_episode_is_not_used() -> None:
    row = pl.DataFrame(
        {"status": ["errored"], "reasons": [[]]}, schema_overrides={"reasons": pl.List(pl.String)}
    )

    assert row.select(usable_expr()).item() is False


def test_one_rejecting_reason_outweighs_any_number_of_others() -> None:
    assert verdict_of(["source_gap", "label_failed", "code_dirty"]) is Verdict.REJECTED
    assert verdict_of(["source_gap", "code_dirty"]) is Verdict.DEGRADED
    assert verdict_of([]) is Verdict.ACCEPTED


def test_unknown_reason_code_has_no_verdict() -> None:
    with pytest.raises(ValueError, match="'tired' is not a valid Reason"):
        verdict_of(["tired"])
