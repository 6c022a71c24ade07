"""Changes: which numbers moved since the last release, as a page and as an Atom feed."""

import re
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any, NamedTuple
from xml.etree import ElementTree

from stackbook.press import releases
from stackbook.press.chapters import Book, plain
from stackbook.press.made import Built, chart
from stackbook.press.releases import Comparison, Move, Release

FEED = "changes.atom"  # at the root of the site
PAGE = "back/changes"  # the page that entries of the feed lead to
_NAMED = 3  # moves that a summary names
_DRAWN = 15  # moves in the chart
_REACH = 400  # percent at which the chart ends
_UNKNOWN = "nothing that the book keeps a digest of"
_FATES = {False: "left its range", None: "no range", True: "inside its range"}


def section(built: Built) -> str:
    """Markdown of the page of changes: the answer, the moves by chapter, the releases."""
    return "\n".join(_lines(built))


def feed(book: Book, settings: Mapping[str, Any]) -> bytes:
    """An Atom feed (RFC 4287) with an entry for each release of `book`, the newest first.

    There must be one; `settings` are those of `_config.yml`.
    """
    stored = list(releases.stored(book).values())
    title = str(settings["title"])
    # Ids that are the same wherever the site stands (RFC 4151), in whatever script.
    name = re.sub(r"\W+", "-", title.lower()).strip("-")
    tag = f"tag:{name},2026:"
    root = ElementTree.Element("feed", xmlns="http://www.w3.org/2005/Atom")

    def add(to: ElementTree.Element, tag: str, text: str = "", **attributes: str) -> None:
        ElementTree.SubElement(to, tag, attributes).text = text or None

    add(root, "title", f"{title}: the numbers that moved")
    add(root, "id", f"{tag}changes")
    add(root, "updated", _moment(stored[-1]))
    add(root, "link", rel="alternate", type="text/html", href=f"{PAGE}.html")
    add(root, "link", rel="self", type="application/atom+xml", href=FEED)
    add(ElementTree.SubElement(root, "author"), "name", str(settings["author"]))
    for earlier, one in reversed(list(zip([None, *stored], stored, strict=False))):
        entry = ElementTree.SubElement(root, "entry")
        moved = releases.compared(earlier, one) if earlier else None
        add(entry, "title", f"{title} {one.version}: {_headline(one, moved)}")
        add(entry, "id", f"{tag}release-{one.version}")
        add(entry, "updated", _moment(one))
        link = f"{PAGE}.html#release-{one.version.replace('.', '-')}"
        add(entry, "link", rel="alternate", type="text/html", href=link)
        add(entry, "summary", _summary(one, moved))
    ElementTree.indent(root, " ")
    text: bytes = ElementTree.tostring(root, "utf-8", xml_declaration=True)
    return text + b"\n"


class Row(NamedTuple):
    """A move of one finding in words."""

    name: str
    unit: str
    before: str
    after: str
    change: str
    percent: str
    """Empty where the number before was 0."""
    spread: str
    """The range stated before."""
    fate: str
    """What became of it."""

    def __str__(self) -> str:
        return f"{self.name} {self.before} → {self.after}" + "".join(
            [f" {self.unit}" if self.unit else "", f" ({self.percent})" if self.percent else ""]
        )


def row(move: Move) -> Row:
    """A move of a finding that both releases have, in words."""
    assert move.before and move.after
    low, high = move.before.low, move.before.high
    spread = "" if low is None or high is None else f"{_short(low, 4)} to {_short(high, 4)}"
    percent = "" if move.relative is None else f"{_signed(100 * move.relative)}%"
    change = f"was in {move.before.unit}" if move.change is None else _signed(move.change)
    unit = "" if move.after.unit == "1" else move.after.unit
    return Row(move.name, unit, *_apart(move), change, percent, spread, _FATES[move.inside])


def causes(found: Mapping[str, list[str]]) -> str:
    """Why a chapter's numbers moved, in words."""
    words = [f"{kind} ({', '.join(each)})" for kind, each in found.items()] or [_UNKNOWN]
    return ("one or more of " if sum(map(len, found.values())) > 1 else "") + "; ".join(words)


def _lines(built: Built) -> Iterator[str]:
    book, stored = built.book, list(releases.stored(built.book).values())
    if not stored:
        yield "There is no release yet. `stackbook release` stores the first."
        return
    history = [
        (one, releases.compared(earlier, one) if earlier else None)
        for earlier, one in zip([None, *stored], stored, strict=False)
    ]
    now, missing = releases.since(stored[-1], book, built.base)
    last = next((moved for _, moved in reversed(history) if moved and moved.moves), None)
    shown = [one for one in (now, last) if one and one.moves]
    if not shown or shown[0] is last:
        since = last.after.version if last else stored[0].version
        yield f"No number differs from release {since}."
        yield ""
    if shown:
        yield from _answer(book, shown[0])
    yield ""
    if missing:
        names = ", ".join(f"{_link(book, name)} {why}" for name, why in missing.items())
        yield f"Not compared with the last release: {names}."
        yield ""
    for each in shown:
        yield f"## From {each.before.name} to {each.after.name}"
        yield ""
        yield from _comparison(book, each)
    yield "## Releases"
    yield ""
    yield f'There is an <a href="{FEED}">Atom feed</a> of them.'
    yield ""
    for one, moved in reversed(history):
        yield f"### Release {one.version}"
        yield ""
        yield f"{one.date}. {_summary(one, moved)}"
        yield ""


def _answer(book: Book, one: Comparison) -> Iterator[str]:
    moved = one.of("moved")
    yield ":::{admonition} What this page answers"
    yield f"- **How many numbers moved?** {counts(one)}"
    if moved:
        most = "; ".join(
            f"{row(each)} in {_link(book, each.chapter, each.chapter)}" for each in moved[:_NAMED]
        )
        yield f"- **Which moved most?** {most}."
        yield f"- **Why?** {_why(one)}"
    yield ":::"


def counts(one: Comparison) -> str:
    """How many numbers moved, are new, are gone."""
    moved = one.of("moved")
    left, stayed = (sum(each.inside is inside for each in moved) for inside in (False, True))
    ranged = f", {left} of them out of the range stated before and {stayed} within it"
    text = (
        f"{len(moved)} of {one.common} numbers moved from release {one.before.name} to "
        f"{one.after.name}{ranged if left or stayed else ''}."
    )
    rest = {
        "with another range alone": len(one.of("range")),
        "with another unit": len(one.of("unit")),
        "new": len(one.of("new")),
        "gone": len(one.of("gone")),
    }
    told = [f"{count} {words}" for words, count in rest.items() if count]
    return text + (f" Besides: {', '.join(told)}." if told else "")


def _why(one: Comparison) -> str:
    """In how many chapters which kinds of causes come into question."""
    chapters = dict.fromkeys(each.chapter for each in one.of("moved"))
    counts: dict[str, int] = {}
    for name in chapters:
        *some, last = one.causes[name] or [_UNKNOWN]
        kinds = f"{', '.join(some)} or {last}" if some else f"{last} alone"
        counts[kinds] = counts.get(kinds, 0) + 1
    words = "; ".join(f"{kinds} differs in {count}" for kinds, count in counts.items())
    return f"Of what each used, {words} of the {len(chapters)} chapters that moved: by name below."


def _comparison(book: Book, one: Comparison) -> Iterator[str]:
    if drawn := [each for each in one.of("moved") if each.relative is not None][:_DRAWN]:
        yield chart(_drawn(one, drawn))
        yield ""
    for name, moves in one.listed.items():
        yield f"### {_link(book, name)}"
        yield ""
        if name in one.causes:
            yield f"Why: {causes(one.causes[name])}."
            yield ""
        yield _table([row(each) for each in moves], name)
        yield ""
    if counts := _by_chapter(book, one):
        yield "### New, gone and ranges alone"
        yield ""
        yield counts
        yield ""


def _table(rows: list[Row], chapter: str) -> str:
    heads = ("Finding", "Before", "After", "Change", "Range before")
    head = "".join(f'<th scope="col">{each}</th>' for each in heads)
    body = "".join(
        "<tr>" + "".join(f"<td>{each}</td>" for each in _cells(each)) + "</tr>" for each in rows
    )
    return (
        f'<div class="stackbook-params" tabindex="0" role="region" aria-label="{chapter}">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _cells(told: Row) -> list[str]:
    unit, change = escape(told.unit), escape(told.change)
    return [
        f"<code>{told.name}</code>" + (f"<br><small>{unit}</small>" if unit else ""),
        told.before,
        told.after,
        change + (f"<br><small>{told.percent}</small>" if told.percent else ""),
        (f'<span class="text-nowrap">{told.spread}</span><br>' if told.spread else "")
        + f"<small>{told.fate}</small>",
    ]


def _by_chapter(book: Book, one: Comparison) -> str:
    """A table of how many findings are new, gone or differ in their range alone, by chapter."""
    states = ("new", "gone", "range")
    rows = []
    for name in dict.fromkeys([*one.after.chapters, *one.before.chapters]):
        counts = [
            sum(each.chapter == name and each.state == state for each in one.moves)
            for state in states
        ]
        if any(counts):
            rows.append(f"| {_link(book, name)} | {' | '.join(map(str, counts))} |")
    heads = ["| Chapter | New | Gone | Range alone |", "|:--|--:|--:|--:|"]
    return "\n".join([*heads, *rows]) if rows else ""


def _drawn(one: Comparison, moved: list[Move]) -> Any:
    import altair as alt
    import polars as pl

    from stackbook import charts

    names = [each.name for each in moved]
    labels = [
        each.name if names.count(each.name) == 1 else f"{each.name}, {each.chapter}"
        for each in moved
    ]
    shown = pl.DataFrame([_dot(*each) for each in zip(labels, moved, strict=True)])
    across: dict[str, Any] = {
        "title": "change (% of the number before)",
        "scale": alt.Scale(type="symlog", constant=3, domain=[-_REACH, _REACH], nice=False),
        "axis": alt.Axis(format="+.0f", values=[-100, -10, 0, 10, 100]),
    }
    lines = alt.Axis(grid=True, domain=False, ticks=False, labelLimit=230)
    base = alt.Chart(shown).encode(
        y=alt.Y("finding:N", sort=labels, title=None, axis=lines),
        tooltip=["finding", "before", "after", alt.Tooltip("change:Q", format="+.2f")],
    )
    spans = base.mark_rule(strokeWidth=5, opacity=0.3, color=charts.MUTED).encode(
        x=alt.X("_low:Q", **across), x2=alt.X2("_high:Q")
    )
    colours = {False: charts.SERIES[1], None: charts.MUTED, True: charts.SERIES[0]}
    fates = [each.inside for each in moved]
    met = [fate for fate in colours if fate in fates]
    scale = alt.Scale(domain=[_FATES[fate] for fate in met], range=[colours[fate] for fate in met])
    dots = base.mark_circle(size=80, opacity=1).encode(
        x=alt.X("_at:Q", **across), color=alt.Color("fate:N", title=None, scale=scale)
    )
    return charts.figure(
        alt.LayerChart(layer=[spans, dots], height=22 * len(moved)),
        title=f"What moved most: {row(moved[0])}"
        + ("; bars are the ranges stated before" if {True, False} & set(fates) else ""),
        alt=f"Change of the {len(moved)} numbers that moved most from {one.before.name} to "
        f"{one.after.name}: " + "; ".join(f"{row(each)}, {_FATES[each.inside]}" for each in moved),
        source=f"findings of this book, {one.before.name} and {one.after.name}",
    )


def _dot(label: str, move: Move) -> dict[str, Any]:
    """A row of the chart's data; what is beyond its ends is drawn at them."""
    assert move.before and move.after and move.relative is not None
    ends = (move.before.low, move.before.high)
    percents = [
        None if end is None else 100 * (end - move.before.value) / abs(move.before.value)
        for end in ends
    ]
    low, high, at = (
        None if each is None else max(-_REACH, min(_REACH, each))
        for each in (*percents, 100 * move.relative)
    )
    return {
        "finding": label,
        "chapter": move.chapter,
        "before": move.before.value,
        "after": move.after.value,
        "change": 100 * move.relative,
        "fate": _FATES[move.inside],
        "_low": low,
        "_high": high,
        "_at": at,
    }


def _apart(move: Move) -> tuple[str, str]:
    """Both numbers in as many digits, from four, as tell them apart."""
    assert move.before and move.after
    for digits in range(4, releases.DIGITS):
        before, after = _short(move.before.value, digits), _short(move.after.value, digits)
        if before != after:
            break
    return before, after


def _short(number: float, digits: int) -> str:
    return plain(releases.rounded(number, digits))


def _signed(number: float) -> str:
    return f"{'+' if number > 0 else ''}{_short(number, 3)}"


def _link(book: Book, chapter: str, text: str = "") -> str:
    """To a chapter, by `text` or its title; its name alone where it is gone."""
    if chapter not in book.chapters:
        return chapter
    return f"{{doc}}`{text or book.chapters[chapter].title} </{chapter}>`"


def _headline(one: Release, moved: Comparison | None) -> str:
    if moved is None:
        return f"{one.findings} numbers in {len(one.chapters)} chapters"
    return f"{len(moved.of('moved'))} of {moved.common} numbers moved"


def _summary(one: Release, moved: Comparison | None) -> str:
    if moved is None:
        return f"The first release: {_headline(one, None)}."
    most = "; ".join(f"{row(each)} in {each.chapter}" for each in moved.of("moved")[:_NAMED])
    return counts(moved) + (f" Most moved: {most}." if most else "")


def _moment(one: Release) -> str:
    return f"{one.date}T00:00:00Z"
