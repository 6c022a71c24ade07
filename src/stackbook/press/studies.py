"""Studies: a reader's own book, made of a copier template and updated from later ones.

Copier updates from a template under git, which a wheel is not. So a study carries the templates
that it was made of as a git bundle, one commit for each stackbook, tagged with its version.
"""

import os
import re
import shutil
import subprocess
from contextlib import chdir, redirect_stderr
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import yaml

import stackbook
from stackbook import StackbookError, home
from stackbook.press.store import write

TEMPLATE = Path(stackbook.__file__).parent / "template"
BUNDLE = ".template.bundle"
ANSWERS = ".copier-answers.yml"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_TITLE = re.compile(r"[^\x00-\x1f\x7f]*\S[^\x00-\x1f\x7f]*")
_SHOWN = 3  # files that an error names
_OURS = {  # the same commit, whoever makes it
    **{f"GIT_{who}_NAME": "stackbook" for who in ("AUTHOR", "COMMITTER")},
    **{f"GIT_{who}_EMAIL": "" for who in ("AUTHOR", "COMMITTER")},
    **{f"GIT_{who}_DATE": "2026-01-01T00:00:00+0000" for who in ("AUTHOR", "COMMITTER")},
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_SYSTEM": os.devnull,
}


class Updated(NamedTuple):
    """What an update did: versions of the template, and files where both sides changed a line."""

    before: str
    after: str
    conflicts: list[str]


def new(name: str, title: str = "", template: str = "") -> Path:
    """Make a study in the folder `name`, of our template or of the one at a path or git address.

    Raises StackbookError; then nothing is there that was not before.
    """
    if not _NAME.fullmatch(name):
        raise StackbookError(
            f"name {name!r}: a folder of letters, digits, - and _ in the current folder, "
            "e.g. my-study"
        )
    title = title or re.sub("[-_]+", " ", name).capitalize()
    if not _TITLE.fullmatch(title):
        raise StackbookError(f"title {title!r}: give one line of text")
    folder = Path(name)
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise StackbookError(f"{name} is there and not empty; choose another name")
    _check_git()
    if template and Path(template).exists():
        template = str(Path(template).absolute())
    with TemporaryDirectory(prefix=f".{name}-", dir=".") as staging:
        made = Path(staging, name)
        made.mkdir()
        with chdir(made):
            if not template:
                _bundle_template(Path(BUNDLE))
            _copier("run_copy", template or BUNDLE, ".", data={"title": title})
        made.rename(folder)
    return folder


def update() -> Updated:
    """Bring what the present template has to the study that we are in, as changes to review."""
    study = stackbook.study()
    if study is None or not (study / ANSWERS).is_file():
        raise StackbookError(
            f"no study that `stackbook new` made in {Path.cwd()} or around it; "
            "work in its folder, or make one"
        )
    _check_git()
    with chdir(study):
        _check_committed()
        before = _answers()
        bundle = Path(BUNDLE)
        ours = before.get("_src_path") == BUNDLE
        was = bundle.read_bytes() if ours else b""
        try:
            if ours:
                _bundle_template(bundle)
                # Copier takes only a folder without changes, and this one is not the reader's.
                _git("update-index", "--assume-unchanged", BUNDLE)
            _copier("run_update", ".")
        except BaseException:
            if ours:
                bundle.write_bytes(was)
            raise
        finally:
            if ours:
                _git("update-index", "--no-assume-unchanged", BUNDLE)
        conflicts = _git("diff", "--name-only", "--diff-filter=U", "--relative").splitlines()
        return Updated(_version(before), _version(_answers()), conflicts)


def _answers() -> dict[str, Any]:
    try:
        found = yaml.safe_load(Path(ANSWERS).read_text("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise StackbookError(f"{ANSWERS}: {_line(error)}; restore it from git") from None
    return found if isinstance(found, dict) else {}


def _version(answers: dict[str, Any]) -> str:
    return str(answers.get("_commit", "unknown"))


def _bundle_template(bundle: Path) -> None:
    """Add the template of this stackbook to `bundle`, unless it has this version's or a later."""
    from packaging.version import Version

    tag = f"v{stackbook.__version__}"
    with TemporaryDirectory() as scratch:
        folder = Path(scratch, "template")
        if bundle.is_file():
            _git("clone", "--quiet", str(bundle.absolute()), folder.name, folder=Path(scratch))
            if max(map(Version, _git("tag", folder=folder).split())) >= Version(tag):
                return
            _git("rm", "-r", "--quiet", ".", folder=folder)
        else:
            _git("init", "--quiet", "--initial-branch=main", folder.name, folder=Path(scratch))
        shutil.copy(home() / "copier.yml", folder / "copier.yml")
        there = folder / "src" / "stackbook" / "template"  # as copier.yml has it
        shutil.copytree(TEMPLATE, there, ignore=shutil.ignore_patterns("__pycache__", ".*_cache"))
        _git("add", "--all", folder=folder)
        _git("commit", "--quiet", "--message", f"stackbook {tag}", folder=folder)
        _git("tag", tag, folder=folder)
        made = Path(scratch, BUNDLE)
        _git("bundle", "create", "--quiet", str(made), "HEAD", "main", "--tags", folder=folder)
        write(bundle, made.read_bytes())


def _copier(function: str, *where: str, **options: Any) -> None:
    """Call copier: it asks nothing, runs nothing of a template's, and what it says is one line."""
    import copier
    from copier.errors import InvalidConfigFileError, UnsafeTemplateError

    try:
        with redirect_stderr(StringIO()):
            getattr(copier, function)(*where, defaults=True, overwrite=True, quiet=True, **options)
    except Exception as error:
        match error:
            case UnsafeTemplateError():
                said = "it has programs to be run, which we do not; trust it with copier itself"
            case InvalidConfigFileError():
                said = f"{error} is not readable YAML"
            case _:  # git's own words, where it is git that failed
                said = getattr(error, "stderr", "") or str(error)
        subject = f"template {where[0]!r}" if function == "run_copy" else "update"
        raise StackbookError(f"{subject}: {_line(said)}") from None


def _line(said: object) -> str:
    return " ".join(str(said).split())[-300:] or type(said).__name__


def _check_git() -> None:
    if not shutil.which("git"):
        raise StackbookError(
            "no git here, which keeps the template of a study for later updates; "
            "install it, on Debian and Ubuntu: apt-get install git"
        )


def _check_committed() -> None:
    """StackbookError unless the current folder is under git, all of it committed."""
    changed = subprocess.run(
        ["git", "status", "--porcelain", "--", "."], capture_output=True, text=True
    )
    if changed.returncode:
        raise StackbookError(
            f"{Path.cwd()} is not under git, which shows what an update changes: "
            "`git init`, `git add .`, `git commit -m start`, then update"
        )
    files = [line[3:] for line in changed.stdout.splitlines()]
    if files:
        more = f" and {len(files) - _SHOWN} more" if files[_SHOWN:] else ""
        raise StackbookError(
            f"not committed: {', '.join(files[:_SHOWN])}{more}; commit or stash them, then update"
        )


def _git(*arguments: str, folder: Path | None = None) -> str:
    """What git prints: in the study as its user has set it up, in a `folder` of ours as we have."""
    done = subprocess.run(
        ["git", *arguments],
        cwd=folder,
        env=os.environ | (_OURS if folder else {}),
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise StackbookError(f"git {arguments[0]}: {_line(done.stderr)}")
    return done.stdout
