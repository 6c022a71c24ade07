"""A reader's own book: made, built and tested offline as the guide says, and kept up to date."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from guides import tried

import stackbook
from stackbook import StackbookError, home
from stackbook.press import studies

CHECKOUT = Path(__file__).parents[1]
OFFLINE = """\
import socket

def _here(address):
    host = address[0] if isinstance(address, tuple) else "localhost"
    if host not in ("127.0.0.1", "::1", "localhost", ""):
        raise OSError(f"asked the network for {host}")

_connect, _ask = socket.socket.connect, socket.getaddrinfo
socket.socket.connect = lambda self, to: (_here(to), _connect(self, to))[1]
socket.getaddrinfo = lambda host, *rest, **more: (_here((host,)), _ask(host, *rest, **more))[1]
"""


def sh(command: str, folder: Path) -> str:
    """What `command` prints, in `folder`; the test fails with it if the command does."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def committed(folder: Path, message: str, tag: str = "") -> None:
    """All of `folder` as a commit."""
    sh(
        f"test -d .git || git init --quiet; git add --all; git -c user.name=t -c user.email=t@t "
        f"commit --quiet --message '{message}'" + (f"; git tag {tag}" if tag else ""),
        folder,
    )


@pytest.fixture
def commands(wheel: Path, tmp_path: Path) -> Path:
    """Commands of a virtual environment with the wheel, the libraries here, and no network."""
    root = tmp_path / "installed"
    root.mkdir()
    sh(
        f"{sys.executable} -m venv {root}/venv && "
        f"{root}/venv/bin/pip install --quiet --no-deps --no-index {wheel}",
        root,
    )
    (packages,) = root.glob("venv/lib/*/site-packages")
    # Its lines, unlike the .pth files there, do not bring the editable stackbook in.
    here = Path(pytest.__file__).parents[1]
    (packages / "libraries.pth").write_text(f"{here}\nimport offline\n")
    (packages / "offline.py").write_text(OFFLINE)
    (root / "venv" / "pip.conf").write_text("[global]\nno-index = true\n")
    return root / "venv" / "bin"


def test_the_guide_leads_offline_from_nothing_to_an_own_book(
    commands: Path, tmp_path: Path
) -> None:
    for printed, said in tried(CHECKOUT / "book" / "back" / "forking.md", tmp_path, commands):
        assert printed == said
    study = tmp_path / "my-study"
    site = study / "_build" / "html"
    for page in ("index", "my-chip", "references", "search", "scenarios/half-empty/my-chip"):
        assert (site / f"{page}.html").is_file()
    assert (study / "_build/export/my-chip.ipynb").is_file()
    assert sh("git status --short", study) == ""
    if shutil.which("chromium") or os.environ.get("CI"):
        check_drawn(site / "my-chip.html")


def check_drawn(page: Path) -> None:
    """In a browser its chart is drawn, and nobody is asked for anything."""
    from test_site import CHROMIUM, FLAGS, draw, sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        tab = browser.new_page()
        noted: list[str] = []
        tab.on("request", lambda request: noted.append(request.url))
        tab.on("pageerror", lambda error: noted.append(str(error)))
        tab.goto(page.as_uri())
        draw(tab)
        assert tab.locator("figure.chart .chart-live svg").count() == 1
        assert [each for each in noted if not each.startswith(("file:", "data:", "blob:"))] == []
        browser.close()


def test_a_file_is_found_from_any_folder_of_a_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = tmp_path / "a study" / "in it μ"
    for study in (inner.parent, inner):
        (study / "book").mkdir(parents=True)
        (study / "book" / "_toc.yml").write_text("root: index\n")
        (study / "_config.yml").write_text("title: Mine\n")
        (study / "runs.csv").write_text(study.name)
    (tmp_path / "link").symlink_to(inner)
    monkeypatch.chdir(tmp_path / "link" / "book")
    assert stackbook.study() == inner
    assert stackbook.located("runs.csv").read_text() == inner.name
    with pytest.raises(StackbookError, match=r"'run.csv' in .*/book \(did you mean runs.csv\?\)"):
        stackbook.located("run.csv")
    assert stackbook.located("data/sources.csv") == home() / "data" / "sources.csv"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "title", "message"),
    [
        ("../x", "", "name '../x': a folder of letters"),
        ("/tmp/x", "", "name '/tmp/x': a folder of letters"),
        ("", "", "name '': a folder of letters"),
        ("-x", "", "name '-x': a folder of letters"),
        ("a b\n", "", "name 'a b\\n': a folder of letters"),
        ("full", "", "full is there and not empty"),
        ("file", "", "file is there and not empty"),
        ("x", "two\nlines", "title 'two\\nlines': give one line"),
    ],
)
def test_a_name_that_cannot_be_is_refused(here: Path, name: str, title: str, message: str) -> None:
    (here / "full").mkdir()
    (here / "full" / "a").touch()
    (here / "file").touch()
    with pytest.raises(StackbookError, match=f"^{re.escape(message)}"):
        studies.new(name, title)
    assert {path.name for path in here.iterdir()} == {"full", "file"}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (None, "template '.*broken': "),
        ("_subdirectory: none\n", "template '.*broken': "),
        ("_tasks: [touch ../owned]\n", "template '.*broken': it has programs to be run"),
        ("_min_copier_version: '99'\n", "template '.*broken': .*99"),
        ("title: [\n", r"template '.*broken': .*copier\.yml is not readable YAML$"),
    ],
)
def test_a_template_that_cannot_be_leaves_nothing(
    here: Path, config: str | None, message: str
) -> None:
    if config is not None:
        (here / "broken").mkdir()
        (here / "broken" / "copier.yml").write_text(config)
    with pytest.raises(StackbookError, match=message) as refused:
        studies.new("mine", template="broken")
    assert "\n" not in str(refused.value)
    assert {path.name for path in here.iterdir()} <= {"broken"}


def test_without_git_it_says_what_to_install(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(here))
    with pytest.raises(StackbookError, match=r"^no git here, .*apt-get install git$"):
        studies.new("mine")
    assert list(here.iterdir()) == []


def test_an_update_wants_a_study_that_is_committed(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(StackbookError, match=r"^no study that `stackbook new` made in "):
        studies.update()
    monkeypatch.chdir(studies.new("mine"))
    with pytest.raises(StackbookError, match=r"is not under git, .*`git init`"):
        studies.update()
    committed(here / "mine", "start")
    (here / "mine" / "note.txt").touch()
    with pytest.raises(StackbookError, match=r"^not committed: note\.txt; commit or stash"):
        studies.update()


def test_the_same_stackbook_makes_the_same_study(here: Path) -> None:
    """Whoever makes it: the template's commit is one and the same, with nothing of the user's."""
    heads = [sh("git ls-remote .template.bundle HEAD", studies.new(name)) for name in ("a", "b")]
    assert heads[0] == heads[1]
    assert sorted(p.name for p in here.iterdir()) == ["a", "b"]


def improve(template: Path) -> None:
    """A later template: a new file, a line of the Makefile, one of the chapter, a newer row."""
    (template / "NEWS.md").write_text("New.\n")
    for name, old, new in (
        ("Makefile", "rm -rf _build .venv", "rm -rf _build .venv dist"),
        ("book/my-chip.md", "life_years: float = 4.0", "life_years: float = 5.0"),
    ):
        text = (template / name).read_text()
        assert old in text
        (template / name).write_text(text.replace(old, new))


def edit(study: Path) -> None:
    """What a reader makes of it: other data, prose, and a default that is improved later, too."""
    for name, old, new in (
        ("data/accelerators.csv", ",22000,", ",19000,"),
        ("book/my-chip.md", "life_years: float = 4.0", "life_years: float = 3.0"),
        ("book/my-chip.md", "## Who gains", "## Our view\n\nOurs.\n\n## Who gains"),
    ):
        text = (study / name).read_text()
        assert old in text
        (study / name).write_text(text.replace(old, new))
    committed(study, "edits")


def check_updated(study: Path) -> None:
    chapter = (study / "book/my-chip.md").read_text()
    assert (study / "NEWS.md").read_text() == "New.\n", "improvements are there"
    assert ".venv dist\n" in (study / "Makefile").read_text()
    assert ",19000," in (study / "data/accelerators.csv").read_text(), "edits stay"
    assert "## Our view\n" in chapter
    marked = chapter.partition("<<<<<<<")[2].partition(">>>>>>>")[0]
    assert "= 3.0" in marked and "= 5.0" in marked, "where both changed a line, it is marked"


def test_a_newer_stackbook_updates_a_study_offline(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = studies.new("mine")
    committed(study, "start")
    edit(study)
    shutil.copytree(studies.TEMPLATE, here / "template")
    improve(here / "template")
    monkeypatch.setattr(studies, "TEMPLATE", here / "template")
    monkeypatch.chdir(study / "book")
    same = studies.update()
    assert same.before == same.after == f"v{stackbook.__version__}"
    monkeypatch.setattr(stackbook, "__version__", "99.0")
    done = studies.update()
    assert done == (same.after, "v99.0", ["book/my-chip.md"])
    check_updated(here / "mine")
    changed = sh("git status --porcelain", here / "mine").split()
    assert ".template.bundle" in changed, "to be committed with the rest"


def test_an_update_that_fails_changes_nothing(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = studies.new("mine")
    committed(study, "start")
    shutil.copytree(studies.TEMPLATE, here / "template")
    (here / "template" / "book" / "index.md.jinja").write_text("{{ nothing.of.that }}")
    monkeypatch.setattr(studies, "TEMPLATE", here / "template")
    monkeypatch.setattr(stackbook, "__version__", "99.0")
    monkeypatch.chdir(study)
    with pytest.raises(StackbookError, match=r"^update: ") as refused:
        studies.update()
    assert "\n" not in str(refused.value)
    assert sh("git status --porcelain", here / "mine") == ""


@pytest.mark.parametrize("command", ["stackbook", "copier"])
def test_a_template_under_git_updates_a_study(here: Path, command: str) -> None:
    """As from this repository: the newest tag counts, and plain copier will do."""
    repository = here / "repository"
    (repository / "src" / "stackbook").mkdir(parents=True)
    shutil.copy(home() / "copier.yml", repository)
    shutil.copytree(studies.TEMPLATE, repository / "src" / "stackbook" / "template")
    committed(repository, "one", "v1.0")
    study = studies.new("mine", template="repository")
    assert not (study / studies.BUNDLE).exists()
    committed(study, "start")
    edit(study)
    improve(repository / "src" / "stackbook" / "template")
    committed(repository, "two", "v2.0")
    update = {"stackbook": "-m stackbook.cli update", "copier": "-m copier update --defaults"}
    said = sh(f"{sys.executable} {update[command]}", study)
    check_updated(study)
    if command == "stackbook":
        assert "v1.0 → v2.0" in said and "conflict in book/my-chip.md: " in said
