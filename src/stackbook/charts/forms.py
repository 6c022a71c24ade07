"""The chart forms that several chapters share. Pass each to `figure` to finish it.

Columns whose names begin with an underscore help to draw; the site leaves them out of the data.
"""

import math
from collections.abc import Iterable
from itertools import accumulate, pairwise
from operator import add, mul
from typing import Any

import altair as alt
import polars as pl

from .colours import INK, LAYERS, SERIES, luminance, series_scale

LINE = 15.0  # height of a line of text [px]
BAR = 34  # height of a bar with its gap [px]
UP, DOWN, TOTAL = SERIES[0], SERIES[1], LAYERS["capital return"]


def lines(
    table: pl.DataFrame,
    *,
    x: str,
    y: str,
    series: str,
    y_title: str,
    x_title: str | None = None,
    scale: alt.Scale | None = None,
    log: bool = False,
    format: str = ",.3~g",
) -> alt.LayerChart:
    """A line for each `series`, its name at its end; `x` is a date, or a number with an `x_title`.

    A line breaks where `y` is missing. The y axis starts at zero or is logarithmic (`log`). `scale`
    colours the series (`owner_scale`, `layer_scale`); `format` prints the values in d3's notation.
    """
    height = 320
    table = table.drop_nulls([x, series]).sort(x, maintain_order=True)
    names = table[series].unique(maintain_order=True).to_list()
    domain = _domain(table[y], log)
    ends = table.drop_nulls(y).group_by(series, maintain_order=True).last()
    ends = ends.select(
        _x=x, _y=pl.Series(_apart(ends[y].to_list(), domain, log, height)), _name=series
    )
    colour = scale or series_scale(names)
    line = (
        alt.Chart(table)
        .mark_line(point={"size": 24, "filled": True})
        .encode(
            _across(table, x, x, x_title),
            _up(y, y_title, domain, log, format),
            alt.Color(series, type="nominal", scale=colour, legend=None),
            tooltip=_tooltip(table, series, x, y, format),
        )
    )
    label = (
        alt.Chart(ends)
        .mark_text(align="left", dx=8, fontWeight="bold")
        .encode(
            _across(table, x, "_x", x_title),
            _up("_y", y_title, domain, log, format),
            alt.Color("_name:N", scale=colour, legend=None),
            alt.Text("_name:N"),
        )
    )
    return alt.LayerChart(layer=[line, label], height=height)


def small_multiples(
    table: pl.DataFrame,
    *,
    x: str,
    y: str,
    series: str,
    y_title: str,
    x_title: str | None = None,
    scale: alt.Scale | None = None,
    log: bool = False,
    columns: int = 3,
    format: str = ",.3~g",
    band: tuple[str, str] | None = None,
) -> alt.FacetChart:
    """A small line chart for each `series`, all on the same axes, in the order of the table.

    Arguments as for `lines`; the last value stands at the end of its line, and `band` names the
    columns of a range around it. On a phone the charts stand in one column.
    """
    table = table.drop_nulls([x, series])
    names = table[series].unique(maintain_order=True).to_list()
    last = pl.col(x).filter(pl.col(y).is_not_null()).max().over(series)
    table = table.with_columns(_end=pl.when(pl.col(x) == last).then(y))
    shown = pl.concat(table[column] for column in (y, *(band or ())))
    domain = _domain(shown.alias(y), log, room=0.2)  # for the last value above the line
    colour = scale or alt.Scale(domain=names, range=[UP] * len(names))
    base = alt.Chart().encode(
        _across(table, x, x, x_title, ticks=3),
        alt.Color(series, type="nominal", scale=colour, legend=None),
    )

    def up(field: str) -> alt.Y:
        return _up(field, None, domain, log, format, ticks=3)

    line = base.mark_line(point={"size": 16, "filled": True}).encode(
        up(y), tooltip=_tooltip(table, series, x, y, format)
    )
    end = base.mark_text(align="right", dy=-11, fontWeight="bold").encode(
        up("_end"), alt.Text("_end:Q", format=format)
    )
    layers = [line, end]
    if band:
        low, high = band
        layers.insert(0, base.mark_area(opacity=0.22).encode(up(low), alt.Y2(high)))
    by = alt.Facet(series, type="nominal", sort=names, header=alt.Header(title=y_title))
    chart: alt.FacetChart = (
        alt.layer(*layers, data=table)
        .properties(height=110)
        .facet(by, columns=columns)
        .resolve_axis(x="independent")
    )
    return chart


def bridge(
    steps: Iterable[tuple[str, float]],
    *,
    x_title: str,
    total: str,
    scale: alt.Scale | None = None,
    factors: bool = False,
    format: str = ",.3~g",
) -> alt.LayerChart:
    """Horizontal bars that lead step by step to a `total`, each with its value.

    Each starts where the one before ended. With `factors` the steps multiply, on a logarithmic
    axis. `scale` colours the steps (`layer_scale`); without it the colour says up or down. Raises
    ValueError for a repeated name or a factor that is not positive.
    """
    steps = list(steps)
    names = [name for name, _ in steps] + [total]
    if len(set(names)) < len(names):
        raise ValueError(f"a step of the bridge is named twice: {', '.join(names)}")
    if factors and not all(value > 0.0 for _, value in steps):
        raise ValueError("every factor of the bridge has to be positive")
    levels = list(accumulate((value for _, value in steps), mul if factors else add))
    floor = min(levels) / 2.0 if factors else 0.0
    colours = dict(zip(scale.domain, scale.range, strict=True)) if scale else {}
    rows: list[dict[str, Any]] = []
    before = floor
    for (name, value), level in zip(steps, levels, strict=True):
        colour = colours.get(name) or (UP if level >= before else DOWN)
        sign = "\N{MULTIPLICATION SIGN}" if factors and rows else ""
        rows.append(_bar(name, value, before, level, colour, sign))
        before = level
    rows.append(_bar(total, before, floor, before, TOTAL))
    for row, after in zip(rows, names[1:] + names[-1:], strict=True):
        row["_next"] = after

    across = alt.Scale(type="log", domainMin=floor, nice=False) if factors else alt.Scale()
    base = alt.Chart().encode(alt.Y("step:N", sort=names, title=None, axis=_NAMES))
    link = base.mark_rule().encode(_along("_level", x_title, across, format), alt.Y2("_next"))
    bar = base.mark_bar(height={"band": 0.62}).encode(
        _along("_low", x_title, across, format),
        alt.X2("_high"),
        alt.Color("_colour:N", scale=None),
        tooltip=["step:N", alt.Tooltip("value:Q", format=format)],
    )
    label = (
        base.transform_calculate(_label=f"datum._sign + format(datum.value, '{format}')")
        .mark_text(align="left", dx=6)
        .encode(_along("_high", x_title, across, format), alt.Text("_label:N"))
    )
    return alt.LayerChart(data=pl.DataFrame(rows), layer=[link, bar, label], height=BAR * len(rows))


def stacked(
    table: pl.DataFrame,
    *,
    row: str,
    part: str,
    value: str,
    x_title: str,
    scale: alt.Scale,
    format: str = ",.3~g",
) -> alt.LayerChart:
    """A horizontal bar for each `row`, stacked of its `part`s in the order of `scale`.

    Parts that are wide enough show their value, each bar shows its total unless all have the same;
    the axis ends at whole ticks. Negative parts stand left of zero. Raises ValueError for a part
    that `scale` has no colour for.
    """
    colours = dict(zip(scale.domain, scale.range, strict=True))
    if missing := set(table[part]) - set(colours):
        raise ValueError(f"the scale has no colour for {', '.join(sorted(missing))}")
    names = table[row].unique(maintain_order=True).to_list()
    order = pl.col(part).replace_strict(list(colours), list(range(len(colours))))
    table = (
        table.select(row, part, value)
        .sort(pl.col(row).replace_strict(names, list(range(len(names)))), order)
        .with_columns(
            _high=pl.col(value).cum_sum().over(row, pl.col(value) < 0.0),
            _text=pl.col(part).replace_strict({k: _text_on(c) for k, c in colours.items()}),
        )
        .with_columns(
            _low=pl.col("_high") - pl.col(value),
            _middle=pl.col("_high") - pl.col(value) / 2.0,
        )
    )
    bars = table.group_by(row, maintain_order=True).agg(
        _total=pl.col(value).sum(), _end=pl.col("_high").max(), _start=pl.col("_high").min()
    )
    totals = bars.select(pl.col(row).alias("_row"), "_total", "_end")
    first, *others = totals["_total"]
    same = bool(others) and all(math.isclose(first, other, rel_tol=1e-9) for other in others)

    ticks = _ticks_to(float(max(0.0, *bars["_end"])), float(min(0.0, *bars["_start"])))
    start, end = ticks[0], ticks[-1]
    # No label is cut: as many columns as have room for the widest, beside the names of the rows.
    # `react` off: `width` is still that of the whole chart, and the legend keeps its height.
    widest, beside = (6 * max(map(len, texts)) + 24 for texts in (colours, names))
    columns = f"max(1, floor((width - {beside}) / {widest}))"
    fitting = alt.param("legend_columns", expr=columns, react=False)
    legend = alt.Legend(columns=alt.ExprRef("legend_columns"), labelLimit=0, offset=12)
    across = alt.Scale(domain=[start, end], nice=False)
    down = alt.Scale(domain=names)
    up = alt.Y(row, type="nominal", scale=down, title=None, axis=_NAMES)
    bar = (
        alt.Chart(table)
        .mark_bar(height={"band": 0.72})
        .encode(
            up,
            _along("_low", x_title, across, format, ticks),
            alt.X2("_high"),
            alt.Color(part, type="nominal", scale=scale, legend=legend),
            tooltip=[row, part, alt.Tooltip(value, format=format)],
        )
    )
    wide = (
        f"length(format(datum['{value}'], '{format}')) * 7 + 6 < "
        f"abs(datum['{value}']) / {end - start} * width"
    )
    inside = (
        alt.Chart(table)
        .mark_text(fontWeight="bold")
        .encode(
            up,
            _along("_middle", x_title, across, format, ticks),
            alt.Text(value, type="quantitative", format=format),
            alt.Color("_text:N", scale=None),
            opacity=alt.condition(wide, alt.value(1), alt.value(0)),
        )
    )
    beyond = (
        alt.Chart(totals)
        .mark_text(align="left", dx=6, fontWeight="bold")
        .encode(
            alt.Y("_row:N", scale=down, title=None, axis=_NAMES),
            _along("_end", x_title, across, format, ticks),
            alt.Text("_total:Q", format=format),
        )
    )
    return alt.LayerChart(
        layer=[bar, inside] if same else [bar, inside, beyond],
        height=BAR * len(names),
        resolve={"scale": {"color": "independent"}},
    ).add_params(fitting)


def ranges(
    table: pl.DataFrame,
    *,
    row: str,
    value: str,
    low: str,
    high: str,
    x_title: str,
    by: str | None = None,
    scale: alt.Scale | None = None,
    legend: bool = False,
    text: str | None = None,
    log: bool = False,
    format: str = ",.3~g",
) -> alt.LayerChart:
    """A line for each `row`: dots at `value` on bars from `low` to `high`, in the table's order.

    Where the ends are missing there is a dot alone. `scale` colours the dots of each `by`, which a
    `legend` can name; `text` is a column of words to write behind a dot and its bar. The axis
    includes zero or is logarithmic (`log`).
    """
    names = table[row].unique(maintain_order=True).to_list()
    table = table.with_columns(_end=pl.max_horizontal(value, high))
    shown = pl.concat(table[c].cast(pl.Float64) for c in (value, low, "_end")).alias(value)
    domain = _domain(shown, log, room=0.22 if text else 0.06)
    domain[0] *= 1.06 if domain[0] < 0 else 1.0
    across = alt.Scale(type="log" if log else "linear", domain=domain, nice=False)
    ticks = _decades(domain) if log else None
    colour: Any = alt.value(UP)
    if by:
        words = alt.Legend(columns=1, offset=4, symbolOpacity=1, symbolType="circle")
        colour = alt.Color(by, type="nominal", scale=scale, legend=words if legend else None)
    lines = alt.Axis(grid=True, domain=False, ticks=False, labelColor=INK, labelLimit=190)
    up = alt.Y(row, type="nominal", scale=alt.Scale(domain=names), title=None, axis=lines)
    base = alt.Chart(table).encode(up, color=colour)
    columns = [column for column in (by, value, low, high) if column]
    hover = [alt.Tooltip(c, format=alt.Undefined if c == by else format) for c in columns]
    bar = (
        base.transform_filter(f"isValid(datum['{low}'])")
        .mark_rule(strokeWidth=4, opacity=0.55)
        .encode(_along(low, x_title, across, format, ticks), alt.X2(high))
    )
    dot = base.mark_circle(size=80, opacity=1).encode(
        _along(value, x_title, across, format, ticks), tooltip=[row, *hover]
    )
    layers = [bar, dot]
    if text:
        said = alt.Chart(table).mark_text(align="left", dx=9, fontWeight="bold")
        at = _along("_end", x_title, across, format, ticks)
        layers.append(said.encode(up, at, alt.Text(text, type="nominal")))
    return alt.LayerChart(layer=layers, height=26 * len(names))


_NAMES = alt.Axis(grid=False, domain=False, ticks=False, labelColor=INK)


def _across(table: pl.DataFrame, x: str, field: str, title: str | None, ticks: int = 5) -> alt.X:
    """Horizontal axis for `field`, which is like the column `x`: a date or a number."""
    kind = table.schema[x]
    if kind.is_temporal():
        return alt.X(field, type="temporal", title=title, axis=alt.Axis(tickCount=ticks))
    whole: dict[str, Any] = (
        {"format": "d", "tickMinStep": 1} if kind.is_integer() else {}
    )  # years: 2026, no comma
    scale = alt.Scale(zero=False, nice=False)
    axis = alt.Axis(tickCount=ticks, **whole)
    return alt.X(field, type="quantitative", title=title, scale=scale, axis=axis)


def _up(
    field: str, title: str | None, domain: list[float], log: bool, format: str, ticks: int = 5
) -> alt.Y:
    scale = alt.Scale(type="log" if log else "linear", domain=domain, nice=False)
    marks = _decades(domain) if log else None
    axis = alt.Axis(
        format=format,
        values=marks if marks else alt.Undefined,
        tickCount=len(marks) if marks else ticks,
    )
    return alt.Y(field, type="quantitative", title=title, scale=scale, axis=axis)


def _along(
    field: str, title: str, scale: alt.Scale, format: str, ticks: list[float] | None = None
) -> alt.X:
    values = ticks or alt.Undefined
    axis = alt.Axis(grid=True, domain=False, ticks=False, format=format, values=values)
    return alt.X(field, type="quantitative", title=title, scale=scale, axis=axis)


def _tooltip(table: pl.DataFrame, series: str, x: str, y: str, format: str) -> list[Any]:
    temporal = table.schema[x].is_temporal()
    when = alt.Tooltip(x, type="temporal", format="%b %Y") if temporal else x
    return [series, when, alt.Tooltip(y, type="quantitative", format=format)]


def _bar(
    step: str, value: float, start: float, level: float, colour: str, sign: str = ""
) -> dict[str, Any]:
    return {
        "step": step,
        "value": value,
        "_low": min(start, level),
        "_high": max(start, level),
        "_level": level,
        "_colour": colour,
        "_sign": sign,
    }


def _domain(values: pl.Series, log: bool, room: float = 0.05) -> list[float]:
    """From zero, or about the least value if `log`, to the largest and `room` above it."""
    numbers: list[float] = values.drop_nulls().to_list()
    low, high = float(min(numbers)), float(max(numbers))
    if log:
        if low <= 0.0:
            raise ValueError(f"{values.name} reaches {low:g}; a logarithmic axis needs values > 0")
        return [low / 1.25, 1.25 * high * (high / low) ** room]
    return [min(0.0, low), high + room * (high - min(0.0, low))]


def _decades(domain: list[float]) -> list[float]:
    """Ticks of a logarithmic axis: powers of ten, with 2 and 5 between them on a short one."""
    low, high = (math.log10(value) for value in domain)
    steps = (1.0, 2.0, 5.0) if high - low < 2.5 else (1.0,)
    ticks = [m * 10.0**k for k in range(math.floor(low), math.ceil(high)) for m in steps]
    return [float(f"{tick:.6g}") for tick in ticks if domain[0] <= tick <= domain[1]]


def _ticks_to(end: float, start: float = 0.0) -> list[float]:
    """Whole ticks from `start`, 0 or less, to `end`, 0 or more; about six steps of 2, 5 or 10."""
    span = end - start
    unit = 10.0 ** math.floor(math.log10(span)) if span > 0.0 else 1.0
    step = next(s for s in (0.2 * unit, 0.5 * unit, unit, 2.0 * unit) if span <= 6.0 * s)
    first, last = math.floor(start / step + 1e-9), max(1, math.ceil(end / step - 1e-9))
    return [float(f"{step * k:.6g}") for k in range(first, last + 1)]


def _apart(values: list[float], domain: list[float], log: bool, height: float) -> list[float]:
    """Where on the y axis to write a label for each value so that no two overlap."""
    scale = math.log if log else float
    low, high = scale(domain[0]), scale(domain[1])
    at = [(scale(value) - low) / (high - low) * height for value in values]
    order = sorted(range(len(at)), key=at.__getitem__)
    # Push up from below, then down from above, and meet half way.
    rising, falling = at.copy(), at.copy()
    for a, b in pairwise(order):
        rising[b] = max(rising[b], rising[a] + LINE)
    for b, a in pairwise(order[::-1]):
        falling[a] = min(falling[a], falling[b] - LINE)
    step = (high - low) / height
    middle = [low + (u + d) / 2.0 * step for u, d in zip(rising, falling, strict=True)]
    return [math.exp(place) if log else place for place in middle]


def _text_on(colour: str) -> str:
    return "#ffffff" if luminance(colour) < 0.18 else "#111111"
