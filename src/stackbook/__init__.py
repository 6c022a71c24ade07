"""stackbook: the economics of the AI infrastructure stack, as an executable book.

`stackbook.facts` holds the numbers, `stackbook.kernels` the formulas, `stackbook.charts` the
pictures, `stackbook.findings` the results that a chapter states, `stackbook.press` the website.
"""

import os
from collections.abc import Iterable
from pathlib import Path

__version__ = "0.6.0"
FILES = "STACKBOOK_FILES"  # environment variable: folder with a reader's files for a chapter
OVERLAY = "STACKBOOK_OVERLAY"  # environment variable: folder with the tables of a study


class StackbookError(Exception):
    """What went wrong in one line: the thing, the value, the bound and the remedy."""


def home() -> Path:
    """Folder with `book/`, `data/` and `_config.yml`: what the wheel brought, or the checkout."""
    here = Path(__file__).resolve().parent
    share = here / "share"
    return share if share.is_dir() else here.parents[1]


def study() -> Path | None:
    """The folder of the reader's own book that we are in, if any: see `stackbook new`.

    It is the current folder or one around it with `_config.yml` and `book/`, unless that is a
    checkout of stackbook.
    """
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "_config.yml").is_file() and (folder / "book" / "_toc.yml").is_file():
            return None if (folder / "src" / "stackbook").is_dir() else folder
    return None


def located(path: str) -> Path:
    """The file that a reader gave as `path`: from the current folder, else the study's, else ours.

    In a chapter that the press executes it is the copy that travelled there. StackbookError where
    there is none.
    """
    laid = os.environ.get(FILES)
    roots = (Path(), study() or home(), home())
    places = [Path(laid, laid_as(path))] if laid else [root / path for root in roots]
    for place in places:
        if place.is_file():
            return place
    searched = "" if laid or Path(path).is_absolute() else f" in {Path.cwd()}"
    folders = {place.parent: None for place in places if place.parent.is_dir()}
    files = [each.name for folder in folders for each in folder.iterdir() if each.is_file()]
    raise StackbookError(f"there is no file {path!r}{searched}{nearest(Path(path).name, files)}")


def laid_as(path: str) -> str:
    """Name, in the folder that `FILES` names, of the file that a reader gave as `path`."""
    import hashlib

    return hashlib.sha256(os.fsencode(path)).hexdigest()[:20]


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint at the `known` names, in whatever case, that hold `name`, or at the one it is near."""
    import difflib

    names = {each.lower(): each for each in known}
    near = [each for key, each in names.items() if len(name) > 2 and name.lower() in key][:5]
    if not near:
        close = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.5)
        near = [names[key] for key in close]
    return f" (did you mean {' or '.join(near)}?)" if near else ""
