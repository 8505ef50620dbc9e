"""Corpus-wide marks: duplicate telemetry, and ids shared by two hosts.

These depend on all other episodes. They are therefore removed from earlier verdicts and recomputed
over the whole index in each sweep.
"""

from typing import Final

import polars as pl

from cis490_pipeline.domain import Verdict
from cis490_pipeline.store.reasons import Reason

ORDER: Final = ("received_at_wall", "host_id", "episode_id")
"""Sort order: earliest received first, never indexed last."""
_COPY: Final = Reason.DUPLICATE_CONTENT.value
_SHARED: Final = Reason.ID_MISMATCH.value
_COPY_TEXT: Final = f"{_COPY}: the same telemetry as "
_SHARED_TEXT: Final = f"{_SHARED}: the id is also that of "
_REJECTING: Final = [r.value for r in Reason if r.verdict is Verdict.REJECTED]


def without_marks(frame: pl.DataFrame) -> pl.DataFrame:
    """Remove the marks of an earlier sweep; no row may be ``errored``."""
    details = pl.col("details").list.filter(
        ~pl.element().str.starts_with(_COPY_TEXT) & ~pl.element().str.starts_with(_SHARED_TEXT)
    )
    taken = pl.col("details").list.len() > details.list.len()
    # An id that disagrees with meta.json is a fault of the episode itself and stays.
    other_ids = details.list.eval(pl.element().str.starts_with(f"{_SHARED}: ")).list.any()
    reasons = (
        pl.when(other_ids)
        .then(pl.col("reasons").list.filter(pl.element() != _COPY))
        .otherwise(pl.col("reasons").list.filter(~pl.element().is_in([_COPY, _SHARED])))
    )
    bare = frame.with_columns(
        details=pl.when(taken).then(details).otherwise("details"),
        reasons=pl.when(taken).then(reasons).otherwise("reasons"),
        is_bared=taken,
    )
    status = pl.when("is_bared").then(_status()).otherwise("status")
    return bare.with_columns(status=status).drop("is_bared")


def with_marks(frame: pl.DataFrame) -> pl.DataFrame:
    """Mark all but the first of equal ids and of equal contents; sort the rows.

    Among usable episodes with one id, the earliest received keeps it and the others get
    ``id_mismatch``, because later files identify an episode by its id alone. Equal telemetry, under
    the same or another id, gets ``duplicate_content``. If no episode with an id is usable, the
    first still counts as its owner, so that all are reported.
    """
    ordered = frame.sort(ORDER, nulls_last=True)
    # Rechunked: the file's bytes must not depend on how the frame was assembled.
    return _with_copies_marked(_with_shared_ids_marked(ordered)).rechunk()


def _with_shared_ids_marked(ordered: pl.DataFrame) -> pl.DataFrame:
    first = {"first_ref": _ref(), "first_content": pl.col("content_digest")}
    usable = _is_usable()
    owners = (
        ordered.with_columns(**first)
        .sort(~usable, maintain_order=True)
        .group_by("episode_id", maintain_order=True)
        .agg(pl.col("first_ref").first(), pl.col("first_content").first())
    )
    joined = ordered.join(owners, on="episode_id", how="left", maintain_order="left")
    same = (pl.col("content_digest") == pl.col("first_content")).fill_null(value=False)
    shared = (_ref() != pl.col("first_ref")) & ~same & (pl.col("status") != Verdict.ERRORED.value)
    text = (
        pl.lit(_SHARED_TEXT)
        + pl.col("first_ref")
        + pl.lit(
            ", which keeps it: an id names one episode; give this one another and ship it again"
        )
    )
    return _marked(joined, shared, _SHARED, text).drop("first_ref", "first_content")


def _with_copies_marked(ordered: pl.DataFrame) -> pl.DataFrame:
    comparable = _is_usable() & pl.col("content_digest").is_not_null()
    original = _ref().filter(comparable).first().over("content_digest")
    is_copy = comparable & (original != _ref())
    return _marked(ordered, is_copy, _COPY, pl.lit(_COPY_TEXT) + original)


def _marked(frame: pl.DataFrame, where: pl.Expr, reason: str, detail: pl.Expr) -> pl.DataFrame:
    reasons = pl.concat_list("reasons", _text(reason)).list.unique().list.sort()
    marked = frame.with_columns(
        reasons=pl.when(where).then(reasons).otherwise("reasons"),
        details=pl.when(where).then(pl.concat_list("details", detail)).otherwise("details"),
        is_marked=where,
    )
    status = pl.when(pl.col("is_marked")).then(_status()).otherwise("status")
    return marked.with_columns(status=status).drop("is_marked")


def _status() -> pl.Expr:
    """Verdict implied by the reasons."""
    rejected = pl.col("reasons").list.eval(pl.element().is_in(_REJECTING)).list.any()
    return (
        pl.when(rejected)
        .then(_text(Verdict.REJECTED.value))
        .when(pl.col("reasons").list.len() > 0)
        .then(_text(Verdict.DEGRADED.value))
        .otherwise(_text(Verdict.ACCEPTED.value))
    )


def _is_usable() -> pl.Expr:
    return pl.col("status").is_in([Verdict.ACCEPTED.value, Verdict.DEGRADED.value])


def _ref() -> pl.Expr:
    return pl.concat_str("host_id", "episode_id", separator="/")


def _text(word: str) -> pl.Expr:
    return pl.lit(word, pl.String)
