"""Comparison: what each scenario moves, finding by finding, against the book's own values."""

import math
from collections.abc import Iterable, Iterator, Mapping
from html import escape
from typing import TYPE_CHECKING, Any, NamedTuple

from stackbook import facts
from stackbook.press import pages
from stackbook.press.chapters import Book, Value, plain
from stackbook.press.markdown import escaped, table
from stackbook.press.releases import same
from stackbook.press.scenarios import BASE, Scenario, shipped
from stackbook.press.store import Store

if TYPE_CHECKING:
    from stackbook.press.made import Built

SHOWN = 15  # most moved findings of a scenario that the page has room for
_OURS = {"stackbook-judgement": "our judgement", "stackbook-derived": "arithmetic"}

HEADLINES = {
    ("layers/datacenter-power", "owner_cost_hyperscaler"): "Owner's cost of a GB200-hour",
    ("decide/build-rent-api", "rent_hour"): "Rent of an H100-hour",
    ("layers/datacenter-power", "break_even_hyperscaler"): "Hours to sell until a GB200 pays",
    ("layers/price-your-traffic", "cost_per_million"): "A million tokens on rented H100s",
    ("layers/chips", "b200_chip_margin"): "Nvidia's margin on a B200",
    ("layers/chips", "least_output"): "Work at which own silicon pays, of a B200's",
    ("layers/memory-packaging", "b200_buildable"): "B200s that packaging and memory allow",
    ("stack/token-dollar", "yours_left"): "Left to OpenAI of a token's dollar, on Oracle",
    ("stack/token-dollar", "yours_to_nvidia"): "Nvidia's part of a token's dollar",
    ("stack/token-dollar", "yours_to_oracle"): "Oracle's part of a token's dollar",
    ("decide/build-rent-api", "even_volume"): "Tokens from which owning beats an API",
    ("decide/startup-alliances", "startup_gap"): "A startup's cost of a token over a large lab's",
    ("decide/scenarios-2030", "stock_here"): "AI compute at the end of 2030",
    ("decide/scenarios-2030", "rent_here"): "Rent of an H100-hour at the end of 2030",
    ("decide/scenarios-2030", "cloud_here"): "Rent of clouds in a token's dollar of 2030",
}
"""Numbers that a strategist asks for first, at the chapters' own choices of model and chain."""


class Outcome(NamedTuple):
    """What a chapter found, and with which parameters."""

    values: Mapping[str, Value]
    findings: list[dict[str, Any]]


Results = Mapping[str, Outcome]
"""Outcomes by chapter."""


class Stated(NamedTuple):
    """A finding's value and its range, where it has one."""

    value: float
    low: float | None = None
    high: float | None = None


class Move(NamedTuple):
    """A finding at the reference and under a scenario."""

    chapter: str
    finding: str
    unit: str
    was: Stated
    now: Stated
    repeats: str
    """The parameter that it only repeats, if it does: what was set, not what follows."""

    @property
    def change(self) -> float:
        """Difference of the values; 0 where they differ by rounding alone."""
        one, other = self.was.value, self.now.value
        size = max(abs(each) for each in (*self.was, *self.now) if each is not None)
        return 0.0 if same(one, other, size) else other - one

    @property
    def relative(self) -> float | None:
        """The change over the size of the reference's value, None if that is zero."""
        return self.change / abs(self.was.value) if self.was.value else None

    @property
    def moved(self) -> float:
        """How far the value moved, by the measure that comparisons are sorted by.

        The change over the width of the reference's range: 1 is as far as the book is unsure.
        Without a range, over the larger of the two values: 1 is from nothing, or to nothing.
        """
        if not self.change:
            return 0.0
        if self.was.low is not None and self.was.high is not None and self.was.high > self.was.low:
            return abs(self.change) / (self.was.high - self.was.low)
        return abs(self.change) / max(abs(self.was.value), abs(self.now.value))

    @property
    def overlap(self) -> bool | None:
        """Whether the two ranges have a value in common; None where one has no range."""
        (_, low, high), (_, other_low, other_high) = self.was, self.now
        if low is None or high is None or other_low is None or other_high is None:
            return None
        return low <= other_high and other_low <= high

    def told(self) -> dict[str, Any]:
        """For JSON."""
        measures = ("change", "relative", "moved", "overlap")
        told = {**self._asdict(), "was": self.was._asdict(), "now": self.now._asdict()}
        return told | {name: getattr(self, name) for name in measures}


def moves(was: Results, now: Results) -> list[Move]:
    """Every finding that both have, the most moved first, those that repeat a parameter last."""
    found = []
    for chapter in was.keys() & now.keys():
        before, after = was[chapter], now[chapter]
        other = {one["name"]: one for one in after.findings}
        for one in before.findings:
            if one["name"] in other:
                pair = _stated(one), _stated(other[one["name"]])
                repeats = _repeated(one, *pair, before.values, after.values)
                found.append(Move(chapter, one["name"], one["unit"], *pair, repeats))
    return sorted(found, key=lambda m: (bool(m.repeats), -m.moved, m.chapter, m.finding))


def unpaired(was: Results, now: Results) -> list[tuple[str, str]]:
    """Chapter and name of findings that only one of the two states."""
    names = [
        {(chapter, one["name"]) for chapter, outcome in each.items() for one in outcome.findings}
        for each in (was, now)
    ]
    return sorted(names[0] ^ names[1])


def _stated(record: Mapping[str, Any]) -> Stated:
    return Stated(record["value"], record.get("low"), record.get("high"))


def _repeated(
    record: Mapping[str, Any],
    was: Stated,
    now: Stated,
    before: Mapping[str, Value],
    after: Mapping[str, Value],
) -> str:
    """The changed parameter whose value the finding states, in its own unit or ten to a power."""
    for name, value in after.items():
        old = before.get(name)
        if isinstance(value, bool | str) or isinstance(old, bool | str) or not (value and old):
            continue
        if value == old:
            continue
        scale = was.value / old
        power = math.log10(scale) if scale > 0 else 0.5
        if abs(power - round(power)) < 1e-9 and math.isclose(now.value / value, scale):
            return name
    return ""


def outcomes(book: Book, store: Store) -> Results:
    """What `store` shows of the book, as last built."""
    shown = ((name, store.shown(chapter)) for name, chapter in book.chapters.items())
    return {name: Outcome(one.values, one.findings) for name, one in shown if one}


def number(value: float) -> str:
    """Three digits, or all in front of the point, with thousands apart; powers from 10 million."""
    size = abs(value)
    if 1000 <= size < 1e7:
        return f"{value:,.0f}"
    return f"{value:.3g}" if size < 1000 else f"{value:.2e}"


def ranged(stated: Stated) -> str:
    """A value with its range in words."""
    if stated.low is None or stated.high is None:
        return number(stated.value)
    return f"{number(stated.value)} ({number(stated.low)} to {number(stated.high)})"


def changed(move: Move) -> str:
    """The change in percent, a large one as a factor; in its unit where a value is not above 0."""
    was, now = move.was.value, move.now.value
    if was <= 0 or now <= 0 or move.relative is None:
        unit = {"1": "", "%": " points"}.get(move.unit, f" {move.unit}")
        return f"{'+' if move.change > 0 else ''}{number(move.change)}{unit}"
    if now / was >= 10:
        return f"\N{MULTIPLICATION SIGN}{number(now / was)}"
    return f"{100 * move.relative:+.3g}%"


def words(name: str) -> str:
    """A finding's name as words."""
    return name.replace("_", " ")


def unit_words(unit: str) -> str:
    """A unit behind its number."""
    return {"1": "", "%": "%"}.get(unit, f" {unit}")


def counted(of: list[Move]) -> str:
    """How many findings move, and how far, in a sentence."""
    free = [move for move in of if not move.repeats]
    moving = [move for move in free if move.moved]
    out = [
        move
        for move in moving
        if move.was.low is not None
        and move.was.high is not None
        and not move.was.low <= move.now.value <= move.was.high
    ]
    if not moving:
        return "no finding moves, but for those that repeat a parameter"
    return (
        f"{len(moving):,} of {len(free):,} findings move, {f'{len(out):,}' if out else 'none'} of "
        "them out of the range that they have at the reference"
    )


def headline_chart(titles: Mapping[str, str], results: Mapping[str, Results]) -> Any:
    """Small charts of the headline numbers under each scenario of `results`, or None.

    The first of `results` is the reference; `titles` are of scenarios.
    """
    import altair as alt
    import polars as pl

    from stackbook import charts

    first, *others = results
    furthest: dict[str, Move] = {}
    for scenario in others:
        for move in moves(results[first], results[scenario]):
            if (move.chapter, move.finding) in HEADLINES:
                furthest.setdefault(scenario, move)
    if not furthest:
        return None
    titles = {**titles, BASE: "The book"}  # its title has no room
    rows = []
    for (chapter, name), about in HEADLINES.items():
        for scenario, found in results.items():
            outcome = found.get(chapter)
            for record in outcome.findings if outcome else ():
                if record["name"] == name:
                    rows.append(
                        {
                            "number": about,
                            "unit": record["unit"],
                            "scenario": titles[scenario],
                            **_stated(record)._asdict(),
                            "_label": number(record["value"]),
                            "_of": "reference" if scenario == first else "scenario",
                        }
                    )
    schema = {"value": pl.Float64, "low": pl.Float64, "high": pl.Float64}
    table = pl.DataFrame(rows, schema_overrides=schema, infer_schema_length=None)
    colour = alt.Color(
        "_of:N",
        scale=alt.Scale(domain=["reference", "scenario"], range=[charts.MUTED, charts.SERIES[0]]),
        legend=None,
    )
    names = alt.Axis(grid=False, domain=False, ticks=False, labelColor=charts.INK, labelLimit=110)
    up = alt.Y("scenario:N", sort=[titles[each] for each in results], title=None, axis=names)
    parts = []
    for about, unit in table.select("number", "unit").unique(maintain_order=True).iter_rows():
        ours = table.filter(number=about)
        ends = [*ours["value"], *ours["low"].drop_nulls(), *ours["high"].drop_nulls()]
        least, most = min(0.0, 1.06 * min(ends)), max(0.0, *ends)
        scale = alt.Scale(domain=[least, most + 0.25 * (most - least or 1.0)], nice=False)
        # Of SI's letters only those above one: "m" reads as million.
        form = "~s" if most >= 1000 else "~r"
        axis = alt.Axis(grid=True, domain=False, ticks=False, tickCount=3, format=form)
        title = f"({'ratio' if unit == '1' else unit})"

        def along(field: str, scale: Any = scale, axis: Any = axis, title: str = title) -> Any:
            return alt.X(field, type="quantitative", title=title, scale=scale, axis=axis)

        only = alt.Chart().transform_filter(alt.datum["number"] == about).encode(up, color=colour)
        bar = (
            only.transform_filter("isValid(datum.low)")
            .mark_rule(strokeWidth=4, opacity=0.55)
            .encode(along("low"), alt.X2("high"))
        )
        dot = only.mark_circle(size=60, opacity=1).encode(
            along("value"), tooltip=["scenario:N", "value:Q", "low:Q", "high:Q"]
        )
        said = (
            only.transform_calculate(_end="isValid(datum.high) ? datum.high : datum.value")
            .mark_text(align="left", dx=8, fontSize=11, color=charts.INK)
            .encode(along("_end"), alt.Text("_label:N"), color=alt.value(charts.INK))
        )
        parts.append(
            alt.layer(bar, dot, said).properties(
                height=20 * len(results),
                title=alt.TitleParams(about, anchor="start", fontSize=13, offset=6),
            )
        )
    chart = alt.concat(*parts, data=table, columns=2).resolve_scale(color="shared")
    told = {
        scenario: f"{HEADLINES[move.chapter, move.finding]}, from {number(move.was.value)} to "
        f"{number(move.now.value)}{unit_words(move.unit)}"
        for scenario, move in furthest.items()
    }
    most = max(furthest, key=lambda scenario: furthest[scenario].moved)
    return charts.figure(
        chart,
        title=f"Moved furthest: {_low(told[most])} under {titles[most]}",
        alt="Dots with ranges of each number, a line for each scenario, the reference in grey. "
        "Moved furthest under each: "
        + "; ".join(f"{titles[scenario]}: {_low(each)}" for scenario, each in told.items()),
        source="findings of the chapters, computed",
    )


def _low(text: str) -> str:
    """`text` within a sentence, unless it opens with a name."""
    named = text.startswith(("Nvidia", "Oracle", "B200"))
    return text if named else text[:1].lower() + text[1:]


def section(built: "Built") -> str:
    """The page of scenarios: what each moves, and what it is."""
    stories = shipped(built.book)
    alone = len(built.stores) == 1
    lines = _unbuilt(built.book, stories) if alone else _compared(built, stories)
    return "\n".join(lines)


def _unbuilt(book: Book, stories: Mapping[str, Scenario]) -> Iterator[str]:
    yield ":::{admonition} What this page answers"
    yield "What the book's numbers would be in another story. This site has one set of values;"
    yield "`stackbook build --all` makes the book under each story below and tells here what moves."
    yield ":::"
    yield ""
    yield from _how(stories)
    for name, story in stories.items():
        if name != BASE:
            yield from _story(story, book)


def _compared(built: "Built", stories: Mapping[str, Scenario]) -> Iterator[str]:
    from stackbook.press import made

    results = {name: outcomes(built.book, store) for name, store in built.stores.items()}
    titles = {name: stories[name].title for name in results}
    by_story = {
        name: moves(results[BASE], found) for name, found in results.items() if name != BASE
    }
    yield ":::{admonition} What this page answers"
    yield "**Which story moves what most?** Named are the headline numbers that move furthest, by"
    yield "the range that a number has at the book's own values, or by its size where it has none."
    yield "Each page leads to itself under the other stories, from its header."
    yield ""
    for name, of in by_story.items():
        told = " and ".join(
            f"{_link(name, move, _low(HEADLINES.get((move.chapter, move.finding), '')))} from "
            f"{number(move.was.value)} to {number(move.now.value)}{unit_words(move.unit)}"
            for move in _leaders(of)
        )
        yield f"- **{escaped(titles[name])}**: {told or 'nothing'}; {counted(of)}."
    yield ":::"
    yield ""
    chart = headline_chart(titles, results)
    if chart is not None:
        yield "## The headline numbers"
        yield ""
        yield made.chart(chart)
        yield ""
    yield from _how(stories)
    for name, of in by_story.items():
        yield from _story(stories[name], built.book)
        yield f"{escaped(titles[name])} against the book: {counted(of)}."
        yield ""
        yield from _moved(name, of)


def _leaders(of: list[Move]) -> list[Move]:
    """The two most moved headline numbers, or findings where none of them moves."""
    free = [move for move in of if move.moved and not move.repeats]
    return ([move for move in free if (move.chapter, move.finding) in HEADLINES] or free)[:2]


def _how(stories: Mapping[str, Scenario]) -> Iterator[str]:
    example = next((name for name in stories if name != BASE), BASE)
    yield "## Compare them yourself"
    yield ""
    yield "```bash"
    yield f"stackbook compare {BASE} {example}"
    yield f"stackbook compare {BASE} {example} --html compared.html"
    yield f"stackbook build --scenario {example}"
    yield "```"
    yield ""
    yield "Instead of a name, give the path of a YAML file of your own, with the same keys as those"
    yield "in `book/scenarios/`. With `--json` you get every finding."
    yield ""


def _story(story: Scenario, book: Book) -> Iterator[str]:
    """What a scenario tells, and what it sets, from where."""
    yield f"## {escaped(story.title)}"
    yield ""
    yield escaped(story.story)
    yield ""
    rows = []
    for name, value in story.parameters.items():
        owners = [one.parameters[name] for one in book.chapters.values() if name in one.parameters]
        default = " or ".join(dict.fromkeys(pages.shown_as(one, one.default) for one in owners))
        unit = owners[0].shown_unit
        said = story.sources.get(name)
        why = f"{said.why} ({_OURS.get(said.source) or facts.cite(said.source)})" if said else ""
        about = f"{owners[0].meaning}<br>{escaped(why)}" if why else owners[0].meaning
        here = pages.shown_as(owners[0], value)
        rows.append([f"`{name}`", default, f"**{here}**", unit, about])
    yield from table(["Parameter", "Book", "Here", "Unit", "How the value follows"], rows)
    yield ""


def _moved(story: str, of: list[Move]) -> Iterator[str]:
    """The findings that a scenario moves most, each with the way to its page."""
    most = [move for move in of if move.moved and not move.repeats][:SHOWN]
    if not most:
        return
    rows = []
    for move in most:
        unit = "" if move.unit == "1" else move.unit
        width = number(move.moved) if move.was.low is not None else "no range"
        name = f"{_link(story, move)}<br><small>{move.chapter}</small>"
        rows.append([name, ranged(move.was), ranged(move.now), unit, changed(move), width])
    yield from table(["Finding", "Book", "Here", "Unit", "Change", "Widths of its range"], rows)
    yield ""
    yield "Names are those that each page offers under *Findings (JSON)*, at its end."
    yield ""


def _link(story: str, move: Move, about: str = "") -> str:
    """The way to the page of a finding under a scenario, by what it is about or by its name."""
    return f"{{scenario}}`{about or words(move.finding)} <{story}/{move.chapter}>`"


_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 "Liberation Sans", Arial, Helvetica, sans-serif; margin: 2rem auto;
  max-width: 60rem; padding: 0 1rem; }
table { border-collapse: collapse; font-size: .875rem; }
th, td { padding: .25rem .75rem .25rem 0; text-align: left; vertical-align: top; }
thead th { border-bottom: 1px solid; }
.wide { overflow-x: auto; }
figure { margin: 0; background: #fff; padding: .5rem; }
svg { max-width: 100%; height: auto; }
"""


def page(stories: Mapping[str, Scenario], results: Mapping[str, Results]) -> str:
    """A comparison as a web page in one file; the first of `results` is the reference."""
    from stackbook import charts

    first, *others = results
    titles = {name: stories[name].title for name in results}
    against = ", ".join(titles[name] for name in others)
    parts = [f"<h1>{escape(against)} against {escape(titles[first])}</h1>"]
    chart = headline_chart(titles, results)
    if chart is not None:
        spec = chart.to_dict()
        words_of = escape(spec["description"])
        picture = f'<figure role="img" aria-label="{words_of}">{charts.still(spec, 900)}</figure>'
        parts.append(picture)
    for name in others:
        of = moves(results[first], results[name])
        parts += [f"<h2>{escape(titles[name])}</h2>", f"<p>{escape(stories[name].story)}</p>"]
        given = ", ".join(f"{p} = {plain(v)}" for p, v in stories[name].parameters.items())
        parts += [f"<p>{escape(given)}</p>", f"<p>{counted(of)}.</p>"]
        heads = ("Chapter", "Finding", titles[first], titles[name], "Unit", "Change", "Moved")
        rows = [
            (
                *(move.chapter, words(move.finding), ranged(move.was), ranged(move.now)),
                *("" if move.unit == "1" else move.unit, changed(move), number(move.moved)),
            )
            for move in of
            if move.moved
        ]
        body = "".join(_cells("td", row) for row in rows)
        head = f"<thead>{_cells('th', heads)}</thead>"
        parts.append(f'<div class="wide"><table>{head}<tbody>{body}</tbody></table></div>')
    parts.append(
        "<p>Moved: the change over the width of the range that a finding has at the reference; over"
        " the larger of both values where it has none. Findings that only repeat a parameter stand "
        "last.</p>"
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width">\n'
        f"<title>{escape(against)} against {escape(titles[first])}</title>\n"
        f"<style>{_STYLE}</style>\n</head>\n<body>\n" + "\n".join(parts) + "\n</body>\n</html>\n"
    )


def _cells(tag: str, row: Iterable[str]) -> str:
    return f"<tr>{''.join(f'<{tag}>{escape(cell)}</{tag}>' for cell in row)}</tr>"
