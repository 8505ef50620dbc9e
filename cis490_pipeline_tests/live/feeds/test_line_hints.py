import json

import pytest

from cis490_pipeline.live.feeds.line_hints import MAX_HINTED_BYTES, line_hint
from cis490_pipeline_tests.live.made_up import as_line, device_rows

LINE = as_line(next(device_rows(1))).rstrip(b"\n")
ROW = json.loads(LINE)


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        (json.dumps({"log": LINE.decode() + "\n"}).encode(), "wrapped in the field `log`"),
        (json.dumps({"MESSAGE": LINE.decode()}).encode(), "jq -r '.MESSAGE'"),
        (json.dumps({"event": ROW}).encode(), "jq -c '.event'"),
        (b"Nov 22 09:20:23 pi agent[412]: " + LINE, "31 bytes of text precede the row"),
        (json.dumps([ROW, ROW]).encode(), "an array of 2 rows"),
        (json.dumps({k: str(v) for k, v in ROW.items()}).encode(), "its numbers are text"),
        (LINE[:50] + LINE, "a second row starts within it"),
    ],
    ids=["docker", "journal", "nested", "prefix", "array", "text", "killed"],
)
def test_a_line_that_holds_a_row_in_another_form_is_recognised(line, hint):
    assert hint in line_hint(line)


@pytest.mark.parametrize(
    "line",
    [b"", b"{", b"what?", b"[]", b"[1]", b"{}", b'{"log": "text"}', b"\xff\xfe", b"[" * 10_000,
     b" " * MAX_HINTED_BYTES + b"[]", b'{"a": {"b": 1}}'],
)  # fmt: skip
def test_of_other_lines_nothing_is_said(line):
    assert line_hint(line) is None


def test_a_hint_cannot_write_to_the_terminal():
    line = json.dumps({"\x1b[2J": LINE.decode()}).encode()

    assert "\x1b" not in line_hint(line)
