"""One colour per layer and per owner, the same in every chapter.

Each has a contrast of at least 3:1 on white and on #121212, and stays apart from those it is drawn
with under the common colour-vision deficiencies; the tests compute both.
"""

from collections.abc import Iterable
from difflib import get_close_matches

import altair as alt

# The page's own colours take the place of these three when charts.js draws.
INK = "#2b2b2b"
MUTED = "#666666"
GRID = "#e3e3e3"

LAYERS = {
    "energy and site": "#ad9115",
    "foundry": "#6554b5",
    "memory": "#0aa49e",
    "accelerator design": "#197323",
    "system and network": "#608ffc",
    "data center": "#c68161",
    "cloud": "#3d9ccc",
    "model": "#bd2f77",
    "platform": "#945ed9",
    "application": "#ba3d0a",
    "capital return": "#5d656c",
}

OWNERS = {
    "Nvidia": "#39700f",
    "AMD": "#f4664d",
    "Intel": "#6099c2",
    "Broadcom": "#d9758b",
    "TSMC": "#b03386",
    "Micron": "#8d48b5",
    "SK hynix": "#a24e0c",
    "Samsung": "#4867e9",
    "Google": "#4891fa",
    "Amazon": "#bb8404",
    "Microsoft": "#016c89",
    "Meta": "#6946dc",
    "Oracle": "#c52e18",
    "CoreWeave": "#b36ed4",
    "OpenAI": "#31a679",
    "Anthropic": "#cc7f68",
    "xAI": "#8d929a",
    "DeepSeek": "#4662a2",
    "Alibaba": "#b36c0b",
    "Huawei": "#c02c46",
    "China": "#ac465b",
    "Other": "#6a6558",
}

# For names that are neither layers nor owners: neighbours differ most.
SERIES = ("#016c89", "#c52e18", "#39700f", "#8d48b5", "#bb8404", "#4891fa", "#b03386", "#6a6558")

# Luminance that colours gain on the dark page. It takes their contrast on #121212 from at least 3:1
# to at least 4.5:1, so that a label can have the colour of its line.
LIFT = 0.08


def layer_scale(names: Iterable[str]) -> alt.Scale:
    """Colour scale of the layers `names`, in that order. Raises ValueError for an unknown one."""
    return _scale("layer", LAYERS, names)


def owner_scale(names: Iterable[str]) -> alt.Scale:
    """Colour scale of the owners `names`, in that order. Raises ValueError for an unknown one."""
    return _scale("owner", OWNERS, names)


def series_scale(names: Iterable[str]) -> alt.Scale:
    """Colour scale of other `names`. Raises ValueError for more than eight."""
    names = list(names)
    if len(names) > len(SERIES):
        raise ValueError(f"{len(names)} series in one chart, at most {len(SERIES)}: {names}")
    return alt.Scale(domain=names, range=list(SERIES[: len(names)]))


def luminance(colour: str) -> float:
    """Relative luminance (0 to 1) of a colour written #rrggbb, after WCAG 2."""
    red, green, blue = _linear(colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def on_dark() -> dict[str, str]:
    """The colour that takes the place of each on the dark page: of the same hue, but lighter."""
    return {c: _lighter(c) for c in (*LAYERS.values(), *OWNERS.values(), *SERIES)}


def _lighter(colour: str) -> str:
    """`colour` with more luminance by `LIFT`, paler where the screen has no such light."""
    before = luminance(colour)
    after = before + LIFT
    scaled = [c * after / before for c in _linear(colour)]
    room = (1.0 - after) / max(1.0 - after, max(scaled) - after)
    linear = [after + room * (c - after) for c in scaled]
    code = [12.92 * c if c <= 0.0031308 else 1.055 * c ** (1 / 2.4) - 0.055 for c in linear]
    return "#" + "".join(f"{round(255.0 * c):02x}" for c in code)


def _linear(colour: str) -> list[float]:
    channels = [int(colour[i : i + 2], 16) / 255.0 for i in (1, 3, 5)]
    return [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]


def _scale(kind: str, colours: dict[str, str], names: Iterable[str]) -> alt.Scale:
    names = list(names)
    for name in names:
        if name not in colours:
            near = get_close_matches(name, colours, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(colours)}"
            raise ValueError(f"no colour for the {kind} {name!r}; {hint}")
    return alt.Scale(domain=names, range=[colours[name] for name in names])
