"""A user's text stays text in Markdown, and tables have one shape."""

import pytest

from rli.markdown import escaped, table

TEXTS = (
    *("a *b* _c_ `d`", "<script>x</script>", "# x", "- x", "1. x", "[a](b) ![c](d)", "www.a.b a@b.cd https://a.b"),
    *("a\\", "&amp;", "+ x", "~~x~~", "a\n\nb", "=", "---", "1) x", "-1.5", "2.0"),
    *("null_text", "__x__", "a_ b", "_a_b"),
)


def test_user_text_stays_text():
    parser = pytest.importorskip("markdown_it").MarkdownIt("commonmark").enable("strikethrough")
    for text in TEXTS:
        html = parser.render(escaped(text)).strip()
        plain = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        assert html == f"<p>{plain}</p>"


def test_words_with_underscores_are_left_as_they_are():
    assert escaped("null_text") == "null_text"
    assert escaped("_x_") == r"\_x\_"


def test_names_are_aligned_left_and_numbers_right():
    assert table(["a", "b", "c"], [["x", "y", "1"]], names=2).splitlines() == [
        "| a | b | c |",
        "| --- | --- | ---: |",
        "| x | y | 1 |",
    ]
