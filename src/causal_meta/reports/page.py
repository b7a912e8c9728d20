"""The HTML of a report: elements that escape whatever is put into them, and one page that has no
scripts and loads nothing."""

from __future__ import annotations

import base64
import struct
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources
from typing import Any

_VOID = frozenset({"img", "meta", "br"})


class Html(str):
    """Text that is HTML already. Everything else is escaped when it is put into an element."""

    __slots__ = ()


def html(value: Any) -> Html:
    """`value` as HTML: strings are escaped, sequences joined; None and False become nothing.

    >>> html(["<script>", Html("<b>"), None])
    '&lt;script&gt;<b>'
    """
    if value is None or value is False:
        return Html("")
    if isinstance(value, Html):
        return value
    if isinstance(value, str | int | float):
        text = "".join(
            character if character.isprintable() or character in "\n\t\u00a0" else "\ufffd"
            for character in str(value)
        )
        return Html(escape(text, quote=True))
    if isinstance(value, Iterable):
        return Html("".join(html(item) for item in value))
    raise TypeError(
        f"{value!r} cannot be put into a page; give text, numbers, elements or sequences of them."
    )


def tag(name: str, /, *children: Any, **attributes: Any) -> Html:
    """One element. Attribute names lose a final underscore (`class_`); None and False leave an
    attribute out.

    >>> tag("p", "1 < 2", class_="note")
    '<p class="note">1 &lt; 2</p>'
    """
    words = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html(value)}"'
        for key, value in attributes.items()
        if value not in (None, False)
    )
    if name in _VOID:
        return Html(f"<{name}{words}>")
    return Html(f"<{name}{words}>{html(children)}</{name}>")


def section(title: str, *children: Any, anchor: str) -> Html:
    """A part of the page with a heading that can be linked to."""
    return tag("section", tag("h2", title), *children, id=anchor)


def paragraphs(sentences: Iterable[Any], **attributes: Any) -> Html:
    """A paragraph per sentence."""
    return Html("".join(tag("p", sentence, **attributes) for sentence in sentences))


def notice(*children: Any, loud: bool = False) -> Html:
    """A highlighted box; a `loud` one says that something is wrong."""
    return tag("div", *children, class_="notice loud" if loud else "notice", role="note")


@dataclass(frozen=True)
class Picture:
    """A picture with its place among the report's files (`training/figures/NAME.png`), its PNG
    bytes, a text alternative, and a caption."""

    path: str
    data: bytes
    alt: str
    caption: str = ""


@dataclass(frozen=True)
class Part:
    """A part of a report: its `anchor` and `title` in the list of contents, its element, and the
    pictures in it, which are kept as files too."""

    anchor: str
    title: str
    body: Html
    pictures: Sequence[Picture] = ()


def picture(data: bytes, alt: str, caption: Any = "") -> Html:
    """A PNG at 150 dots per inch inside the page, with a text alternative."""
    width, height = struct.unpack(">II", data[16:24])
    source = Html("data:image/png;base64," + base64.b64encode(data).decode("ascii"))
    image = tag(
        "img", src=source, alt=alt, width=round(width * 96 / 150), height=round(height * 96 / 150)
    )
    return tag("figure", image, tag("figcaption", caption) if caption else None)


def table(
    header: Sequence[Any],
    rows: Iterable[Sequence[Any]],
    *,
    words: Collection[int] = (),
    class_: str = "",
) -> Html:
    """A table that scrolls sideways on narrow screens; all columns but the first and those in
    `words` are numbers. A cell may be a ready `<td>`."""

    def cell(value: Any, column: int) -> Html:
        if isinstance(value, Html) and value.startswith("<td"):
            return value
        if column == 0:
            return tag("th", value, scope="row")
        return tag("td", value, class_=None if column in words else "n")

    head = tag(
        "tr",
        *(
            tag("th", title, scope="col", class_=None if k == 0 or k in words else "n")
            for k, title in enumerate(header)
        ),
    )
    body = [tag("tr", *(cell(value, k) for k, value in enumerate(row))) for row in rows]
    inner = tag("table", tag("thead", head), tag("tbody", *body), class_=class_ or None)
    return tag("div", inner, class_="scroll", tabindex="0")


def details(summary: Any, *children: Any) -> Html:
    """Elements that are hidden until the reader opens them."""
    return tag("details", tag("summary", summary), *children)


def facts(pairs: Iterable[tuple[Any, Any]]) -> Html:
    """A list of names and values."""
    return tag("dl", *(tag("div", tag("dt", name), tag("dd", value)) for name, value in pairs))


def page(title: str, body: Sequence[Any], contents: Sequence[tuple[str, str]], foot: Any) -> str:
    """The whole document; `contents` are (anchor, title) of its sections."""
    css = resources.files("causal_meta.reports").joinpath("report.css").read_text("utf-8")
    policy = (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; "
        "form-action 'none'"
    )
    links = tag(
        "nav",
        *(tag("a", words, href=f"#{anchor}") for anchor, words in contents),
        aria_label="Contents",
    )
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        tag("style", Html(css)),
    )
    main = tag(
        "body",
        tag("header", tag("p", "causal_meta report", class_="kicker"), tag("h1", title), links),
        tag("main", *body),
        tag("footer", foot),
    )
    return "<!DOCTYPE html>\n" + tag("html", head, main, lang="en") + "\n"
