"""A finished chart: title, text alternative, source, and the renderer that displays it."""

import re
import textwrap
from collections.abc import Iterator
from typing import Any, TypeVar

import altair as alt

from .colours import GRID, INK, MUTED

MIME = "application/vnd.vegalite.v6+json"
VEGALITE = alt.SCHEMA_VERSION.removeprefix("v").rpartition(".")[0]  # "6.4"
WIDTH = 640  # of the still picture in a notebook [px]
NARROW = 520  # below this, small multiples stand in one column [px]
AXIS = 56  # room for a vertical axis beside a small multiple [px]
TITLE = 48  # characters of an axis title that a phone has room for
GAP = 20  # between small multiples [px]

Chart = TypeVar(
    "Chart", alt.Chart, alt.LayerChart, alt.FacetChart, alt.ConcatChart, alt.HConcatChart
)
Spec = dict[str, Any]


def figure(chart: Chart, *, title: str, alt: str, source: str) -> Chart:
    """Finish `chart`: `title` states what it shows, `alt` says it in sentences with numbers,
    `source` names where its data come from.

    Raises ValueError if one of them is empty, or if a quantitative x or y axis has no title that
    ends in its unit in parentheses: "owner cost (USD per hour)", "share (%)", "yield (ratio)". An
    axis title has at most 48 characters.
    """
    for name, text in {"title": title, "alt": alt, "source": source}.items():
        if not text.strip():
            raise ValueError(f"chart {title!r}: {name} is empty")
    spec = chart.to_dict()
    for channel, titles in _axes(spec):
        stated = [text for text in titles if text]
        if not stated or not all(re.search(r"\(\S[^()]*\)$", text) for text in stated):
            raise ValueError(
                f"chart {title!r}: the {channel} axis needs a title with its unit in parentheses, "
                f"as in 'power (MW)'; it has {', '.join(map(repr, titles)) or 'none'}"
            )
        if long := [text for text in stated if len(text) > TITLE]:
            raise ValueError(f"chart {title!r}: a phone shows {TITLE} characters of {long[0]!r}")
    size = {} if {"spec", "concat", "hconcat"} & spec.keys() else {"width": "container"}
    return chart.properties(
        title={"text": textwrap.wrap(title, 76, break_on_hyphens=False), "anchor": "start"},
        description=alt,
        usermeta={"source": source},
        **size,
    )


def _axes(spec: Spec) -> Iterator[tuple[str, list[str | None]]]:
    """Each quantitative x or y axis drawn in `spec`, with the titles that its layers give it."""
    if "spec" in spec:
        header = spec.get("facet", {}).get("header", {}).get("title")
        for channel, titles in _axes(spec["spec"]):
            yield channel, [*titles, header] if channel == "y" and header else titles
    parts = [part for key in ("concat", "hconcat", "vconcat") for part in spec.get(key, [])]
    for part in parts:
        yield from _axes(part)
    for channel in ("x", "y"):
        found = [e[channel] for e in _encodings(spec) if channel in e]
        drawn = [
            e
            for e in found
            if e.get("type") == "quantitative"
            and ("field" in e or "aggregate" in e)
            and e.get("axis", {}) is not None
        ]
        if drawn:
            yield channel, [_title(e) for e in drawn]


def _encodings(spec: Spec) -> Iterator[Spec]:
    if {"facet", "row", "column"} & spec.get("encoding", {}).keys():
        raise ValueError("a facet in the encoding does not adapt its width; use small_multiples")
    yield spec.get("encoding", {})
    for layer in spec.get("layer", []):
        yield from _encodings(layer)


def _title(encoding: Spec) -> str | None:
    """Explicit title; None where it is switched off, the field's name where it is left open."""
    title: str | None = encoding.get("field", "count")
    for part in (encoding, encoding.get("axis", {})):
        title = part.get("title", title)
    return title


def fit(spec: Spec, width: float) -> Spec:
    """`spec` drawn `width` [px] wide; charts.js has the same rule.

    Vega-Lite fits single and layered views. It leaves small multiples alone, so their columns and
    the width of each are set here.
    """
    config = spec.get("config", {})
    legend = {**config.get("legend", {}), "columns": max(1, int(width // 160))}
    spec = {**spec, "config": {**config, "legend": legend}}
    many = "concat" if "concat" in spec else "hconcat" if "hconcat" in spec else None
    if not many and "spec" not in spec:
        return {**spec, "width": width, "autosize": {"type": "fit-x", "contains": "padding"}}
    parts = spec.pop(many) if many else []
    columns = 1 if width < NARROW else spec.get("columns", len(parts) or 1)
    axes = columns if many else 1
    each = int((width - AXIS * axes - GAP * (columns - 1)) / columns)
    if many:
        return {**spec, "columns": columns, "concat": [{**part, "width": each} for part in parts]}
    return {**spec, "columns": columns, "spec": {**spec["spec"], "width": each}}


def still(spec: Spec, width: float = WIDTH) -> str:
    """SVG picture of a Vega-Lite `spec`, `width` [px] wide."""
    import vl_convert  # takes half a second

    return vl_convert.vegalite_to_svg(fit(spec, width), vl_version=VEGALITE)


def _bundle(spec: Spec, **_: Any) -> Spec:
    return {
        MIME: spec,
        "image/svg+xml": still(spec),
        "text/plain": spec.get("description", "chart"),
    }


def _theme() -> alt.theme.ThemeConfig:
    text = {"labelColor": MUTED, "titleColor": MUTED, "labelFontSize": 12, "titleFontSize": 12}
    config: Any = {
        # The same widths on every machine, or a still picture would cut its labels.
        "font": "Liberation Sans, Arial, Helvetica, sans-serif",
        "view": {"stroke": None, "continuousHeight": 300},
        "title": {"color": INK, "fontSize": 15, "offset": 14},
        "axis": {
            **text,
            "titleFontWeight": "normal",
            "gridColor": GRID,
            "domainColor": MUTED,
            "tickColor": MUTED,
            "labelPadding": 4,
            "labelLimit": 160,
        },
        "axisX": {
            "grid": False,
            "tickCount": 5,
            "titlePadding": 8,
            "labelFlush": True,
            "labelSeparation": 8,
            "titleAnchor": "end",
        },
        # The title stands over the axis, where it can be read and takes no width.
        "axisY": {
            "domain": False,
            "ticks": False,
            "tickCount": 5,
            "titleAngle": 0,
            "titleAlign": "left",
            "titleBaseline": "bottom",
            "titleX": 0,
            "titleY": -10,
        },
        "legend": {
            **text,
            "labelColor": INK,
            "orient": "top",
            "offset": 30,  # clear of the title over the vertical axis
            "title": None,
            "symbolType": "square",
        },
        "header": {
            **text,
            "labelColor": INK,
            "labelFontSize": 13,
            "labelFontWeight": "bold",
            "labelAnchor": "start",
            "titleAnchor": "start",
            "titleFontWeight": "normal",
            "titlePadding": 12,
        },
        "facet": {"spacing": GAP},
        "concat": {"spacing": GAP},
        "line": {"strokeWidth": 2.25, "strokeJoin": "round"},
        "text": {"color": INK, "fontSize": 12},
        "rule": {"color": MUTED},
    }
    return {"config": config}


def enable() -> None:
    """Give Altair this look and this renderer."""
    alt.theme.register("stackbook", enable=True)(_theme)
    alt.renderers.register("stackbook", _bundle)
    alt.renderers.enable("stackbook")
