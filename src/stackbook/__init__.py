"""stackbook: the economics of the AI infrastructure stack, as an executable book.

`stackbook.facts` holds the numbers, `stackbook.kernels` the formulas, `stackbook.charts` the
pictures, `stackbook.findings` the results that a chapter states, `stackbook.press` the website.
"""

from collections.abc import Iterable
from pathlib import Path

__version__ = "0.1.0"


class StackbookError(Exception):
    """What went wrong in one line: the thing, the value, the bound and the remedy."""


def home() -> Path:
    """Folder with `book/`, `data/` and `_config.yml`: what the wheel brought, or the checkout."""
    here = Path(__file__).resolve().parent
    share = here / "share"
    return share if share.is_dir() else here.parents[1]


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint at the one of the `known` names, in whatever case, that `name` is near, if any is."""
    import difflib

    names = {each.lower(): each for each in known}
    near = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.5)
    return f" (did you mean {names[near[0]]}?)" if near else ""
