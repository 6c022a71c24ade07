"""Real faults: nothing is lost, nothing runs that should not, and one line says what happened.

Those that one process can play are in `test_press`.
"""

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import CHAPTER
from playwright.sync_api import sync_playwright
from test_press import edit, files, states, text

import stackbook
from stackbook import StackbookError, facts, home
from stackbook.press import pages
from stackbook.press.chapters import Book
from stackbook.press.made import Built
from stackbook.press.scenarios import BASE, scenario
from stackbook.press.store import STAGING, Store

COMMAND = [sys.executable, "-m", "stackbook.cli"]
WAIT = (
    "import time; from pathlib import Path\nwhile not Path({go!r}).exists():\n    time.sleep(0.1)"
)


def until(condition: Callable[[], object]) -> None:
    for _ in range(1200):
        if condition():
            return
        time.sleep(0.1)
    pytest.fail("it did not come to that in two minutes")


def slow(book: Book, go: Path, before: str = "") -> None:
    """Have the second chapter wait for the file `go`."""
    edit(
        book.folder / "deep" / "two.md",
        "from stackbook.kernels import capital",
        f"from stackbook.kernels import capital\n{before}{WAIT.format(go=str(go))}",
    )


@contextmanager
def building(folder: Path, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    """`stackbook build` in `folder`, a process group of its own."""
    with subprocess.Popen(
        [*COMMAND, "build", *arguments],
        cwd=folder,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        yield process


def built(folder: Path) -> str:
    """What `stackbook build` told, which went well."""
    done = subprocess.run([*COMMAND, "build"], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.mark.parametrize("moment", ["executing", "rendering"])
def test_a_killed_press_is_resumed(book: Book, tmp_path: Path, moment: str) -> None:
    folder, go = book.config.parent, tmp_path / "go"
    store = Store(folder / "_build")
    slow(book, go)
    if moment == "rendering":
        go.touch()
    with building(folder) as process:
        if moment == "executing":
            until(lambda: any(store.results.glob("one/*.json")))
        else:
            until(lambda: any(store.folder.glob(f"{STAGING}*/book")))
        os.killpg(process.pid, signal.SIGKILL)
    assert not store.html.exists()
    go.touch()
    told = built(folder)
    assert "one: cached" in told
    assert ("deep/two: cached" in told) is (moment == "rendering")
    assert "Index# 0.125 5" in text(store.html / "index.html")
    assert not list(store.folder.glob(f"{STAGING}*"))
    assert "site: cached" in built(folder)


def test_of_two_builds_at_once_one_is_told(book: Book, tmp_path: Path) -> None:
    folder, go = book.config.parent, tmp_path / "go"
    slow(book, go)
    with building(folder) as first:
        until(lambda: any((folder / "_build" / "results").glob("one/*.json")))
        with building(folder) as second:
            _, told = second.communicate(timeout=60)
        assert second.returncode == 1
        assert told == (
            "error: another build is at work in _build; wait, or work in another folder\n"
        )
        go.touch()
        first.communicate(timeout=120)
    assert first.returncode == 0
    assert "site: cached" in built(folder), "and the site is whole"


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[str]:
    """A real Dask scheduler with two workers, each a process in a folder of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
    worker = ["dask_worker", address, "--no-nanny", "--nthreads", "1"]
    commands = [["dask_scheduler", "--host", address], worker, worker]
    processes = []
    for number, (program, *arguments) in enumerate(commands):
        place = tmp_path / f"process-{number}"
        place.mkdir()
        command = [sys.executable, "-m", f"distributed.cli.{program}", *arguments]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        processes.append(subprocess.Popen([*command, "--no-dashboard"], cwd=place, **quiet))
    yield address
    for process in reversed(processes):
        process.kill()
        process.wait()


def test_a_killed_worker_leaves_its_chapter_to_another(
    book: Book, tmp_path: Path, cluster: str
) -> None:
    """The site is the one that a build without a fault makes."""
    go, who = tmp_path / "go", tmp_path / "who"
    slow(book, go, f"import os; open({str(who)!r}, 'a').write(f'{{os.getppid()}}\\n')\n")
    folder = book.config.parent
    with building(folder, "--scheduler", cluster) as process:
        until(lambda: who.exists() and who.read_text().endswith("\n"))
        os.kill(int(who.read_text()), signal.SIGKILL)
        until(lambda: len(who.read_text().split()) == 2)
        go.touch()
        _, told = process.communicate(timeout=120)
    assert process.returncode == 0, told
    store = Store(tmp_path / "undisturbed")
    states(Book(folder), store)
    assert files(store.html) == files(folder / "_build" / "html")


def in_namespace(script: str, folder: Path) -> str:
    """What `script` prints that may mount file systems, which nobody else sees."""
    unshare = ["unshare", "--map-root-user", "--mount", "sh", "-euc"]
    try:
        probe = subprocess.run([*unshare, "mount -t tmpfs tmpfs ."], cwd=folder)
    except FileNotFoundError:
        pytest.skip("no unshare here; test_press plays it")
    if probe.returncode:
        pytest.skip("mounts are not permitted here; test_press plays it")
    done = subprocess.run([*unshare, script], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("size", "told"),
    [("4k", "^error: .*: No space left on device; make room"), ("1m", "No space left on device")],
)
def test_a_full_file_system_is_one_line_and_room_mends_it(book: Book, size: str, told: str) -> None:
    """Full when the second result is there, and full while the site is written."""
    command = shlex.join([*COMMAND, "build"])
    said = in_namespace(
        f"mkdir _build; mount -t tmpfs -o size={size} tmpfs _build\n"
        f"if {command} 2>said; then exit 3; fi\n"
        "grep -c ^error: said; tail -n 1 said; find _build -name '.*.*' | wc -l\n"
        "mount -o remount,size=300m _build\n"
        f"{command} 2>&1; cat _build/html/index.html",
        book.config.parent,
    )
    errors, error, half_files, rest = said.split("\n", 3)
    assert (errors, half_files) == ("1", "0")
    assert re.search(told, error)
    assert rest.count(": cached") == {"4k": 1, "1m": 2}[size], "what had room was kept"
    assert "site: executed" in rest and "0.125" in rest


def test_a_read_only_file_system_is_one_line(book: Book, store: Store) -> None:
    shutil.move(store.folder, book.config.parent / "_build")
    before = files(book.config.parent)
    command = shlex.join([*COMMAND, "build"])
    said = in_namespace(
        "mount --bind _build _build; mount -o remount,bind,ro _build\n"
        f"if {command} 2>&1; then exit 3; fi",
        book.config.parent,
    )
    assert said == (
        "error: _build/lock: Read-only file system; make room, or work in another folder\n"
    )
    assert files(book.config.parent) == before


def flipped(content: bytes) -> bytes:
    half = len(content) // 2
    return content[:half] + bytes([content[half] ^ 1]) + content[half + 1 :]


def another_value(content: bytes) -> bytes:
    seal, _, text = content.partition(b"\n")
    result = json.loads(text)
    result["findings"][0]["value"] = 99.0
    return seal + b"\n" + json.dumps(result).encode()


@pytest.mark.parametrize("damage", [flipped, another_value])
def test_a_damaged_result_is_made_again(
    book: Book, store: Store, damage: Callable[[bytes], bytes]
) -> None:
    (path,) = store.results.glob("one/*.json")
    whole, site = path.read_bytes(), files(store.html)
    path.write_bytes(damage(whole))
    assert states(book, store) == {"one": "executed", "deep/two": "cached", "site": "cached"}
    assert path.read_bytes() == whole and files(store.html) == site


@pytest.fixture
def checkout(tmp_path: Path, book: Book) -> Path:
    """A stackbook of its own, whose book is the small one: its tables can be edited."""
    folder = tmp_path / "checkout"
    package = Path(stackbook.__file__).parent
    shutil.copytree(package, folder / "src" / "stackbook")
    shutil.copytree(home() / "data", folder / "data")
    shutil.copytree(book.config.parent, folder, dirs_exist_ok=True)
    return folder


def test_a_table_edited_during_a_build_makes_no_mixed_site(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first chapter read it before, the second reads it after."""
    go = tmp_path / "go"
    count = (
        "from stackbook import facts\n"
        'finding("sites", facts.table("pue").collect().height, "1", why="counted")'
    )
    for name, code in (("one", count), ("deep/two", f"{WAIT.format(go=str(go))}\n{count}")):
        (checkout / "book" / f"{name}.md").write_text(
            CHAPTER.format(title=name, extra="", code=code, finding="sites").replace(
                "rate / 2", "rate"
            )
        )
    (checkout / "book" / "index.md").write_text(
        "# Index\n\n{glue:text}`one.ipynb::sites:.0f` {glue:text}`deep/two.ipynb::sites:.0f`\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(checkout / "src"))
    here = tmp_path / "here"
    here.mkdir()
    table = checkout / "data" / "pue.csv"
    with building(here) as process:
        until(lambda: any((here / "_build" / "results").glob("one/*.json")))
        *rows, _ = table.read_text().splitlines(keepends=True)
        table.write_text("".join(rows))
        go.touch()
        _, told = process.communicate(timeout=120)
    assert process.returncode == 1
    assert told.splitlines()[-1].startswith("error: the table pue that a chapter ran with is not")
    assert "build again" in told and not (here / "_build" / "html").exists()
    assert "one: executed" in built(here)
    assert text(here / "_build" / "html" / "index.html").count(f"{len(rows) - 1}") >= 2


HOSTILE = [
    '\'"\\\' """',
    "a\nb\n\n# A heading\n\n- and\n  - lists",
    "` `` ``` \n```\n# Out of the fence\n```",
    "{{ 7 * 7 }} {% raw %} ${x} $1+1$",
    "{glue:text}`half` {doc}`nowhere` [](nowhere.md) ![](nowhere.png)",
    "</script></code><script>window.ran = 1</script><img src=x onerror='window.ran = 1'>",
    "__import__('os').system('touch ran')",
    "'); __import__('os').system('touch ran'); ('",
    "$(touch ran) `touch ran` ; touch ran #",
    "!!python/object/apply:os.system ['touch ran']",
    " leading, trailing and\ttabs ",
    "\u202e\x1b[31m\u2028ü",
]


@pytest.fixture
def worded(book: Book) -> Book:
    """The book of two; its first chapter takes a text and states how long it is."""
    edit(book.folder / "one.md", "rate: float", 'word: str = "a"  # [-] any text\nrate: float')
    edit(
        book.folder / "one.md",
        'finding("half"',
        'finding("letters", float(len(word)), "1", why="counted")\nfinding("half"',
    )
    return Book(book.config.parent)


def test_hostile_text_is_data_all_the_way(
    worded: Book, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the notebook it is what was given; on the page it is text, and the page stays whole."""
    monkeypatch.chdir(tmp_path)
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if not chromium:
        pytest.skip("no Chromium here; on Debian: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        outlines = []
        for word in ["b", "\n".join(HOSTILE), *HOSTILE[2:3]]:
            states(worded, store, {"word": word}, only="one")
            shown = store.shown(worded.chapters["one"])
            assert shown and shown.values["word"] == word
            assert shown.findings[0]["value"] == len(word)
            page = browser.new_page()
            complaints: list[str] = []
            page.on("pageerror", lambda error, said=complaints: said.append(str(error)))
            page.goto((store.html / "one.html").as_uri())
            assert page.evaluate("window.ran") is None and complaints == []
            cell = page.locator("table.stackbook-params tr", has_text="any text").locator("td")
            assert cell.count() == 6, "value and default, unit, bounds and meaning"
            outlines.append(page.locator("h1, h2, h3, table, pre, footer, script").count())
            page.close()
        browser.close()
    assert len({*outlines}) == 1, "no heading, table or script of the text's own"
    assert not list(tmp_path.rglob("ran"))


@pytest.mark.parametrize("word", HOSTILE)
def test_a_scenario_carries_hostile_text_as_data(worded: Book, tmp_path: Path, word: str) -> None:
    path = tmp_path / "mine.yml"
    path.write_text(json.dumps({"title": word, "parameters": {"word": word}}))
    assert scenario(worded, str(path)).parameters == {"word": word}


@pytest.mark.parametrize(
    "value",
    [
        "!!python/object/apply:os.system ['touch ran']",
        "!!python/name:os.system",
        "&a [*a]",
        "{a: 1}",
        "2026-11-26",
    ],
)
def test_a_scenario_runs_no_code_of_its_own(
    worded: Book, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.yml").write_text(f"parameters:\n  word: {value}\n")
    with pytest.raises(StackbookError) as error:
        scenario(worded, "mine.yml")
    assert "\n" not in str(error.value) and not Path("ran").exists()


@pytest.mark.parametrize("word", [os.fsdecode(b"\xff"), "a\0b"], ids=["no UTF-8", "NUL"])
def test_what_is_no_text_is_refused(worded: Book, word: str) -> None:
    with pytest.raises(StackbookError, match=r"^parameter word = .* give text"):
        worded.chapter("one").values({"word": word})


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "..", "one/../one", "a\0b"])
def test_a_name_leads_nowhere_else(book: Book, name: str) -> None:
    """A chapter, a scenario, a table are looked up; a page of the table of contents is inside."""
    with pytest.raises(StackbookError, match="no chapter "):
        book.chapter(name)
    with pytest.raises(StackbookError, match="scenario "):
        scenario(book, name)
    with pytest.raises(StackbookError, match="no table "):
        facts.table(name)
    edit(book.folder / "_toc.yml", "file: one", f"file: {json.dumps(name)}")
    shutil.copy(book.folder / "one.md", book.config.parent / "outside.md")
    with pytest.raises(StackbookError, match=r"^_toc.yml names .* in book/"):
        Book(book.config.parent).files  # noqa: B018


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("book/_toc.yml", b": [", "_toc.yml is not readable YAML: "),
        ("book/_toc.yml", b"chapters: []", "_toc.yml: write `root`, and "),
        ("book/_toc.yml", b"root: index\nchapters: [one]", "_toc.yml: write `root`, and "),
        ("book/_toc.yml", b"- one", "_toc.yml: write `name: value` lines, not ['one']"),
        ("book/index.md", b"# \xe9", "index.md: 'utf-8' codec can't decode byte 0xe9"),
        ("book/notes.md", b"# \xe9", "notes.md: 'utf-8' codec can't decode byte 0xe9"),
        ("_config.yml", b"a: [", "_config.yml is not readable YAML: "),
    ],
)
def test_a_file_of_the_book_that_cannot_be_read_is_named(
    book: Book, store: Store, name: str, text: bytes, message: str
) -> None:
    (book.config.parent / name).write_bytes(text)
    with pytest.raises(StackbookError, match=re.escape(message)):
        pages.prepare(Built(book, {BASE: store}), store)
