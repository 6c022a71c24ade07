"""Charts: one look, one colour per layer and per owner, and the forms that chapters share.

Importing this package makes every Altair chart carry a live specification, a still picture and
words, so that it can be read in JupyterLab, on the site, without JavaScript and on paper.
"""

from .colours import GRID, INK, LAYERS, MUTED, OWNERS, SERIES, layer_scale, on_dark, owner_scale
from .figures import MIME, VEGALITE, enable, figure, fit, still
from .forms import bridge, lines, ranges, small_multiples, stacked

__all__ = [
    "GRID",
    "INK",
    "LAYERS",
    "MIME",
    "MUTED",
    "OWNERS",
    "SERIES",
    "VEGALITE",
    "bridge",
    "figure",
    "fit",
    "layer_scale",
    "lines",
    "on_dark",
    "owner_scale",
    "ranges",
    "small_multiples",
    "stacked",
    "still",
]

enable()
