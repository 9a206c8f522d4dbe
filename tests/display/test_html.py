"""Parts as HTML: complete, escaped, self-contained."""

import re
from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from quivers_nb.display.html import mimebundle, to_html
from quivers_nb.display.parts import Fold, Mark, Row, Stack, Table, Text, Tone
from quivers_nb.display.text import to_text, visible

HOSTILE = "<script>alert('x')</script>&\"\u202e"


class Reader(HTMLParser):
    """Collects text and tags, and checks that tags are closed in order."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open.append(tag)
        self.tags.add(tag)
        assert all(name in {"style", "class", "scope", "open"} for name, _ in attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def read(html: str) -> Reader:
    reader = Reader()
    reader.feed(html)
    reader.close()
    assert not reader.open
    return reader


def everything(text: str) -> Stack:
    table = Table(((Text(text), Text("1")),), head=(text, "n"), align="<>")
    row = Row((Text(text), Mark(text, Tone.WARNING, text)), gutter="3")
    return Stack((Text(text), row, table, Fold(text, Text(text), open=True)))


def test_hostile_text_stays_text_everywhere() -> None:
    html = to_html(everything(HOSTILE))
    reader = read(html)
    assert "script" not in reader.tags
    assert "<script" not in html
    assert "\u202e" not in html
    assert reader.text.count(visible(HOSTILE)) == 8  # text, row, mark, note, head, cell, fold twice


@given(st.text(max_size=20))
def test_any_text_gives_well_formed_html_from_a_closed_set_of_tags(text: str) -> None:
    reader = read(to_html(everything(text)))
    assert reader.tags <= {"div", "span", "table", "tr", "th", "td", "details", "summary"}


def test_nothing_is_fetched_and_nothing_runs() -> None:
    html = to_html(everything("a"))
    assert not re.search(r"https?:|src=|href=|url\(|@import|\bon\w+=", html)


def test_every_colour_is_a_theme_variable_with_a_fallback() -> None:
    html = to_html(Stack(tuple(Text("a", tone) for tone in Tone)))
    colours = re.findall(r"(?<!-)\bcolor:([^;\"]+)", html)
    plain = re.findall(r"(?<!-)\bcolor:(#\w+);color:", html)
    assert len(plain) == len(Tone) - 2  # what a notebook that is not trusted shows
    theme = r"var\(--jp-[\w-]+,[^)]+\)"
    mixed = rf"color-mix\(in srgb,{theme} \d+%,currentColor\)"
    themed = [colour for colour in colours if re.fullmatch(f"{theme}|{mixed}", colour)]
    assert len(themed) == len(colours) - len(plain)


def test_the_bundle_has_text_first_and_both_say_the_same() -> None:
    row = Row((Text("let h = "), Mark("f", note="unknown")), gutter="3")
    bundle = mimebundle(row)
    assert list(bundle) == ["text/plain", "text/html"]
    assert bundle["text/plain"] == to_text(row)
    assert read(bundle["text/html"]).text == bundle["text/plain"].replace("\n", "")


def test_a_table_head_is_a_head_for_screen_readers() -> None:
    assert '<th scope="col"' in to_html(Table(((Text("a"),),), head=("name",)))
