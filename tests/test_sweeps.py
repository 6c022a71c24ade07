"""A sweep gives each case once, whatever dies on the way, and refuses a design before it runs."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pytest
from conftest import CHAPTER, book_of_two

from stackbook import StackbookError, inputs
from stackbook.facts import parameter
from stackbook.press import build, sweeps
from stackbook.press.chapters import Book, Chapter, declared
from stackbook.press.designs import METHODS, Design, designed

POWER = Book().chapter("layers/datacenter-power")
USED = {"module:stackbook.findings": "as of then"}


def test_a_design_is_a_product_crossed_with_a_sample() -> None:
    design = designed(
        POWER,
        {"load": 0.5},
        grid=["usd_per_kwh=0.05:0.10:3"],
        values=["utilization=0.5, 1"],
        sample="sobol:4",
        draw=["om_share", "rent_gb200=2:4"],
        seed=7,
    )
    assert design.size == 3 * 2 * 4
    first, last = design.values(0), design.values(23)
    assert (first["usd_per_kwh"], first["utilization"], first["load"]) == (0.05, 0.5, 0.5)
    assert (last["usd_per_kwh"], last["utilization"]) == (0.1, 1.0)
    assert list(first) == list(POWER.parameters)
    for name in ("om_share", "rent_gb200"):
        column = design.swept[name]
        assert column[:4] * 6 == column and len({*column}) == 4
    assert sum(value < 3 for value in design.swept["rent_gb200"][:4]) == 2, "balanced"
    again = designed(POWER, {}, sample="sobol:4", draw=["om_share", "rent_gb200=2:4"], seed=7)
    other = designed(POWER, {}, sample="sobol:4", draw=["om_share", "rent_gb200=2:4"], seed=8)
    assert again.swept["om_share"] == design.swept["om_share"][:4] != other.swept["om_share"]


@pytest.mark.parametrize("method", METHODS)
def test_a_draw_of_evidence_has_its_distribution_within_the_bounds(method: str) -> None:
    """As `inputs.uncertain` has it, around the value that the parameter has."""
    design = designed(POWER, {"om_share": 0.04}, sample=f"{method}:1024", draw=["om_share"])
    column = pl.Series(design.swept["om_share"])
    like = pl.Series(inputs.uncertain("om_IT", 0.04)[1:])
    for share in (0.05, 0.5, 0.95):
        tolerance = 0.05 if method == "random" else 0.01
        assert column.quantile(share, "linear") == pytest.approx(
            like.quantile(share, "linear"), rel=tolerance
        )
    wide = designed(POWER, {"om_share": 0.14}, sample=f"{method}:256", draw=["om_share"])
    assert max(wide.swept["om_share"]) <= 0.15  # type: ignore[type-var]
    assert parameter("om_IT").high is not None


def test_whole_numbers_are_drawn_evenly_ends_included(book: Book) -> None:
    two = book.chapters["deep/two"]
    column = designed(two, {}, sample="lhs:300", draw=["life_yr=1:3"]).swept["life_yr"]
    assert [column.count(year) for year in (1, 2, 3)] == [100, 100, 100]
    assert designed(two, {}, grid=["life_yr=1:5:3"]).swept["life_yr"] == [1, 3, 5]


BAD = [
    ({}, "nothing to sweep: give --grid"),
    ({"grid": ["load=0.5:0.9"]}, "--grid 'load=0.5:0.9': write name=low:high:n"),
    ({"grid": ["load"]}, "write name=value"),
    ({"grid": ["load=0.5:0.9:1"]}, "1 points; give 2 to 1,000,000"),
    ({"grid": ["load=0.5:0.9:-3"]}, "write name=low:high:n"),
    ({"grid": ["load=0.5:nan:3"]}, "parameter load = nan is not finite"),
    ({"grid": ["load=0.9:0.5:3"]}, "0.9 is not below 0.5"),
    ({"grid": ["load=0.5:2:3"]}, "parameter load = 2.0 is out of bounds: give a number, 0.3 to 1"),
    ({"grid": ["lod=0.5:0.9:3"]}, "no parameter 'lod' in layers/datacenter-power (did you mean l"),
    ({"grid": ["load=0.5:0.9:3"], "values": ["load=0.4,0.6"]}, "parameter load is swept twice"),
    ({"values": ["load=0.5"]}, "'load=0.5' is one value: set it with -p"),
    ({"values": ["load=0.5,0.5"]}, "gives a value twice"),
    ({"values": ["load=0.5,__import__('os').system('true')"]}, 'parameter load = "__import__('),
    ({"values": ['load=0.5,"0.6']}, "a value with a comma between quotes"),
    ({"values": ["load=0.5,0.6\nimport os"]}, "in one line"),
    ({"values": ["'; drop=1,2"]}, 'no parameter "\'; drop"'),
    ({"draw": ["load=0.5:0.9"]}, "--sample METHOD:N says how many points, --draw NAME which"),
    ({"sample": "sobol:8"}, "give both"),
    ({"sample": "sobol:1", "draw": ["om_share"]}, "1 points; give 2"),
    ({"sample": "sobol:500", "draw": ["om_share"]}, "powers of two alone; give 256 or 512"),
    ({"sample": "monte:8", "draw": ["om_share"]}, "methods are sobol, halton, lhs, random"),
    ({"sample": "lhs:8", "draw": ["om_share", "om_share=0:0.1"]}, "om_share is drawn twice"),
    ({"sample": "lhs:8", "draw": ["load"]}, "no row of table parameters is its evidence"),
    ({"sample": "lhs:8", "draw": ["load=0.5"]}, "write name=low:high, or name alone"),
    ({"sample": "lhs:8", "draw": ["load=0.5:9"]}, "load = 9.0 is out of bounds"),
    (
        {"sample": "lhs:8", "draw": ["load=0.5:0.9"], "grid": ["load=0.5:0.9:3"]},
        "parameter load is swept twice",
    ),
    (
        {"sample": "lhs:9999", "draw": ["om_share"], "grid": ["load=0.5:0.9:999"]},
        "9,989,001 cases: give fewer points, at most 1,000,000",
    ),
]


@pytest.mark.parametrize(("asked", "message"), BAD)
def test_a_bad_design_is_an_error_in_a_line(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(StackbookError) as error:
        designed(POWER, {}, **asked)
    assert message in str(error.value) and "\n" not in str(error.value)


def journal(path: Path, head: str = "h", force: bool = False) -> sweeps._Journal:
    return sweeps._Journal(path / "s.parquet", head, force)


def test_a_torn_line_is_no_case(tmp_path: Path) -> None:
    with journal(tmp_path) as kept:
        for case in range(3):
            kept.add(case, "failed", USED)
    whole = kept.path.read_bytes()
    for end in range(len(whole)):
        kept.path.write_bytes(whole[:end])
        with journal(tmp_path) as again:
            lines = whole[:end].split(b"\n")[:-1]
            assert list(again.cases) == list(range(sum(b'{"case"' in line for line in lines)))
            again.add(9, "failed", USED)
        with journal(tmp_path) as third:
            assert set(third.cases) == {*again.cases, 9}


def test_a_journal_is_of_one_design_and_for_one_sweep_at_a_time(tmp_path: Path) -> None:
    with journal(tmp_path) as kept:
        kept.add(0, "failed", USED)
        with pytest.raises(StackbookError, match=r"another sweep is at work on .*s\.parquet"):
            journal(tmp_path).__enter__()
    with pytest.raises(StackbookError, match=r"another sweep, not finished, .* with --force"):
        journal(tmp_path, "other").__enter__()
    with journal(tmp_path, "other", force=True) as new:
        assert new.cases == {}


def test_cases_of_other_sources_are_repeated(tmp_path: Path) -> None:
    with journal(tmp_path) as kept:
        kept.add(0, [], USED)
        kept.add(1, [], {name: sweeps.digest(name) for name in USED})
        assert kept.stale() == [0] and set(kept.cases) == {1}


def test_a_file_that_is_something_else_is_not_replaced(book: Book, tmp_path: Path) -> None:
    path = tmp_path / "s.parquet"
    design = Design(book.chapters["one"], {}, {"rate": [0.1, 0.2]}, 0)
    path.write_text("mine")
    with pytest.raises(StackbookError, match="is there and no sweep of stackbook"):
        sweeps.sweep(design, path)
    pl.DataFrame({"a": [1]}).write_parquet(
        path, metadata={"stackbook": '{"digest": "x", "cases": 3, "chapter": "y"}'}
    )
    with pytest.raises(StackbookError, match=r"holds another sweep, 3 cases of y .* with --force"):
        sweeps.sweep(design, path)


def test_a_scheduler_that_is_not_there_is_an_error(
    book: Book, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "_SCHEDULER_TIMEOUT", 0.5)
    design = Design(book.chapters["one"], {}, {"rate": [0.1, 0.2]}, 0)
    with pytest.raises(StackbookError, match="no Dask scheduler with a worker at 'tcp://127"):
        sweeps.sweep(design, tmp_path / "s.parquet", scheduler=f"tcp://127.0.0.1:{free_port()}")
    assert not (tmp_path / "s.parquet").exists()


def test_a_slice_over_files_has_each_and_notices_when_one_changes(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in "abc"]
    for number, path in enumerate(paths):
        path.write_text(str(number))
    source = CHAPTER.format(
        title="Files",
        extra=f"file: str = {str(paths[0])!r}  # [path] a number",
        code="from stackbook import located\nnumber = float(located(file).read_text())\n"
        'finding("number", number, "1", why="set here")',
        finding="number",
    )
    one = Chapter("files", source, declared("files", source))
    design = designed(one, {}, values=["file=" + ",".join(map(str, paths))])
    out = tmp_path / "s.parquet"
    sweeps.sweep(design, out, findings=["number"])
    assert pl.read_parquet(out)["value"].to_list() == [0, 1, 2]
    paths[1].write_text("7")
    assert not sweeps.sweep(design, out, findings=["number"]).cached
    assert pl.read_parquet(out)["value"].to_list() == [0, 7, 2]


# A real cluster: nothing but the wheel, and no folder in common.


def free_port() -> int:
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        return int(made.getsockname()[1])


@pytest.fixture(scope="module")
def environment(installed: Path) -> dict[str, str]:
    """The environment of a process that has the installed wheel alone."""
    return os.environ | {"PYTHONPATH": str(installed)}


class Process(NamedTuple):
    run: subprocess.Popen[bytes]
    folder: Path


class Cluster:
    """A scheduler and workers, each in a folder of its own."""

    def __init__(self, root: Path, environment: dict[str, str]) -> None:
        self.root, self.environment = root, environment
        self.processes: list[Process] = []
        port = free_port()
        self.address = f"tcp://127.0.0.1:{port}"
        self.scheduler = self.start("dask_scheduler", "--host", self.address)

    def start(self, program: str, *arguments: str) -> Process:
        folder = self.root / f"{program}-{len(self.processes)}"
        folder.mkdir(parents=True)
        command = [sys.executable, "-m", f"distributed.cli.{program}", *arguments]
        run = subprocess.Popen(
            [*command, "--no-dashboard"],
            cwd=folder,
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.processes.append(Process(run, folder))
        return self.processes[-1]

    def worker(self) -> Process:
        return self.start("dask_worker", self.address, "--nthreads", "1", "--no-nanny")

    def stop(self) -> None:
        for process in self.processes:
            process.run.kill()
            process.run.wait()


@pytest.fixture
def cluster(environment: dict[str, str], tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(tmp_path / "cluster", environment)
    yield made
    made.stop()


class Client:
    """A reader's folder with a book whose chapter counts its executions where they run.

    Until its gate is open, cases with a life of 3, 7, 11, 15 years wait at it, so that no sweep is
    over before it is killed.
    """

    def __init__(self, root: Path, environment: dict[str, str]) -> None:
        self.root, self.environment = root, environment
        book_of_two(root)
        self.gate = root.parent / "gate"
        page = root / "book" / "deep" / "two.md"
        count = (
            "import os, time\n"
            "open('counted', 'a').write(f'{life_yr}\\n')\n"
            f"while life_yr % 4 == 3 and not os.path.exists({str(self.gate)!r}):\n"
            "    time.sleep(0.05)\n"
        )
        page.write_text(page.read_text().replace("from stackbook.kernels import capital\n", count))
        self.out = root / "_build" / "sweeps" / "deep-two.parquet"
        self.journal = self.out.with_name(self.out.name + ".journal")

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "stackbook.cli", "sweep", "deep/two", *arguments],
            cwd=self.root,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def done(self) -> list[int]:
        """The cases in the journal."""
        if not self.journal.is_file():
            return []
        lines = self.journal.read_bytes().split(b"\n")[:-1]
        return [record["case"] for record in map(json.loads, lines) if "case" in record]

    def wait(self, running: subprocess.Popen[str], cases: int) -> None:
        until(running, lambda: len(self.done()) >= cases)


def until(running: subprocess.Popen[str], true: Callable[[], bool]) -> None:
    """Wait, while `running` runs, minutes if the machine is slow."""
    for _ in range(6000):
        if true():
            return
        assert running.poll() is None, running.communicate()
        time.sleep(0.05)
    raise AssertionError("it has taken five minutes")


def executions(*folders: Path) -> list[int]:
    """Lives of the cases that processes in `folders` began."""
    counted = [path for folder in folders for path in folder.rglob("counted")]
    return sorted(int(line) for path in counted for line in path.read_text().split())


@pytest.fixture
def client(environment: dict[str, str], tmp_path: Path) -> Client:
    return Client(tmp_path / "mine", environment)


def test_a_sweep_survives_its_worker_and_itself(client: Client, cluster: Cluster) -> None:
    """Killed in the middle, then a worker; a case fails. Then the same again, and a slice."""
    asked = ["--grid", "life_yr=10:17:8", "--scheduler", cluster.address]
    old = [cluster.worker(), cluster.worker()]
    running = client.start(*asked)
    client.wait(running, 2)
    running.send_signal(signal.SIGKILL)
    running.communicate()
    kept = client.done()
    assert 2 <= len(kept) <= 6 and not client.out.exists()
    for worker in old:  # which may be at cases that nobody waits for any more
        worker.run.kill()
    new = [cluster.worker(), cluster.worker()]
    running = client.start(*asked)
    until(running, lambda: bool(executions(*(worker.folder for worker in new))))
    busy = next(worker for worker in new if executions(worker.folder))
    busy.run.kill()
    client.gate.touch()
    said, error = running.communicate()
    assert running.returncode == 1 and "8 cases, 1 failed, " in said
    assert "error: 1 of 8 cases failed; column error of " in error and "Traceback" not in error
    again = {*executions(*(worker.folder for worker in new))}
    assert again == {*range(10, 18)} - {10 + case for case in kept}, "none repeated, none lost"
    table = pl.read_parquet(client.out)
    assert table["case"].to_list() == list(range(8)) and not client.journal.exists()
    assert table["life_yr"].to_list() == list(range(10, 18))
    assert table.columns == [
        *("case", "rate", "life_yr", "finding", "value", "unit", "low", "high", "error", "seed")
    ]
    good = table.filter(pl.col("life_yr") != 13)
    assert (good["value"] == good["life_yr"]).all() and {*good["finding"]} == {"years"}
    (bad,) = table.filter(life_yr=13).to_dicts()
    assert bad["finding"] is None and bad["value"] is None
    assert re.search(r"chapter deep/two raised in cell \d, line \d .*: thirteen$", bad["error"])
    before, content = executions(cluster.root, client.root), client.out.read_bytes()
    said, _ = client.start(*asked).communicate()
    assert "8 cases, 1 failed, cached: " in said
    assert executions(cluster.root, client.root) == before
    _, error = client.start("--grid", "life_yr=1:5:5").communicate()
    assert "holds another sweep, 8 cases" in error and "--force" in error
    assert client.out.read_bytes() == content

    page = client.root / "book" / "deep" / "two.md"
    page.write_text(page.read_text().replace("thirteen", "a baker's"))
    _, error = client.start(*asked).communicate()
    assert "holds another sweep" in error, "the chapter is another"
    asked[1] = "life_yr=2:29:28"
    slice_ = client.start(*asked, "--finding", "years", "--out", "sliced.parquet")
    said, error = slice_.communicate()
    assert "28 cases, 1 failed, " in said, error
    table = pl.read_parquet(client.root / "sliced.parquet")
    assert table.height == 28 and table["value"].sum() == sum(range(2, 30)) - 13
    assert "a baker's" in table["error"].drop_nulls().item()


def test_a_sweep_whose_scheduler_dies_goes_on_elsewhere(client: Client, cluster: Cluster) -> None:
    cluster.worker()
    running = client.start("--values", "life_yr=1,2,3,4", "--scheduler", cluster.address)
    client.wait(running, 1)
    cluster.scheduler.run.kill()
    _, error = running.communicate()
    assert running.returncode == 1 and "Traceback" not in error
    assert re.search(r"^error: the sweep lost tcp://\S+: .*; the same command goes on", error, re.M)
    kept = client.done()
    assert 1 <= len(kept) < 4 and not executions(client.root)
    client.gate.touch()
    said, error = client.start("--values", "life_yr=1,2,3,4").communicate()
    assert "4 cases, 0 failed" in said, error
    # The old worker may still be at a case, which the journal has not: count what ran here.
    assert executions(client.root) == sorted({1, 2, 3, 4} - {1 + case for case in kept})
    assert pl.read_parquet(client.out)["value"].to_list() == [1, 2, 3, 4]


def test_a_sweep_that_is_stopped_says_how_to_go_on(client: Client) -> None:
    client.gate.touch()
    running = client.start("--grid", "life_yr=1:30:30")
    client.wait(running, 1)
    running.send_signal(signal.SIGINT)
    _, error = running.communicate()
    line = "error: stopped; the same command goes on with the cases that are left"
    assert error.splitlines()[-1] == line and "Traceback" not in error
    assert client.done()
