"""No text or attribute can break the HTML."""

from html.parser import HTMLParser

import pytest

from causal_meta.reports.page import Html, html, page, picture, table, tag

PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c6360000002000001e221bc330000000049454e44ae426082"
)


class Balance(HTMLParser):
    """Fails where elements are not properly nested."""

    def __init__(self):
        super().__init__()
        self.open = []

    def handle_starttag(self, name, attrs):
        if name not in ("img", "meta", "br"):
            self.open.append(name)

    def handle_endtag(self, name):
        assert self.open.pop() == name


def is_balanced(text):
    parser = Balance()
    parser.feed(text)
    return not parser.open


@pytest.mark.parametrize(
    "nasty",
    ["<script>alert(1)</script>", '" onload="x', "'><img src=x>", "&lt;", "</style>", "]]>"],
)
def test_text_and_attributes_are_escaped(nasty):
    element = tag("p", nasty, title=nasty)
    inside = element.removeprefix("<p title=").removesuffix("</p>")
    assert "<" not in inside
    assert inside.count('"') == 2
    assert inside.count(">") == 1


def test_control_characters_vanish():
    assert html("a\x00b\x1b[31m\u202ec") == "a\ufffdb\ufffd[31m\ufffdc"


def test_only_text_elements_and_sequences_are_taken():
    assert html([1, None, False, Html("<br>"), ["x"]]) == "1<br>x"
    with pytest.raises(TypeError, match="cannot be put into a page"):
        html(object())


def test_the_page_is_well_formed_and_asks_for_nothing():
    body = [
        table(["a", "<b>"], [["x", 1.0], [tag("span", "y"), tag("td", "2", class_="best")]]),
        picture(PIXEL, 'a "picture"', "caption"),
    ]
    text = page("A <title>", body, [("there", "words")], "foot")
    assert is_balanced(text)
    assert not is_balanced("<p><b></b>"), "an element left open must be seen"
    assert "default-src &#x27;none&#x27;" in text
    assert "<script" not in text
    assert "http" not in text.replace("http-equiv", "")
    assert 'width="1" height="1"' in text
