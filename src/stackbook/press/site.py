"""What Jupyter Book needs to draw the executed chapters as a site that asks no other site.

A MyST-NB renderer puts each Vega-Lite output into the page as a still picture, its data and its
specification, which `charts.js` draws. A Sphinx extension brings Vega and MathJax along.
"""

import csv
import io
import json
import os
import re
import shutil
from collections.abc import Callable
from hashlib import sha256
from html import escape
from importlib.metadata import version
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import quote

from docutils import nodes
from docutils.parsers.rst import Directive
from sphinx.util import logging
from sphinx.util.docutils import ReferenceRole

from stackbook import charts
from stackbook.press.changes import FEED
from stackbook.press.pages import STORIES
from stackbook.press.scenarios import BASE
from stackbook.press.store import KEPT, SCENARIOS, USED, write

logger = logging.getLogger(__name__)

WIDE, NARROW = 640, 340  # still pictures [px]
PHONE = 600  # below this window the narrow one shows [px]


class vegalite(nodes.General, nodes.Element):  # type: ignore[misc]  # noqa: N801
    """A chart in a document; `spec` is its Vega-Lite specification."""


class VegaLite:
    """MyST-NB renderer for Vega-Lite outputs."""

    mime_priority_overrides = (("html", charts.MIME, 1),)

    @staticmethod
    def handle_mime(renderer: Any, data: Any, inline: bool) -> list[nodes.Node] | None:
        if inline or data.mime_type != charts.MIME:
            return None
        return [vegalite(spec=json.loads(json.dumps(data.content)))]


class Chart(Directive):  # type: ignore[misc]
    """A chart that the press made itself: the directive's text is its specification."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        return [vegalite(spec=json.loads("\n".join(self.content)))]


def setup(app: Any) -> dict[str, Any]:
    app.stackbook_kept = set()
    app.add_node(vegalite, html=(_visit, None))
    app.add_css_file("colours.css")
    app.add_directive("vega-lite", Chart)
    app.add_role("scenario", Under())
    app.connect("config-inited", _offer)
    app.connect("builder-inited", _bring)
    app.connect("html-page-context", _switch)
    app.connect("html-page-context", _announce)
    app.connect("env-before-read-docs", _sparingly)
    app.connect("doctree-resolved", _place)
    app.connect("build-finished", _finish)
    return {"parallel_read_safe": True, "parallel_write_safe": False}


def _bring(app: Any) -> None:
    """Write Vega, MathJax and the dark page's colours beside the pages.

    Scripts in a source's `_static` load everywhere.
    """
    if app.builder.name != "html":
        return
    import vl_convert

    static = Path(app.outdir, "_static")
    static.mkdir(parents=True, exist_ok=True)
    script = _kept(
        app,
        f"vega {charts.VEGALITE}",
        lambda: vl_convert.javascript_bundle(None, vl_version=charts.VEGALITE),  # type: ignore[arg-type]
    )
    about = "/* Vega, Vega-Lite and Vega-Embed (BSD-3-Clause) */"
    (static / "vega.js").write_text(f"{about}\n(() => {{{script}}})();\n", "utf-8")
    pairs = charts.on_dark().items()
    properties = " ".join(f"--chart-{colour[1:]}: {lighter};" for colour, lighter in pairs)
    (static / "colours.css").write_text(f'html[data-theme="dark"] {{ {properties} }}\n', "utf-8")
    found = find_spec("sphinx-mathjax-offline")
    assert found and found.origin
    source = Path(found.origin).parent / "static/mathjax"
    for part in ("output/chtml/fonts/woff-v2", "input/tex/extensions"):
        shutil.copytree(source / part, static / "mathjax" / part, dirs_exist_ok=True)
    shutil.copy2(source / "tex-chtml.js", static / "mathjax")


def _stories(app: Any) -> dict[str, Any]:
    """The scenarios that the book was built under: all, if several, and the one of these pages."""
    path = Path(app.srcdir, STORIES)
    return json.loads(path.read_text("utf-8")) if path.is_file() else {"all": []}


def _depth(app: Any) -> int:
    """How many folders below the root of the site these pages are."""
    stories = _stories(app)
    return len(Path(stories["here"]["folder"]).parts) if stories["all"] else 0


def _address(app: Any, page: str, folder: str, target: str) -> str:
    """Link from `page` to the page `target` of the scenario whose pages are in `folder`."""
    up = "../" * (page.count("/") + _depth(app))
    return f"{up}{folder}{'/' if folder else ''}{target}.html"


def _offer(app: Any, config: Any) -> None:
    """Put the switcher of scenarios into the header of each page."""
    config.templates_path.append(str(Path(__file__).parent / "templates"))
    ends = ["scenarios.html", "article-header-buttons.html"]
    config.html_theme_options = {**config.html_theme_options, "article_header_end": ends}


def _switch(app: Any, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """What the switcher of a page offers: the same page under each scenario."""
    stories = _stories(app)
    if stories["all"]:
        links = [
            {
                **each,
                "url": _address(app, page, each["folder"], page),
                "current": each == stories["here"],
            }
            for each in stories["all"]
        ]
        context["scenarios"] = {"here": stories["here"]["title"], "all": links}


class Under(ReferenceRole):
    """A link to a page under a scenario: {scenario}`words <glut/layers/chips>`."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        name, _, target = self.target.partition("/")
        folder = "" if name == BASE else f"{SCENARIOS}/{name}"
        url = _address(self.env.app, self.env.docname, folder, target)
        return [nodes.reference(self.rawtext, self.title, refuri=url)], []


def _announce(app: Any, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Lead to the feed of releases, which is at the root of the site alone, from the page's head.

    A page that names it, as if it were beside it, leads there, too.
    """
    if Path(app.srcdir, FEED).is_file():
        up = "../" * (page.count("/") + _depth(app))
        context["metatags"] = context.get("metatags", "") + (
            f'<link rel="alternate" type="application/atom+xml" title="Changes" href="{up}{FEED}">'
        )
        context["body"] = context.get("body", "").replace(f'href="{FEED}"', f'href="{up}{FEED}"')


def _kept(app: Any, about: str, make: Callable[[], str]) -> str:
    """What `make` gives for `about`, kept beside the pages' sources for the next build."""
    name = sha256(f"{version('vl-convert-python')} {about}".encode()).hexdigest()
    path = Path(os.environ[KEPT], name)
    text = path.read_text("utf-8") if path.is_file() else ""
    if not text:
        text = make()
        write(path, text)
    app.stackbook_kept.add(name)
    return text


def _still(app: Any, spec: dict[str, Any], width: int) -> str:
    fitted = json.dumps(charts.fit(spec, width), sort_keys=True)
    return _kept(app, fitted, lambda: charts.still(spec, width))


def _sparingly(app: Any, *_: Any) -> None:
    """Only pages with equations load MathJax; Jupyter Book would have all of them load it."""
    app.set_html_assets_policy("per_page")


def _place(app: Any, document: nodes.document, page: str) -> None:
    """Write the pictures and data of a page's charts, and tell each chart its HTML."""
    if app.builder.name != "html":
        return
    root = "../" * page.count("/")
    for k, node in enumerate(document.findall(vegalite), 1):
        spec = {**node["spec"], "background": "transparent"}
        node["html"] = ""
        if "source" not in spec.get("usermeta", {}):
            logger.warning("a chart without a source: finish it with charts.figure", location=page)
            continue
        title = " ".join(spec.pop("title")["text"])
        pictures = [_still(app, spec, width) for width in (WIDE, NARROW)]
        tables = _tables(spec)
        names = [f"_charts/{page}-{k}{suffix}" for suffix in (".svg", "-narrow.svg")]
        tails = [f"-{n}" for n, _ in enumerate(tables, 1)] if tables[1:] else ["" for _ in tables]
        sheets = [f"_charts/{page}-{k}{tail}.csv" for tail in tails]
        for name, text in zip(names + sheets, pictures + tables, strict=True):
            file = Path(app.outdir, name)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, "utf-8", newline="\n")
        links = [quote(root + name) for name in names + sheets]
        node["html"] = _html(spec, title, pictures, links)


def _tables(spec: dict[str, Any]) -> list[str]:
    """The chart's data as CSV, without what only helps to draw: columns `_…`, and names alone."""
    tables = []
    for rows in spec.get("datasets", {}).values():
        columns = [name for name in dict.fromkeys(chain(*rows)) if not name.startswith("_")]
        if any(isinstance(row.get(name), int | float) for row in rows for name in columns):
            text = io.StringIO()
            writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
            writer.writeheader()
            writer.writerows({key: _cell(value) for key, value in row.items()} for row in rows)
            tables.append(text.getvalue())
    return tables


def _cell(value: Any) -> Any:
    return re.sub(r"T00:00:00(\.0+)?$", "", value) if isinstance(value, str) else value


def _html(spec: dict[str, Any], title: str, pictures: list[str], links: list[str]) -> str:
    words, source = escape(spec["description"]), escape(spec["usermeta"]["source"])
    wide, narrow = (re.search(r'width="(\d+)" height="(\d+)"', svg) for svg in pictures)
    assert wide and narrow
    bound = any("bind" in param for param in spec.get("params", []))
    sheets = links[2:]
    data = [
        f'<a href="{link}" download>data{f" {n} of {len(sheets)}" if sheets[1:] else ""} (CSV)</a>'
        for n, link in enumerate(sheets, 1)
    ]
    data.append(f'<a href="{links[0]}">picture (SVG)</a>')
    text = json.dumps(spec, separators=(",", ":"), ensure_ascii=False).replace("<", "\\u003c")
    return f"""<figure class="chart">
<figcaption class="chart-title">{escape(title)}</figcaption>
<picture class="chart-still">
<source media="(max-width: {PHONE}px)" srcset="{links[1]}" width="{narrow[1]}" height="{narrow[2]}">
<img src="{links[0]}" alt="{words}" width="{wide[1]}" height="{wide[2]}">
</picture>
<div class="chart-live" role="{"group" if bound else "img"}" aria-label="{words}"></div>
<div class="chart-source">
<span>Source: {source}</span> <span class="chart-links">{" · ".join(data)}</span>
</div>
<script type="application/json">{text}</script>
</figure>
"""


def _visit(translator: Any, node: vegalite) -> None:
    translator.body.append(node["html"])
    raise nodes.SkipNode


def _finish(app: Any, error: Exception | None) -> None:
    """Put the executed notebooks where the pages link to them; drop what no page needs."""
    if error is not None or app.builder.name != "html":
        return
    out = Path(app.outdir)
    shutil.copytree(Path(app.srcdir, "_notebooks"), out / "_notebooks", dirs_exist_ok=True)
    if Path(app.srcdir, FEED).is_file() and not _depth(app):
        shutil.copy2(Path(app.srcdir, FEED), out)
    # The theme's style sheet draws the same icons from a font, without this 1.5 MB script.
    (out / "_static/scripts/fontawesome.js").write_text("", "utf-8")
    for path in (out / "_static").rglob("*.map"):
        path.unlink()
    write(Path(app.srcdir).parent / USED, "\n".join(sorted(app.stackbook_kept)))
