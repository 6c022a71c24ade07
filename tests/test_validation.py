"""Every published result has one way to be computed, and comes out as its table says."""

import json
import shutil
import subprocess
import sys
from math import inf, isnan, nan
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from stackbook import StackbookError, facts, validation
from stackbook.cli import checks

KEYS = facts.table("published_cases").select("case", "quantity").collect().rows()
GOOD = ("A02", "gross_margin")


def the(key: validation.Key) -> validation.Result:
    (one,) = (one for one in validation.results(key[0]) if (one.case, one.quantity) == key)
    return one


def row(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    """A table of cases with one row alone, with these changes."""
    known = facts.table
    is_good = (pl.col("case") == GOOD[0]) & (pl.col("quantity") == GOOD[1])
    cases = known("published_cases").filter(is_good).with_columns(**changes)
    monkeypatch.setattr(facts, "table", lambda n: cases if n == "published_cases" else known(n))


def test_every_published_result_has_a_computation_and_the_reverse() -> None:
    assert set(KEYS) == set(validation.CASES)


@pytest.mark.parametrize("key", KEYS, ids=" ".join)
def test_case(key: validation.Key) -> None:
    """Met within its tolerance, or a miss of the stated size with a reason; never both."""
    one = the(key)
    assert not one.failed, f"{one.published} {one.unit} published, {one.computed} computed"


def test_a_section_or_a_case_can_be_chosen() -> None:
    assert {one.case[0] for one in validation.results("B")} == {"B"}
    assert {one.case for one in validation.results("a05")} == {"A05"}
    with pytest.raises(StackbookError, match="no case 'z'; the sections are A, B, C, D"):
        validation.results("z")


def test_a_row_without_a_computation_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(validation.CASES, GOOD)
    with pytest.raises(StackbookError, match=r"^A02 gross_margin of table .* no computation; add"):
        validation.results("A")


def validate(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "stackbook.cli", "validate", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def test_the_command_prints_published_computed_error_and_tolerance() -> None:
    done = validate("c")
    assert done.returncode == 0, done.stderr
    assert "C02" in done.stdout and "2.21" in done.stdout
    assert "miss: " in done.stdout, "what cannot be met stays in the table"
    rows = json.loads(validate("--json").stdout)
    assert len(rows) == len(validation.CASES)
    assert {"case", "published", "computed", "error", "tolerance", "miss"} <= rows[0].keys()


@pytest.mark.parametrize(
    ("key", "computed"),
    [
        (GOOD, 0.9),  # off by 1.9 points, where half a point is allowed
        (GOOD, nan),
        (("A03", "cost_p05"), 5000.0),  # below a lower bound
        (("A03", "cost_p05"), inf),
        (("A03", "cost_p95"), 8100.0),  # above an upper bound
        (("A03", "cost_p95"), -inf),
        (("B02", "switches"), 769.0),  # a count is exact
        (("F05", "rental_margin"), 0.3),  # a profit where a loss is published
        (("F05", "rental_margin"), -0.31),
        (("F05", "rental_margin"), -0.29),
        (("C04", "share_of_tco_h100"), 0.19),  # a miss that is none: its reason is stale
        (("C04", "share_of_tco_h100"), 0.35),  # a miss of another size
        (("C04", "share_of_tco_h100"), nan),
        (("C04", "share_of_tco_h100"), inf),
    ],
)
def test_a_wrong_result_fails_and_is_named(
    key: validation.Key,
    computed: float,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(validation.CASES, key, lambda: computed)
    for json_ in (False, True):
        with pytest.raises(StackbookError, match=f"1 of .* {key[0]} {key[1]}; correct the kernel"):
            checks.validate(key[0], json_=json_)
    shown = capsys.readouterr().out
    rows = json.loads(shown[shown.index("\n[") :], parse_constant=pytest.fail)
    assert len(rows) == len(validation.results(key[0])), "NaN is not JSON"


@pytest.mark.parametrize(
    ("kind", "published", "computed", "met"),
    [
        ("at most", 2.0, 2.2, True),
        ("at most", 2.0, 2.3, False),
        ("at least", 2.0, 1.8, True),
        ("at least", 2.0, 1.7, False),
        ("at most", -2.0, -1.8, True),  # a loss: the tolerance widens the bound, it never cuts it
        ("at most", -2.0, -1.7, False),
        ("at least", -2.0, -2.2, True),
        ("at least", -2.0, -2.3, False),
        ("relative", -2.0, -2.2, True),
        ("relative", -2.0, -1.7, False),
        ("relative", -2.0, 2.0, False),
        ("absolute", 0.0, -0.1, True),
        ("absolute", 0.0, 0.2, False),
        ("at most", 0.0, 0.0, True),
        ("at most", 0.0, 0.1, False),
    ],
)
def test_bounds_and_tolerances(
    kind: str, published: float, computed: float, met: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    row(monkeypatch, value=published, tolerance=pl.lit(0.11), tolerance_kind=pl.lit(kind))
    monkeypatch.setitem(validation.CASES, GOOD, lambda: computed)
    (one,) = validation.results()
    assert one.met == met
    assert isnan(one.error) == (published == 0), "an error over nothing is no number"


@pytest.mark.parametrize(
    ("kind", "published", "computed", "written"),
    [
        ("absolute", 0.02, 0.0153975, "-0.0046"),
        ("absolute", 410.7, 2143.42, "+1700"),
        ("absolute", 0.0, 0.0, "+0"),
        ("absolute", -0.3, 1 - 1.69 / 1.3, "+0"),
        ("absolute", -0.3, -0.31, "-0.01"),
        ("relative", 0.02, 0.0153975, "-23.01%"),
        ("relative", -0.3, -0.33, "-10.00%"),  # a greater loss is less, not more
        ("at most", -2.0, -1.7, "+15.00%"),
        ("at most", 1.0, 1.0 - 1e-9, "+0.00%"),
        ("relative", 0.0, 0.0, ""),
    ],
)
def test_an_error_is_written_in_the_kind_of_its_tolerance(
    kind: str, published: float, computed: float, written: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    row(monkeypatch, value=pl.lit(published), tolerance_kind=pl.lit(kind))
    monkeypatch.setitem(validation.CASES, GOOD, lambda: computed)
    assert validation.results()[0].difference == written


def test_a_result_of_zero_is_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    row(monkeypatch, value=pl.lit(0.0))
    monkeypatch.setitem(validation.CASES, GOOD, lambda: 0.0)
    checks.validate("")
    assert "nan" not in capsys.readouterr().out
    checks.validate("", json_=True)
    assert json.loads(capsys.readouterr().out)[0]["error"] is None


@pytest.mark.parametrize(("ours", "broken"), [(None, "misses"), ("1", "met")])
def test_a_miss_states_our_value_and_nothing_else_does(
    tmp_path: Path, ours: str | None, broken: str
) -> None:
    shutil.copytree(facts.package().folder, tmp_path / "data")
    path = tmp_path / "data" / "published" / "cases.csv"
    table = pl.read_csv(path, infer_schema=False)
    table.with_columns(ours=pl.lit(ours, pl.String)).write_csv(path)
    found = facts.Package(tmp_path / "data").violations("published_cases")
    met = table["miss"].null_count()
    assert len(found) == {"met": met, "misses": len(table) - met}[broken]
    assert all(line.endswith("breaks the rule (miss IS NULL) = (ours IS NULL)") for line in found)
