"""The press executes what changed, loses nothing, and gives the same bytes everywhere."""

import asyncio
import errno
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import CHAPTER
from playwright.sync_api import sync_playwright

from stackbook import StackbookError, facts
from stackbook.press import build as press
from stackbook.press import execution
from stackbook.press import store as store_module
from stackbook.press.chapters import Book, Value, assigned
from stackbook.press.store import Store


def states(
    book: Book, store: Store, given: dict[str, Value] | None = None, **options: object
) -> dict[str, str]:
    """What became of each chapter and of the site in a build."""
    told: dict[str, str] = {}
    press.build(book, store, given or {}, told=told.__setitem__, **options)  # type: ignore[arg-type]
    return told


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def text(page: Path) -> str:
    return " ".join(re.sub("<[^>]+>", "", page.read_text()).split())


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_a_second_build_executes_nothing(book: Book, tmp_path: Path) -> None:
    store = Store(tmp_path / "_build")
    assert set(states(book, store).values()) == {"executed"}
    assert "Index# 0.125 5" in text(store.html / "index.html")
    assert states(book, store) == dict.fromkeys(["one", "deep/two", "site"], "cached")


def test_a_parameter_reaches_prose_table_and_findings(book: Book, store: Store) -> None:
    told = states(book, store, {"rate": 0.5}, only="one")
    assert told == {"one": "executed", "site": "executed"}
    page = text(store.html / "one.html")
    assert "The value is 0.250." in page
    assert "Executed with other parameters than the book" in page and "rate = 0.5" in page
    assert "Default Unit Bounds Meaning rate 0.5 0.25 1/yr 0 to 0.5 discount rate" in page
    assert "stackbook build --only one -p rate=0.5" in page
    assert "0.250" in text(store.html / "index.html"), "glued pages follow"
    shown = store.shown(book.chapters["one"])
    half = {"name": "half", "value": 0.25, "unit": "1/yr", "why": "set here"}
    assert shown and shown.findings == [half]
    # The other chapter kept its page, though it knows the parameter, too.
    assert "rate = 0.5" not in text(store.html / "deep" / "two.html")


def test_a_page_that_glues_numbers_of_a_reader_says_so(book: Book, store: Store) -> None:
    """A page without parameters of its own: plain, or executed."""
    edit(book.folder / "_toc.yml", "- file: one\n", "- file: one\n- file: deep/three\n")
    (book.folder / "deep" / "three.md").write_text(
        "---\nkernelspec: {name: python3, display_name: Python 3, language: python}\n---\n\n"
        "# Three\n\nHalf is {glue:text}`../one.ipynb::half:.3f`.\n"
    )
    book = Book(book.config.parent)
    box = "Executed with other parameters than the book’s one: rate = 0.5"  # noqa: RUF001
    pages = [store.html / "index.html", store.html / "deep" / "three.html"]
    states(book, store, {"rate": 0.5}, only="one")
    assert [re.findall(rf"(\w+)# {box} ", text(page)) for page in pages] == [["Index"], ["Three"]]
    assert box not in text(store.html / "deep" / "two.html"), "it glues its own alone"
    told = text(pages[1])
    assert "Take this page away# Executed notebook · Findings (JSON)" in told
    assert "your own numbers" not in told and "stackbook build" not in told
    told: list[tuple[str, str]] = []
    press.build(book, store, {}, told=lambda *each: told.append(each))
    assert [name for name, state in told if state == "back at the book's parameters"] == ["one"]
    assert not any("Executed with other" in text(page) for page in pages)


def test_only_what_used_a_changed_module_is_executed(
    book: Book, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    was = execution.digest
    monkeypatch.setattr(
        execution,
        "digest",
        lambda name: "edited" if name == "module:stackbook.kernels.capital" else was(name),
    )
    chapters = book.chapters
    assert store.load(chapters["one"], chapters["one"].values({}))
    assert not store.load(chapters["deep/two"], chapters["deep/two"].values({}))


def test_two_places_give_the_same_bytes(book: Book, tmp_path: Path) -> None:
    """Whatever was built there before."""
    stores = [Store(tmp_path / "here" / "_build"), Store(tmp_path / "over" / "there")]
    states(book, stores[1], {"rate": 0.5})
    for store in stores:
        states(book, store)
    for folder in ("notebooks", "html"):
        first, second = (files(getattr(store, folder)) for store in stores)
        assert first.keys() == second.keys()
        assert [name for name in first if first[name] != second[name]] == []


def test_a_chapter_that_raises_loses_nothing(book: Book, store: Store) -> None:
    site = files(store.html)
    told: dict[str, str] = {}
    with pytest.raises(StackbookError) as error:
        press.build(book, store, {"life_yr": 13, "rate": 0.1}, told=told.__setitem__)
    assert re.fullmatch(
        r"chapter deep/two raised in cell \d, line 4 \(raise RuntimeError\(\"thirteen\"\)\) "
        r"with rate=0.1, life_yr=13: RuntimeError: thirteen "
        r"\(up to there: .*/failed/deep/two.ipynb\)",
        str(error.value),
    )
    assert told == {"one": "executed", "deep/two": "failed"}, "the other chapter still ran"
    assert files(store.html) == site, "the last good site stays"
    cells = json.loads((store.failed / "deep" / "two.ipynb").read_text())["cells"]
    assert any("thirteen" in json.dumps(cell) for cell in cells)
    assert states(book, store, {"rate": 0.1})["one"] == "cached", "and its result was kept"
    assert not store.failed.exists(), "where nothing fails, nothing failed is left"


def test_a_bad_row_is_told_once_before_anything_is_executed(
    book: Book, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = shutil.copytree(facts.package().folder, tmp_path / "data")
    edit(data / "pue.csv", "AWS,best site,,2023,calendar year,1.04", "AWS,best site,,2023,,0.4")
    monkeypatch.setattr(facts, "package", lambda: facts.Package(data))
    told: dict[str, str] = {}
    before = files(store.folder)
    with pytest.raises(StackbookError) as error:
        press.build(book, store, {"rate": 0.5}, told=told.__setitem__)
    assert re.fullmatch(
        r"pue.csv, row 2, column basis: .* required \(\d more: `stackbook data check`\)",
        str(error.value),
    )
    assert told == {} and files(store.folder) == before
    assert set(states(book, store).values()) == {"cached"}, "what is known does not depend on it"


def test_a_kernel_is_asked_to_stop_and_not_interrupted(
    book: Book, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted just after its last cell, it would say so on standard error."""
    from jupyter_client.manager import KernelManager

    sent: list[int] = []

    async def signal(_: KernelManager, number: int) -> None:
        sent.append(number)

    monkeypatch.setattr(KernelManager, "_async_signal_kernel", signal)
    assert states(book, store, {"rate": 0.5}, only="one")["one"] == "executed"
    assert sent == []


def test_an_execution_leaves_no_event_loop_open(
    book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python may complain of one on standard error when a stopped sweep exits."""
    loops: list[asyncio.AbstractEventLoop] = []
    new = asyncio.new_event_loop

    def made() -> asyncio.AbstractEventLoop:
        loops.append(new())
        return loops[-1]

    monkeypatch.setattr(asyncio, "new_event_loop", made)
    chapter = book.chapters["one"]
    execution.execute(chapter, chapter.values({"rate": 0.5}), {}, {})
    assert loops and all(each.is_closed() for each in loops)


def test_a_kernel_that_cannot_start_says_why(
    book: Book, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ipykernel_launcher.py").write_text('raise SystemExit("no kernel here")')
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(StackbookError, match=r"Kernel died before .* no kernel here"):
        press.build(book, store, {"rate": 0.5}, only="one")


def test_a_killed_kernel_is_an_error_of_its_chapter(book: Book, store: Store) -> None:
    edit(book.folder / "one.md", 'finding("half"', 'import os; os._exit(9); finding("half"')
    with pytest.raises(StackbookError, match=r"chapter one raised .*DeadKernelError: Kernel died"):
        press.build(book, store, {})


def test_a_warning_of_jupyter_book_is_an_error_twice(book: Book, store: Store) -> None:
    site = files(store.html)
    edit(book.folder / "index.md", "# Index", "# Index\n\n{doc}`nowhere`")
    for _ in range(2):
        with pytest.raises(StackbookError, match=r"Jupyter Book stopped: .*index.md.*nowhere"):
            states(book, store)
    assert files(store.html) == site


def test_a_page_that_left_the_book_leaves_the_site(book: Book, store: Store) -> None:
    (book.folder / "_toc.yml").write_text("format: jb-book\nroot: index\nchapters:\n- file: one\n")
    (book.folder / "index.md").write_text("# Index\n")
    shutil.rmtree(book.folder / "deep")
    states(Book(book.config.parent), store)
    assert not (store.html / "deep" / "two.html").exists()


def test_an_interrupted_build_resumes(book: Book, tmp_path: Path) -> None:
    """Killed while the second chapter runs: the first one's result is there for the next build."""
    store = Store(tmp_path / "_build")
    edit(
        book.folder / "deep" / "two.md",
        "if life_yr == 13",
        "import time; time.sleep(600)\nif life_yr == 13",
    )
    program = (
        "import sys; from pathlib import Path; from stackbook.press import build as press\n"
        "from stackbook.press.chapters import Book; from stackbook.press.store import Store\n"
        "press.build(Book(Path(sys.argv[1])), Store(Path(sys.argv[2])), {})"
    )
    arguments = [sys.executable, "-c", program, str(book.config.parent), str(store.folder)]
    with subprocess.Popen(arguments) as running:
        for _ in range(600):
            if any(store.results.rglob("*.json")):
                break
            time.sleep(0.1)
        running.kill()
    (store.folder / f"{store_module.STAGING}abandoned").mkdir()
    edit(book.folder / "deep" / "two.md", "import time; time.sleep(600)\n", "")
    told = states(Book(book.config.parent), store)
    assert told == {"one": "cached", "deep/two": "executed", "site": "executed"}
    assert not list(store.folder.glob(f"{store_module.STAGING}*"))


def test_an_interrupted_exchange_of_the_site_is_mended(book: Book, store: Store) -> None:
    store.html.rename(store.folder / "html.old")
    with store.locked():
        assert (store.html / "index.html").is_file()
    assert states(book, store)["site"] == "cached"


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff\xfe", b"[]"])
def test_a_half_written_file_counts_as_absent(book: Book, store: Store, content: bytes) -> None:
    for path in [*store.results.rglob("one/*.json"), store.notebooks / "one.findings.json"]:
        path.write_bytes(content)
    assert store.shown(book.chapters["one"]) is None or content in (b"{}", b"[]")
    assert states(book, store)["one"] == "executed"
    assert states(book, store)["one"] == "cached"


@pytest.mark.parametrize("lost", ["_static", "_notebooks", "one.html"])
def test_a_site_that_lost_files_is_made_again(book: Book, store: Store, lost: str) -> None:
    path = store.html / lost
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert states(book, store) == {"one": "cached", "deep/two": "cached", "site": "executed"}
    assert path.exists()


def test_force_makes_everything_again(book: Book, store: Store) -> None:
    assert set(states(book, store, force=True).values()) == {"executed"}


def test_what_the_user_keeps_for_jupyter_does_not_count(
    book: Book, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another kernel named python3, a start-up file of IPython."""
    kernel = tmp_path / "jupyter" / "kernels" / "python3"
    kernel.mkdir(parents=True)
    (kernel / "kernel.json").write_text('{"argv": ["false"], "display_name": "none"}')
    startup = tmp_path / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (startup / "00.py").write_text("raise SystemExit")
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "0")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    assert set(states(book, store, force=True).values()) == {"executed"}


def test_a_full_disk_leaves_the_site_and_no_half_file(
    book: Book, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = files(store.folder)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", full)
        with pytest.raises(OSError, match="No space left"):
            states(book, store, {"rate": 0.125})
    assert files(store.folder) == before
    with monkeypatch.context() as patched:
        patched.setattr(subprocess, "run", full)
        with pytest.raises(OSError, match="No space left"):
            states(book, store, {"rate": 0.125})
    assert files(store.html) == {
        name.removeprefix("html/"): data
        for name, data in before.items()
        if name.startswith("html/")
    }
    assert states(book, store, {"rate": 0.125})["site"] == "executed"


def test_two_builds_do_not_share_a_folder(book: Book, store: Store) -> None:
    with store.locked(), pytest.raises(StackbookError, match="another build is at work in"):
        states(book, store)


@pytest.fixture
def scheduler(tmp_path: Path) -> Iterator[str]:
    """A real Dask scheduler and worker, each a process with a folder of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
    home = tmp_path / "worker"
    home.mkdir()
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--no-dashboard"]
    worker = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--no-dashboard"]
    quiet = {"cwd": home, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with (
        subprocess.Popen([*command, "--host", address], **quiet) as first,  # type: ignore[call-overload]
        subprocess.Popen([*worker, "--no-nanny", "--nthreads", "2"], **quiet) as second,  # type: ignore[call-overload]
    ):
        yield address
        second.kill()  # asked to end while it starts, a worker would wait for its scheduler
        first.kill()


def test_a_real_dask_cluster_gives_the_same_bytes(
    book: Book, tmp_path: Path, scheduler: str
) -> None:
    local, remote = Store(tmp_path / "local"), Store(tmp_path / "remote")
    states(book, local)
    states(book, remote, scheduler=scheduler)
    assert files(local.notebooks) == files(remote.notebooks)


def test_a_scheduler_that_does_not_answer_is_an_error(
    book: Book, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(press, "_SCHEDULER_TIMEOUT", 0.5)
    with pytest.raises(StackbookError, match=r"no Dask scheduler with a worker at 'tcp://127.*9'"):
        states(book, store, {"rate": 0.3}, scheduler="tcp://127.0.0.1:9")


def test_a_worker_with_another_stackbook_is_refused(
    book: Book, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execution, "digest", lambda name: "other")
    with pytest.raises(StackbookError, match=r"the .* that a chapter ran with is not the one here"):
        states(book, store, force=True)


FILED = """\
---
kernelspec: {name: python3, display_name: Python 3, language: python}
---

# Filed

```{code-cell} python
:tags: [parameters]
runs: str = "data/pue.csv"  # [path] CSV of numbers
```

```{code-cell} python
import stackbook
from stackbook.findings import finding, phrase
lines = stackbook.located(runs).read_text().splitlines()
finding("rows", float(len(lines)), "1", why="counted")
phrase("first", lines[0])
if len(lines) > 5 and runs != "data/pue.csv":
    raise ValueError(f"{runs}: too long")
if lines == ["bad"]:
    raise stackbook.StackbookError(f"{runs}: bad; mend it")
```

{glue:text}`rows:.0f` in {glue:text}`first`.
"""


@pytest.fixture
def filed(book: Book) -> Book:
    """The book of two with a chapter that reads a reader's file."""
    edit(book.folder / "_toc.yml", "- file: one\n", "- file: one\n- file: filed\n")
    (book.folder / "filed.md").write_text(FILED)
    return Book(book.config.parent)


def rows(store: Store, book: Book) -> float:
    shown = store.shown(book.chapters["filed"])
    assert shown
    return float(shown.findings[0]["value"])


def test_a_readers_file_is_executed_by_its_content(
    filed: Book, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    states(filed, store)
    assert rows(store, filed) == len((facts.package().folder / "pue.csv").read_text().splitlines())
    file = Path("my*own*.csv")  # as Markdown, my own in italics
    file.write_text("a\n1\n")
    given: dict[str, Value] = {"runs": str(file)}
    assert states(filed, store, given, only="filed")["filed"] == "executed"
    assert rows(store, filed) == 2
    file.touch()
    assert states(filed, store, given, only="filed")["filed"] == "cached"
    file.write_text("a\n1\n2\n")
    assert states(filed, store, given, only="filed")["filed"] == "executed"
    assert rows(store, filed) == 3
    page = text(store.html / "filed.html")
    assert "3 in a." in page and "runs my*own*.csv data/pue.csv path CSV of numbers" in page


@pytest.mark.parametrize("given", ["mine.csv", "data/pu.csv", "", "data"])
def test_a_path_without_a_file_is_refused_before_anything_runs(
    filed: Book, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my.csv").write_text("a\n1\n")
    near = {"mine.csv": " (did you mean my.csv?)", "data/pu.csv": " (did you mean pue.csv?)"}
    with pytest.raises(StackbookError) as error:
        press.build(filed, store, {"runs": given}, only="filed", told=lambda *_: pytest.fail())
    told = f"parameter runs: there is no file {given!r} in {tmp_path}{near.get(given, '')}"
    told += "; give the path of one"
    assert str(error.value) == told


def test_a_file_gives_the_same_bytes_wherever_it_lies(
    filed: Book, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheduler: str
) -> None:
    """Under one name in two folders, on a worker in a third; under another name but for that."""
    values: dict[str, Value] = {"runs": "my.csv"}
    results = []
    for place, remote in (("here", None), ("there", scheduler)):
        (tmp_path / place).mkdir()
        monkeypatch.chdir(tmp_path / place)
        Path("my.csv").write_text("a\n1\n")
        store = Store(tmp_path / place / "_build")
        case = {"filed": press.Case(filed.chapter("filed"), values)}
        results.append(press.run(store, case, scheduler=remote)["filed"])
    Path("other.csv").write_text("a\n1\n")
    case = {"filed": press.Case(filed.chapter("filed"), {"runs": "other.csv"})}
    other = press.run(store, case)["filed"]
    assert results[0] == results[1]
    assert other.notebook.replace("other.csv", "my.csv") == results[0].notebook
    assert other.findings == results[0].findings


def test_an_error_names_a_file_as_the_reader_did(filed: Book, store: Store, tmp_path: Path) -> None:
    path = tmp_path / "long.csv"
    path.write_text("a\n" * 9)
    with pytest.raises(StackbookError) as error:
        press.build(filed, store, {"runs": str(path)}, only="filed")
    assert f"ValueError: {path}: too long" in str(error.value)
    cells = json.loads((store.failed / "filed.ipynb").read_text())["cells"]
    assert "stackbook-" not in json.dumps(cells)
    path.write_text("bad\n")
    with pytest.raises(StackbookError) as error:
        press.build(filed, store, {"runs": str(path)}, only="filed")
    until = store.failed / "filed.ipynb"
    said = f"{path}: bad; mend it (chapter filed) (up to there: {until})"
    assert str(error.value) == said, "for the reader, not the author of the chapter"


def test_an_empty_text_may_be_given_and_an_empty_number_not(book: Book) -> None:
    edit(book.folder / "one.md", "rate: float", 'word: str = "a"  # [-] any\nrate: float')
    chapter = Book(book.config.parent).chapter("one")
    assert chapter.values(dict([assigned("word=")]))["word"] == ""
    with pytest.raises(StackbookError, match=r"^parameter rate = '': give a number, 0 to 0\.5"):
        chapter.values(dict([assigned("rate=")]))


def test_a_page_names_a_long_path_by_its_file_and_still_fits(
    filed: Book, store: Store, tmp_path: Path
) -> None:
    path = tmp_path / f"{'long-' * 15}name.csv"
    path.write_text("a\n1\n")
    press.build(filed, store, {"runs": str(path)}, only="filed")
    page = (store.html / "filed.html").read_text()
    assert path.name in page and str(tmp_path) not in page
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if not chromium:
        pytest.skip("no Chromium here; on Debian: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 1280, "height": 900})
        tab.goto((store.html / "filed.html").as_uri())
        fits = "t => t.parentElement.scrollWidth <= t.parentElement.clientWidth"
        assert tab.locator("table.stackbook-params").evaluate(fits)
        browser.close()


def test_a_page_that_no_table_of_contents_lists_is_told_so(book: Book) -> None:
    shutil.copy(book.folder / "one.md", book.folder / "deep" / "mine.md")
    with pytest.raises(StackbookError, match=r"^book/deep/mine.md is there, but book/_toc.yml "):
        book.chapter("deep/mine")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_an_error(book: Book, store: Store) -> None:
    store.folder.parent.chmod(0o500)
    with pytest.raises(PermissionError):
        states(book, store)


def test_the_tables_of_a_study_travel_to_a_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheduler: str
) -> None:
    """Its settings are ours but for those that it has itself, and our scripts come along."""
    study = tmp_path / "study"
    (study / "data").mkdir(parents=True)
    (study / "book").mkdir()
    (study / "_config.yml").write_text("title: Mine\nsphinx: {config: {html_title: Mine}}\n")
    (study / "book" / "references.bib").write_text("")
    toc = "format: jb-book\nroot: index\nchapters:\n- file: one\n"
    (study / "book" / "_toc.yml").write_text(toc)
    (study / "book" / "index.md").write_text("# Mine\n")
    (study / "book" / "one.md").write_text(
        CHAPTER.format(
            title="One",
            extra="",
            code="from stackbook import facts\n"
            'own = facts.rows("sources", "key", "mine")\n'
            'finding("sources", own.height, "1", why="counted")',
            finding="sources",
        )
    )
    header = (facts.package().folder / "sources.csv").read_text().splitlines()[0]
    own = study / "data" / "sources.csv"
    own.write_text(f"{header}\nmine,Me,What I saw,2026-11,2026-11-26,,none stated,\n")
    monkeypatch.chdir(study)
    book, store = Book(), press.default_store()
    assert states(book, store, scheduler=scheduler)["one"] == "executed"
    assert "The value is 1.000." in text(store.html / "one.html")
    assert "<title>One &#8212; Mine</title>" in (store.html / "one.html").read_text()
    assert (store.html / "_static" / "charts.js").is_file()
    assert states(book, store) == {"one": "cached", "site": "cached"}
    edit(own, "What I saw", "What I heard")
    assert states(book, store)["one"] == "executed"
