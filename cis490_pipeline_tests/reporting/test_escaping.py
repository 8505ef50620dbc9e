import pytest

from cis490_pipeline.reporting.escaping import markdown_escape, visible_text


@pytest.mark.parametrize(
    ("name", "escaped"),
    [
        ("garage pi", "garage pi"),
        ("elliott-thinkpad", r"elliott\-thinkpad"),
        ("a|b", r"a\|b"),
        ("<script>&", "&lt;script&gt;&amp;"),
        ("[x](http://e.org)", r"\[x\]\(http\://e\.org\)"),
        ("line\nbreak\u202e", "line break "),
        ("`code` *b* _i_ #1 $x$", r"\`code\` \*b\* \_i\_ \#1 \$x\$"),
        (None, "None"),
    ],
)
def test_markdown_shows_a_name_as_it_is(name, escaped):
    assert markdown_escape(name) == escaped


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("lab-nuc, 3 × 2", "lab-nuc, 3 × 2"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("\u2069\u202ea", r"\u2069\u202ea"),
        ("a\u200bb\ufeff\x1b[2J", r"a\u200bb\ufeff\u001b[2J"),
        ("\u05d0\u05d1", "\u2068\u05d0\u05d1\u2069"),
    ],
)
def test_a_name_hides_no_part_of_itself_and_turns_no_neighbour_round(text, shown):
    assert visible_text(text) == shown
