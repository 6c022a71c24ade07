"""A book of two small chapters, for tests of the press that should not wait for the real one.

And what property tests and tests of kernels share. The only file of this name, so that tests can
import from it.
"""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

from stackbook import home
from stackbook.press.build import build
from stackbook.press.chapters import Book
from stackbook.press.store import Store

CHAPTER = """\
---
kernelspec: {{name: python3, display_name: Python 3, language: python}}
---

# {title}

Prose.

```{{code-cell}} python
:tags: [parameters]
rate: float = 0.25  # [1/yr, 0.0 to 0.5] discount rate
{extra}
```

```{{code-cell}} python
from stackbook.findings import finding
{code}
```

The value is {{glue:text}}`{finding}:.3f`.
"""

settings.register_profile("stackbook", deadline=None)  # a kernel's first call compiles it
settings.load_profile("stackbook")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """On several processes the tests of a module stay in one, for what it compiles and keeps.

    A test in a folder of its own shares nothing, and fills the gaps at the end.
    """
    for item in items:
        marked = item.get_closest_marker("xdist_group")
        if not marked and "tmp_path" not in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group(item.path.stem))


@pytest.fixture
def book(tmp_path: Path) -> Book:
    """Two chapters, `one` and `deep/two`, and an index that glues a value of each."""
    return book_of_two(tmp_path / "book-of-two")


def book_of_two(root: Path) -> Book:
    folder = root / "book"
    (folder / "deep").mkdir(parents=True)
    shutil.copy(home() / "_config.yml", root / "_config.yml")
    shutil.copy(home() / "book" / "references.bib", folder / "references.bib")
    shutil.copytree(home() / "book" / "_static", folder / "_static")
    (folder / "_toc.yml").write_text(
        "format: jb-book\nroot: index\nchapters:\n- file: one\n- file: deep/two\n"
    )
    (folder / "index.md").write_text(
        "# Index\n\n{glue:text}`one.ipynb::half:.3f` {glue:text}`deep/two.ipynb::years:.0f`\n"
    )
    (folder / "one.md").write_text(
        CHAPTER.format(
            title="One",
            extra="",
            code='finding("half", rate / 2, "1/yr", why="set here")',
            finding="half",
        )
    )
    code = (
        "from stackbook.kernels import capital\n"
        'if life_yr == 13:\n    raise RuntimeError("thirteen")\n'
        'finding("years", life_yr, "yr", why="set here")'
    )
    (folder / "deep" / "two.md").write_text(
        CHAPTER.format(
            title="Two",
            extra="life_yr: int = 5  # [yr, 1 to 30] service life",
            code=code,
            finding="years",
        )
    )
    return Book(root)


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """The book of two, built once."""
    folder = tmp_path_factory.mktemp("built")
    store = Store(folder / "_build")
    build(book_of_two(folder / "book-of-two"), store, {})
    return store


@pytest.fixture
def store(built: Store, tmp_path: Path) -> Store:
    """A copy of the built book, to do with as a test likes."""
    shutil.copytree(built.folder, tmp_path / "_build")
    return Store(tmp_path / "_build")


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--no-build-isolation", "-w", folder, Path(__file__).parents[1])
    (made,) = folder.glob("*.whl")
    return made


@pytest.fixture(scope="session")
def installed(wheel: Path) -> Path:
    """A folder for PYTHONPATH with the wheel alone."""
    folder = wheel.parent / "installed"
    pip("install", "--target", folder, wheel)
    return folder


def pip(command: str, *arguments: object) -> None:
    quiet = ["--quiet", "--disable-pip-version-check", "--no-deps", "--no-index"]
    subprocess.run([sys.executable, "-m", "pip", command, *quiet, *map(str, arguments)], check=True)


@pytest.fixture
def assert_nan() -> Callable[..., None]:
    """That a kernel gives NaN at a point, alone and in a loop that is long enough for SIMD."""

    def check(kernel: Callable[..., Any], args: tuple[float, ...]) -> None:
        assert np.isnan(kernel(*args))
        assert np.isnan(kernel(*(np.full(9, arg, float) for arg in args))).all()

    return check
