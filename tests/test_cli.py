"""The command line: what it prints, and one clear line for each bad input."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import psutil
import pytest

from stackbook import facts, home
from stackbook.cli import book
from stackbook.press.build import default_store
from stackbook.press.chapters import Book, plain
from stackbook.press.execution import Executed
from stackbook.press.store import Store

CHAPTERS = list(Book().chapters)


def stackbook(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "stackbook.cli", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["build", "-p", "wafer_us=2e4"], "no parameter 'wafer_us' in "),
        (["build", "--only", ""], "no chapter ''; the chapters are "),
        (
            ["build", "--only", "layers/chip"],
            "no chapter 'layers/chip' (did you mean layers/chips?",
        ),
        (["run", "nowhere"], "no chapter 'nowhere'; the chapters are "),
        (["build", "--scenario", "absent.yml"], "scenario 'absent.yml': No such file or directory"),
        (["data", "show", "zzz"], "no table 'zzz'; the tables are "),
        (["data", "show", "transformer"], "no table 'transformer' (did you mean transformers?); "),
        (["data", "show", "chip", "H100"], "no table 'chip'"),
        (
            ["data", "show", "transformers", "DeepSeek v3"],
            "no row 'DeepSeek v3' in table transformers (did you mean DeepSeek V3?); ",
        ),
        (["findings"], "nothing was built in {here}/_build; run `stackbook build` first"),
        (["findings", "layers/chips"], "nothing of layers/chips was built in {here}/_build; run"),
        (["findings", "layers/chip"], "no chapter 'layers/chip' (did you mean layers/chips?"),
        (["serve"], "no site in {here}/_build/html; run `stackbook build` first"),
    ],
)
def test_bad_input_is_one_line_and_a_failure(
    tmp_path: Path, arguments: list[str], message: str
) -> None:
    done = stackbook(*arguments, cwd=tmp_path)
    assert done.returncode == 1
    told = f"error: {message.format(here=tmp_path)}"
    assert done.stderr.count("\n") == 1 and done.stderr.startswith(told)
    assert list(tmp_path.iterdir()) == [], "nothing was begun"


def test_an_output_folder_that_cannot_be_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "_build").write_text("a file")
    done = stackbook("build", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr == "error: _build: File exists\n"


def test_run_prints_the_findings_of_one_chapter(tmp_path: Path) -> None:
    done = stackbook("run", "layers/chips", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["chapter"] == "layers/chips"
    assert result["parameters"] == {
        name: parameter.default
        for name, parameter in Book().chapter("layers/chips").parameters.items()
    }
    assert {"name", "value", "unit"} <= result["findings"][0].keys()
    again = stackbook("run", "layers/chips", cwd=tmp_path)
    assert "layers/chips: cached" in again.stderr
    assert result["findings"][0]["name"] in again.stdout


def test_params_lists_what_can_be_set(tmp_path: Path) -> None:
    rows = json.loads(stackbook("params", "--json", cwd=tmp_path).stdout)
    assert {row["chapter"] for row in rows} <= set(CHAPTERS)
    text = stackbook("params", "layers/chips", cwd=tmp_path).stdout
    assert all(row["name"] in text for row in rows if row["chapter"] == "layers/chips")


@pytest.mark.parametrize("columns", ["80", "100"])
def test_names_stay_whole_on_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich then takes the pipe for a terminal
    monkeypatch.setenv("COLUMNS", columns)
    chapters = Book().chapters
    text = stackbook("params", cwd=tmp_path).stdout
    assert {name for chapter in chapters.values() for name in chapter.parameters} <= {*text.split()}
    assert {name for name, chapter in chapters.items() if chapter.parameters} <= {*text.split()}
    one = stackbook("params", "layers/chips", cwd=tmp_path).stdout
    assert max(map(len, re.sub(r"\x1b\[[\d;]*m", "", one).splitlines())) <= int(columns)
    told = stackbook("validate", cwd=tmp_path).stdout
    assert {row["quantity"] for row in facts.table("published_cases").collect().to_dicts()} <= {
        *told.split()
    }


def test_a_parameter_is_written_in_one_notation_that_can_be_given_back() -> None:
    for chapter in Book().chapters.values():
        for one in chapter.parameters.values():
            written = [plain(each) for each in (one.low, one.default, one.high) if each]
            assert one.check(plain(one.default)) == one.default
            assert len({"e" in each for each in written}) <= 1 or one.choices, written


def test_findings_of_one_chapter_can_be_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("layers/chips", "layers/systems-network"):
        chapter = Book().chapter(name)
        made = {"metadata": {"stackbook": {"parameters": chapter.values({})}}}
        found = [{"name": "a_price", "value": 1.0, "unit": "USD", "why": name}]
        default_store().show(chapter, Executed(json.dumps(made), found, {}))
    book.findings()
    assert capsys.readouterr().out.count("a_price") == 2
    book.findings("layers/chips", json_=True)
    assert json.loads(capsys.readouterr().out).keys() == {"layers/chips"}


def test_validate_writes_tolerances_as_bounds(tmp_path: Path) -> None:
    told = stackbook("validate", "A", cwd=tmp_path).stdout
    assert all(f" {each} " in told for each in ("±10%", "±0.005", "≤ +10%", "≥ -10%"))


def test_validate_opens_a_case_with_its_claim_and_source(tmp_path: Path) -> None:
    told = " ".join(stackbook("validate", "D20", cwd=tmp_path).stdout.split())
    source = facts.cite("sardana-inference-2024")
    headline = f"D20 Compute that a smaller, longer trained model saves (repeat): {source}"
    assert told.count(headline) == 1, "once for both figures"


def test_validate_explains_the_letters_of_its_sections(tmp_path: Path) -> None:
    told = stackbook("validate", "--help", cwd=tmp_path).stdout
    sections = {row[0] for row in facts.table("published_cases").collect()["case"]}
    assert all(f" {letter}: " in told for letter in sections)


def test_validate_trends_tells_how_much_later_came_inside(tmp_path: Path) -> None:
    told = json.loads(stackbook("validate", "trends", "--json", cwd=tmp_path).stdout)
    shown = stackbook("validate", "trends", cwd=tmp_path).stdout
    assert {one["item"] for one in told} <= {line.strip() for line in shown.splitlines()}
    (far,) = (one for one in told if (one["item"], one["horizon"]) == ("all", "beyond 2 years"))
    assert f"{far['observations']}   {far['inside_50']:.0%}     {far['inside_90']:.0%}" in shown


def test_data_lists_shows_and_checks(tmp_path: Path) -> None:
    listed = stackbook("data", "list", cwd=tmp_path).stdout
    assert all(name in listed for name in facts.package().resources)
    shown = stackbook("data", "show", "sources", cwd=tmp_path)
    assert shown.stdout.startswith("key,publisher,") and "# key: " in shown.stderr
    assert "tables keep every rule" in stackbook("data", "check", cwd=tmp_path).stdout


def test_a_row_is_shown_with_its_sources(tmp_path: Path) -> None:
    shown = stackbook("data", "show", "transformers", "DeepSeek V3", cwd=tmp_path).stdout
    row, sources = shown.split("\n\n")
    assert {
        "name: DeepSeek V3",
        "open_weights: true",
        "layers: 61",
        "tokens: 1.48e13",
        "source: huggingface-repositories-2026",
        "repository: deepseek-ai/DeepSeek-V3",
    } <= {*row.split("\n")}
    assert "kv_heads" not in row, "an empty cell"
    (report,) = (one for one in sources.splitlines() if one.startswith("deepseek-v3-2024: "))
    assert facts.cite("deepseek-v3-2024") in report
    assert report.endswith(" https://arxiv.org/abs/2412.19437")
    assert len(sources.splitlines()) == 2, "a source that two cells cite is said once"


def test_all_rows_of_a_key_are_shown_in_the_units_of_their_columns(tmp_path: Path) -> None:
    rows = facts.table("site_timeline").filter(site="Alibaba Zhangbei").collect()
    shown = stackbook("data", "show", "site_timeline", "Alibaba Zhangbei", cwd=tmp_path).stdout
    assert shown.count("site: Alibaba Zhangbei\n") == rows.height > 1
    assert f"\nit_mw [MW]: {plain(rows['it_mw'][-1])}\n" in shown


def test_a_source_is_shown_by_its_key(tmp_path: Path) -> None:
    shown = stackbook("data", "show", "deepseek-v3-2024", cwd=tmp_path).stdout
    assert shown.startswith("key: deepseek-v3-2024\npublisher: DeepSeek-AI\n")
    assert shown == stackbook("data", "show", "sources", "deepseek-v3-2024", cwd=tmp_path).stdout


def test_serve_answers_on_this_machine(tmp_path: Path) -> None:
    (tmp_path / "_build" / "html").mkdir(parents=True)
    (tmp_path / "_build" / "html" / "index.html").write_text("hello")
    command = [sys.executable, "-m", "stackbook.cli", "serve", "--port", "0"]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as server:
        assert server.stdout is not None
        address = server.stdout.readline().split()[0]
        with urllib.request.urlopen(address) as answer:
            assert answer.read() == b"hello"
        server.kill()


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_build_says_so_in_a_line_and_leaves_no_kernel(
    tmp_path: Path, sent: signal.Signals
) -> None:
    def kernels(build: psutil.Process) -> list[psutil.Process]:
        children = build.children(recursive=True)
        asked = {child: child.as_dict(["cmdline"], ad_value=[]) for child in children}
        return [child for child, has in asked.items() if "ipykernel_launcher" in has["cmdline"]]

    command = [sys.executable, "-m", "stackbook.cli", "build"]
    pipes: dict[str, Any] = {"stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=tmp_path, **pipes) as running:
        for _ in range(300):
            left = kernels(psutil.Process(running.pid))
            if left:
                break
            time.sleep(0.1)
        assert left, "no kernel came up"
        running.send_signal(sent)
        _, said = running.communicate()
    assert running.returncode == 1
    line = "error: stopped; results made so far are kept for the next build"
    assert said.splitlines()[-1] == line and "Traceback" not in said
    assert psutil.wait_procs(left, timeout=10)[1] == [], "a kernel is left"


def test_a_chapter_imports_what_stackbook_installs() -> None:
    """The tests have more libraries at hand than a reader who typed `pip install .`."""
    needed = {r.split(";")[0] for r in requires("stackbook") or [] if "extra" not in r}
    installed = {re.split(r"[^\w-]", r)[0].lower() for r in needed} | set(sys.stdlib_module_names)
    for chapter in Book().chapters.values():
        for module in re.findall(r"^(?:from|import) (\w+)", chapter.source, re.MULTILINE):
            assert module in installed | {"stackbook"}, f"{chapter.name} imports {module}"


def test_import_is_light() -> None:
    """No heavy library is imported before it is needed."""
    program = "import sys, stackbook, stackbook.cli; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout
    heavy = {"numba", "numpy", "polars", "altair", "papermill", "distributed", "sphinx", "jupytext"}
    assert heavy.isdisjoint(loaded.split())


def test_the_wheel_brings_chapters_and_tables(installed: Path, tmp_path: Path) -> None:
    """Installed without the checkout, in an empty folder, it knows the same book.

    What `make book` executed from the same sources is as good there, and saves minutes.
    """
    program = (
        "import stackbook, sys; from stackbook import cli; "
        "print(stackbook.home(), file=sys.stderr); cli.main()"
    )
    environment = os.environ | {"PYTHONPATH": str(installed)}
    made = Store(Path(__file__).parents[1] / "_build")
    if made.results.is_dir():
        shutil.copytree(made.results, tmp_path / "_build" / "results")
    done = subprocess.run(
        [sys.executable, "-c", program, "build"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert str(installed) in done.stderr.splitlines()[0]
    site = tmp_path / "_build" / "html"
    assert all((site / f"{name}.html").is_file() for name in Book().files)
    share = installed / "stackbook" / "share"
    for path in sorted((home() / "data").rglob("*.*")):
        assert (
            share / "data" / path.relative_to(home() / "data")
        ).read_bytes() == path.read_bytes()
