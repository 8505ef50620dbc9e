"""Lines are kept whole unless they are longer than any row may be."""

from collections.abc import Iterator

from hypothesis import given, settings
from hypothesis import strategies as st

from cis490_pipeline.store.archive import member_content
from cis490_pipeline.store.archive.member_content import kept_lines, kept_start
from cis490_pipeline.store.rows.strict_json import MAX_LINE_BYTES

LIMIT = MAX_LINE_BYTES


def in_pieces(content: bytes, n_bytes: int) -> Iterator[bytes]:
    for start in range(0, len(content), n_bytes):
        yield content[start : start + n_bytes]


@settings(max_examples=30, deadline=None)
@given(
    lengths=st.lists(
        st.one_of(st.integers(0, 300), st.integers(LIMIT - 2, LIMIT + 3), st.just(3 * LIMIT)),
        max_size=5,
    ),
    n_bytes=st.sampled_from([LIMIT, LIMIT - 1, 70_001]),
)
def test_lines_are_whole_up_to_the_limit_and_cut_a_byte_beyond(
    lengths: list[int], n_bytes: int
) -> None:
    lines = [bytes([97 + i]) * n for i, n in enumerate(lengths)]

    kept = kept_lines(in_pieces(b"\n".join(lines), n_bytes))

    assert kept == b"\n".join(line[: LIMIT + 1] for line in lines)


def test_no_more_lines_are_kept_than_are_read() -> None:
    n_lines = member_content.MAX_LINES * 3

    kept = kept_lines(in_pieces(b"\n" * n_lines, LIMIT))

    assert member_content.MAX_LINES < kept.count(b"\n") <= member_content.MAX_LINES + LIMIT


def test_of_an_object_only_the_start_is_kept() -> None:
    assert kept_start(in_pieces(b"x" * 5 * LIMIT, LIMIT)) == b"x" * (LIMIT + 1)
    assert kept_start(in_pieces(b"{}", LIMIT)) == b"{}"
