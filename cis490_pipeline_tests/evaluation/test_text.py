import pytest

from cis490_pipeline.evaluation.text import markdown_escape


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
