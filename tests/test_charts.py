"""Charts: what they refuse, what they carry, and that everyone can tell their colours apart."""

import datetime as dt
import json
import re
import shutil
import subprocess
import sys
from itertools import combinations, pairwise
from pathlib import Path

import altair as alt
import nbformat
import numpy as np
import polars as pl
import pytest

from stackbook import charts, home
from stackbook.charts.colours import LAYERS, OWNERS, SERIES, luminance
from stackbook.charts.forms import _apart, _ticks_to
from stackbook.press.site import _tables

WORDS = {"title": "It rises", "alt": "Line: rises from 1 to 4 USD.", "source": "Test, 2026."}
STEPS = [("foundry", 0.21), ("memory", 0.34), ("accelerator design", 0.92)]
LAYER_NAMES = [name for name, _ in STEPS]


def capex() -> pl.DataFrame:
    return pl.DataFrame(
        [
            {"date": dt.date(2020 + k, 1, 1), "owner": owner, "usd": (1.0 + i) * 2.0**k}
            for i, owner in enumerate(("Google", "Amazon", "Meta", "Oracle"))
            for k in range(6)
        ]
    )


RANGES = {"row": "chip", "value": "usd", "low": "low", "high": "high", "x_title": "cost (USD)"}


def costs() -> pl.DataFrame:
    """Two dots for the first chip, no range for the last."""
    rows = [("TPU", "Google", 5.0, 4.0, 6.0), ("TPU", "Meta", 5.5, 5.0, 6.5)]
    rows += [("Trainium", "Amazon", 3.0, 2.0, 8.0), ("none", "Oracle", 2.0, None, None)]
    table = pl.DataFrame(rows, ["chip", "owner", "usd", "low", "high"], orient="row")
    return table.with_columns(said=pl.format("{} USD", "usd"))


def forms() -> dict[str, alt.TopLevelMixin]:
    lines = {"x": "date", "y": "usd", "series": "owner", "y_title": "capital expenditure (USD)"}
    owners = charts.owner_scale(["Google", "Amazon", "Meta", "Oracle"])
    layers = charts.layer_scale(LAYER_NAMES)
    parts = pl.DataFrame(
        [
            {"profile": profile, "layer": layer, "usd": usd * share}
            for profile, share in (("bought", 1.0), ("own", 0.6), ("all own", 0.7))
            for layer, usd in STEPS
        ]
    )
    return {
        "lines": charts.lines(capex(), **lines, scale=owners),
        "log lines": charts.lines(capex(), **lines, log=True),
        "small multiples": charts.small_multiples(capex(), **lines, scale=owners),
        "bridge": charts.bridge(STEPS, x_title="price (USD)", total="bill", scale=layers),
        "factors": charts.bridge(STEPS, x_title="cost (ratio)", total="bill", factors=True),
        "ranges": charts.ranges(costs(), **RANGES, by="owner", scale=owners, text="said"),
        "log ranges": charts.ranges(costs(), **RANGES, log=True),
        "stacked": charts.stacked(
            parts, row="profile", part="layer", value="usd", x_title="price (USD)", scale=layers
        ),
    }


def chart(x: alt.X | str = "a:N", y: alt.Y | str = "b:N", **properties: object) -> alt.Chart:
    return alt.Chart(pl.DataFrame({"a": [1, 2], "b": [1.0, 4.0]})).mark_line().encode(x=x, y=y)


@pytest.mark.parametrize("name", WORDS)
def test_figure_needs_words(name):
    with pytest.raises(ValueError, match=f"{name} is empty"):
        charts.figure(chart(), **{**WORDS, name: " "})


@pytest.mark.parametrize(
    "axis",
    [
        alt.Y("b:Q"),
        alt.Y("b:Q", title="price"),
        alt.Y("b:Q", title="price (USD) of a chip"),
        alt.Y("b:Q", title=None),
        alt.Y("b:Q", axis=alt.Axis(title="price ()")),
        alt.Y("sum(b):Q", title="a very long title that no phone has any room for (USD)"),
    ],
)
def test_figure_needs_units(axis):
    with pytest.raises(ValueError, match=r"^chart 'It rises': "):
        charts.figure(chart(y=axis), **WORDS)
    with pytest.raises(ValueError, match=r"the y axis|a phone"):
        charts.figure(alt.layer(chart(), chart(y=axis)), **WORDS)


def test_a_long_title_breaks_at_spaces_alone():
    title = "What intervals that should hold ninety percent are too narrow for: price-performance"
    lines = charts.figure(chart(), **{**WORDS, "title": title}).to_dict()["title"]["text"]
    assert len(lines) > 1 and " ".join(lines) == title


def test_figure_accepts_units_dates_names_and_hidden_axes():
    for y in (alt.Y("b:Q", title="price (USD)"), alt.Y("b:Q", axis=None), "b:T", "b:N"):
        charts.figure(chart(y=y), **WORDS)
    shared = alt.layer(
        chart(y=alt.Y("b:Q", title="price (USD)")), chart(y=alt.Y("b:Q", title=None))
    )
    assert charts.figure(shared, **WORDS).to_dict()["width"] == "container"


def test_figure_refuses_a_facet_that_cannot_adapt():
    with pytest.raises(ValueError, match="small_multiples"):
        charts.figure(chart().encode(facet="a:N"), **WORDS)


@pytest.mark.parametrize("name", forms())
def test_forms_carry_spec_picture_and_words(name):
    data = charts.figure(forms()[name], **WORDS)._repr_mimebundle_()
    assert data["text/plain"] == WORDS["alt"]
    assert data[charts.MIME]["usermeta"] == {"source": WORDS["source"]}
    assert data["image/svg+xml"].startswith("<svg")
    output = nbformat.v4.new_output("display_data", data)
    cell = nbformat.v4.new_code_cell("", outputs=[output])
    nbformat.validate(nbformat.v4.new_notebook(cells=[cell]))


@pytest.mark.parametrize("name", forms())
@pytest.mark.parametrize("width", [340, 640, 800])
def test_forms_fit(name, width):
    spec = charts.figure(forms()[name], **WORDS).to_dict()
    drawn = re.search(r'width="(\d+)"', charts.still(spec, width))
    assert drawn and 0.92 * width <= int(drawn[1]) <= width


def test_same_bytes_in_another_process():
    script = (
        "import json, sys; sys.path.insert(0, sys.argv[1]); import test_charts as t\n"
        "for c in t.forms().values():\n"
        "    s = t.charts.figure(c, **t.WORDS).to_dict(); print(json.dumps(s), t.charts.still(s))"
    )
    command = [sys.executable, "-c", script, str(Path(__file__).parent)]
    runs = [subprocess.run(command, capture_output=True, check=True).stdout for _ in range(2)]
    assert runs[0] == runs[1]
    assert len(runs[0]) > 50_000


def test_importing_stackbook_or_charts_draws_nothing():
    script = "import sys, stackbook; print('altair' in sys.modules); import stackbook.charts; "
    script += "print('vl_convert' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False", "False"]


def test_bridge_ends_where_its_steps_lead():
    rows = forms()["bridge"].to_dict()["datasets"].popitem()[1]
    assert rows[-1]["value"] == pytest.approx(0.21 + 0.34 + 0.92)
    assert all(a["_level"] == pytest.approx(b["_low"]) for a, b in pairwise(rows[:-1]))
    rows = forms()["factors"].to_dict()["datasets"].popitem()[1]
    assert rows[-1]["value"] == pytest.approx(0.21 * 0.34 * 0.92)


def test_forms_refuse_what_they_cannot_show():
    with pytest.raises(ValueError, match="named twice"):
        charts.bridge([("a", 1.0), ("a", 2.0)], x_title="(USD)", total="b")
    with pytest.raises(ValueError, match="positive"):
        charts.bridge([("a", 1.0), ("b", 0.0)], x_title="(ratio)", total="c", factors=True)
    table = pl.DataFrame({"row": ["r"], "part": ["memory"], "value": [1.0]})
    names = {"row": "row", "part": "part", "value": "value", "x_title": "price (USD)"}
    with pytest.raises(ValueError, match="no colour for memory"):
        charts.stacked(table, **names, scale=charts.layer_scale(["cloud"]))
    zero = capex().with_columns(usd=0.0)
    with pytest.raises(ValueError, match="logarithmic"):
        charts.lines(zero, x="date", y="usd", series="owner", y_title="(USD)", log=True)


def test_scales_name_the_nearest_known():
    with pytest.raises(ValueError, match="did you mean 'accelerator design'"):
        charts.layer_scale(["accelerator"])
    with pytest.raises(ValueError, match="no colour for the owner 'Acme'; known: Nvidia"):
        charts.owner_scale(["Acme"])


def test_labels_do_not_overlap():
    places = np.array(_apart([1.0, 1.0, 1.01, 5.0, 5.2], [0.0, 10.0], False, 300.0)) * 30.0
    assert np.diff(np.sort(places)).min() >= 15.0 - 1e-9
    assert np.argsort(places).tolist() == [0, 1, 2, 3, 4]


def gaps() -> pl.DataFrame:
    """2022 is missing, and so is Meta's last value."""
    year, meta = pl.col("date").dt.year(), pl.col("owner") == "Meta"
    usd = pl.when((year != 2022) & ~(meta & (year == 2025))).then("usd")
    return capex().with_columns(usd=usd, low=usd * 0.8, high=usd * 1.5)


@pytest.mark.parametrize("form", [charts.lines, charts.small_multiples])
def test_a_line_breaks_where_values_are_missing(form):
    table, names = gaps(), {"x": "date", "y": "usd", "series": "owner", "y_title": "spent (USD)"}
    spec = charts.figure(form(table, **names), **WORDS).to_dict()
    rows = next(rows for rows in spec["datasets"].values() if "usd" in rows[0])
    assert len(rows) == table.height
    assert sum(row["usd"] is None for row in rows) == 5
    drawn = re.findall(r"<path[^>]*line mark[^>]*>", charts.still(spec))
    paths = [re.search(r' d="([^"]*)"', path)[1] for path in drawn]
    assert sum(path.count("M") for path in paths) == 8  # each in two pieces


def test_small_multiples_show_a_band_and_the_last_value():
    names = {"x": "date", "y": "usd", "series": "owner", "y_title": "spent (USD)"}
    spec = charts.small_multiples(gaps(), **names, band=("low", "high")).to_dict()
    layers = spec["spec"]["layer"]
    assert [layer["mark"]["type"] for layer in layers] == ["area", "line", "text"]
    domains = [layer["encoding"]["y"]["scale"]["domain"] for layer in layers]
    assert domains == [[0.0, pytest.approx(1.2 * 1.5 * 128.0)]] * 3
    (rows,) = spec["datasets"].values()
    ends = {row["owner"]: row["_end"] for row in rows if row["_end"] is not None}
    assert ends == {"Google": 32.0, "Amazon": 64.0, "Meta": 48.0, "Oracle": 128.0}


@pytest.mark.parametrize("width", [340, 640])
def test_a_legend_is_not_cut(width):
    parts = ["memory at 15.1 USD per GB", "packaging, loss, test", "designer's margin", "system"]
    table = pl.DataFrame({"row": ["B200 (rack)"] * 4, "part": parts, "usd": [1.0] * 4})
    names = {"row": "row", "part": "part", "value": "usd", "x_title": "price (USD)"}
    scale = alt.Scale(domain=parts, range=list(SERIES[:4]))
    spec = charts.figure(charts.stacked(table, **names, scale=scale), **WORDS).to_dict()
    picture = charts.still(spec, width)
    assert all(part.replace("'", "&#39;") in picture or part in picture for part in parts)
    drawn = re.search(r'width="(\d+)"', picture)
    assert drawn and int(drawn[1]) <= width


@pytest.mark.parametrize(
    ("end", "ticks"),
    [
        (0.0, [0.0, 0.2]),
        (0.6, [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6]),
        (7.0, [0.0, 2.0, 4.0, 6.0, 8.0]),
        (100.0, [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]),
        (52_136.0, [0.0, 10_000.0, 20_000.0, 30_000.0, 40_000.0, 50_000.0, 60_000.0]),
    ],
)
def test_stacked_bars_end_at_a_whole_tick(end, ticks):
    assert _ticks_to(end) == ticks
    table = pl.DataFrame({"row": ["r"], "part": ["memory"], "usd": [end]})
    names = {"row": "row", "part": "part", "value": "usd", "x_title": "price (USD)"}
    spec = charts.stacked(table, **names, scale=charts.layer_scale(["memory"])).to_dict()
    axes = [layer["encoding"]["x"] for layer in spec["layer"]]
    assert [axis["scale"]["domain"] for axis in axes] == [[0.0, ticks[-1]]] * 3
    assert [axis["axis"]["values"] for axis in axes] == [ticks] * 3


def test_negative_parts_of_a_stack_stand_left_of_zero():
    parts, usd = ["foundry", "memory", "cloud"], [150.0, -50.0, -10.0, 30.0, 40.0, 20.0]
    table = pl.DataFrame({"row": [*"aaabbb"], "part": parts * 2, "usd": usd})
    names = {"row": "row", "part": "part", "value": "usd", "x_title": "price (USD)"}
    spec = charts.stacked(table, **names, scale=charts.layer_scale(parts)).to_dict()
    (rows,) = spec["datasets"].values()
    ends = [(row["_low"], row["_high"]) for row in rows]
    assert ends[:3] == [(0.0, 150.0), (0.0, -50.0), (-50.0, -60.0)]
    assert ends[3:] == [(0.0, 30.0), (30.0, 70.0), (70.0, 90.0)]
    bar, *words = spec["layer"]
    assert bar["encoding"]["x"]["scale"]["domain"] == [-100.0, 150.0]
    assert len(words) == 1, "both bars add up to 90, which none of them has to say"


def test_ranges_hold_every_dot_and_bar_and_draw_none_without_ends():
    for form, low in (("ranges", 0.0), ("log ranges", 1.6)):
        bar, dot, *words = forms()[form].to_dict()["layer"]
        left, right = dot["encoding"]["x"]["scale"]["domain"]
        assert left == pytest.approx(low) and right > 8.0
        assert bar["transform"] == [{"filter": "isValid(datum['low'])"}]
        assert len(words) == (form == "ranges")
        assert dot["encoding"]["y"]["scale"]["domain"] == ["TPU", "Trainium", "none"]
    pictures = {name: charts.still(forms()[name].to_dict()) for name in ("ranges", "log ranges")}
    for svg in pictures.values():
        assert svg.count('aria-roledescription="circle"') == 4
        assert svg.count('aria-roledescription="rule mark"') == 3, "the last row has no bar"


def test_data_leaves_out_what_only_helps_to_draw():
    table, *others = _tables(forms()["lines"].to_dict())
    assert table.splitlines()[:2] == ["date,owner,usd", "2020-01-01,Google,1.0"]
    assert not others
    assert _tables(forms()["bridge"].to_dict())[0].startswith("step,value\nfoundry,0.21\n")
    places = {"datasets": {"labels": [{"series": "memory", "_at": 1.0}]}}
    assert _tables(places) == []


COLOURS = {**LAYERS, **OWNERS, **{f"series {k}": colour for k, colour in enumerate(SERIES)}}


@pytest.mark.parametrize("name", COLOURS)
def test_colours_stand_out_on_white_and_dark(name):
    light = luminance(COLOURS[name])
    assert (1.0 + 0.05) / (light + 0.05) >= 3.0
    assert (light + 0.05) / (luminance("#121212") + 0.05) >= 3.0


@pytest.mark.parametrize("name", COLOURS)
def test_on_the_dark_page_a_label_can_have_the_colour_of_its_line(name):
    colour = COLOURS[name]
    lighter = charts.on_dark()[colour]
    light = luminance(lighter)
    assert (light + 0.05) / (luminance("#121212") + 0.05) >= 4.5
    assert (light + 0.05) / (luminance("#111111") + 0.05) >= 4.5, "text on a bar"
    hues = [np.arctan2(lab[2], lab[1]) for lab in (views(colour)[0], views(lighter)[0])]
    assert abs(np.angle(np.exp(1j * (hues[0] - hues[1])), deg=True)) < 4.0


def views(colour: str) -> list[np.ndarray]:
    """The colour in OKLab as most people, protanopes and deuteranopes see it (Machado 2009)."""
    code = np.array([int(colour[i : i + 2], 16) / 255.0 for i in (1, 3, 5)])
    linear = np.where(code <= 0.04045, code / 12.92, ((code + 0.055) / 1.055) ** 2.4)
    protan = [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216]]
    protan.append([-0.003882, -0.048116, 1.051998])
    deutan = [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413]]
    deutan.append([-0.011820, 0.042940, 0.968881])
    cones = [[0.4122214708, 0.5363325363, 0.0514459929], [0.2119034982, 0.6806995451, 0.1073969566]]
    cones.append([0.0883024619, 0.2817188376, 0.6299787005])
    lab = [[0.2104542553, 0.7936177850, -0.0040720468], [1.9779984951, -2.4285922050, 0.4505937099]]
    lab.append([0.0259040371, 0.7827717662, -0.8086757660])
    seen = [linear, *(np.clip(np.array(m) @ linear, 0.0, 1.0) for m in (protan, deutan))]
    return [np.array(lab) @ np.cbrt(np.array(cones) @ rgb) for rgb in seen]


BUYERS = ["Google", "Amazon", "Microsoft", "Meta", "Oracle", "CoreWeave", "OpenAI", "Anthropic"]
SELLERS = ["Nvidia", "AMD", "Broadcom", "TSMC", "Micron", "SK hynix", "Samsung", "Intel", "Google"]


@pytest.mark.parametrize(
    "colours",
    [list(LAYERS.values()), [OWNERS[n] for n in BUYERS], [OWNERS[n] for n in SELLERS], SERIES],
    ids=["layers", "buyers", "sellers", "series"],
)
@pytest.mark.parametrize(("theme", "apart", "least"), [("light", 0.08, 0.04), ("dark", 0.06, 0.03)])
def test_colours_drawn_together_stay_apart(colours, theme, apart, least):
    if theme == "dark":
        colours = [charts.on_dark()[colour] for colour in colours]
    for one, other in combinations(colours, 2):
        usual, *others = (
            np.linalg.norm(a - b) for a, b in zip(views(one), views(other), strict=True)
        )
        assert usual >= apart, (one, other)
        assert min(others) >= least, (one, other)


CHROMIUM = shutil.which("chromium")


@pytest.mark.skipif(not CHROMIUM, reason="no chromium")
def test_browser_fits_as_python_does():
    from playwright.sync_api import sync_playwright

    source = (Path(__file__).parents[1] / "book/_static/charts.js").read_text("utf-8")
    sizes = re.search(r"const NARROW.*;", source)
    rule = re.search(r"function fit\(.*?\n  }\n", source, re.S)
    assert sizes and rule
    small = [charts.figure(form, **WORDS).to_dict() for form in forms().values()]
    small.append((chart() | chart()).to_dict())
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        for spec in small:
            for width in (340, 519, 520, 701):
                call = f"(spec) => {{ {sizes[0]} {rule[0]}; return fit(spec, {width}); }}"
                ours = json.loads(json.dumps(charts.fit(spec, width)))
                assert page.evaluate(call, spec) == ours
        browser.close()


def test_the_page_knows_the_neutral_colours() -> None:
    """It replaces them by the theme's, and the white text on bars by dark text."""
    style = (home() / "book" / "_static" / "charts.css").read_text()
    for colour in (charts.INK, charts.MUTED, charts.GRID, "#ffffff"):
        assert f"--chart-{colour[1:]}: " in style
