"""`stackbook data refresh`: merging a publisher's file into a table, and never harming it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from stackbook import StackbookError, facts, home, upstream
from stackbook.upstream import Format, Read

ROWS = """name,usd,quotes,source,as_of
A,1.50,3,x,2026-08
B,2,9,x,2026-08
"""


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with one table of prices, and a format that reads its own columns."""
    table = {
        "name": "prices",
        "path": "prices.csv",
        "schema": {
            "fields": [
                {"name": "name", "type": "string", "constraints": {"required": True}},
                {"name": "usd", "type": "number", "constraints": {"maximum": 10}},
                {"name": "quotes", "type": "integer"},
                {"name": "source", "type": "string"},
                {"name": "as_of", "type": "string"},
            ],
            "primaryKey": ["name"],
            "foreignKeys": [
                {"fields": ["source"], "reference": {"resource": "sources", "fields": ["key"]}}
            ],
        },
    }
    sources = {
        "name": "sources",
        "path": "sources.csv",
        "schema": {"fields": [{"name": "key", "type": "string"}], "primaryKey": ["key"]},
    }
    data = tmp_path / "data"
    data.mkdir()
    (tmp_path / "pyproject.toml").touch()
    (data / "datapackage.json").write_text(json.dumps({"resources": [table, sources]}))
    (data / "prices.csv").write_text(ROWS)
    (data / "sources.csv").write_text("key\nx\n")
    monkeypatch.setattr(upstream, "home", lambda: tmp_path)
    form = Format("a plain list", upstream.has_columns("label", "price"), read)
    monkeypatch.setattr(upstream, "formats", lambda: {"prices": (form,)})
    return data


def read(text: str, as_of: str | None) -> Read:
    rows, ragged = upstream.records(text)
    columns: dict[str, list[Any]] = {
        "name": [row["label"] for row in rows],
        "usd": [float(row["price"]) for row in rows],
        "quotes": [int(row.get("quotes", 9)) for row in rows],
        "source": [row.get("source", "x") for row in rows],
        "as_of": [as_of or row.get("as_of", "2026-09") for row in rows],
    }
    return Read(pl.DataFrame(columns), {"ragged": ragged} if ragged else {})


def refreshed(folder: Path, text: str, as_of: str | None = None) -> upstream.Changes:
    file = folder / "download.csv"
    file.write_text(text)
    return upstream.refresh("prices", str(file), as_of)


def test_new_rows_take_the_place_of_those_with_their_key(checkout: Path) -> None:
    changes = refreshed(checkout, "label,price\nC,0.5\nB,3\n")
    assert [each.row for each in changes.added] == ["C"]
    assert [(each.row, each.cells) for each in changes.changed] == [
        ("B", {"usd": (2.0, 3.0), "as_of": ("2026-08", "2026-09")})
    ]
    assert (checkout / "prices.csv").read_text() == ROWS, "nothing is written unasked"
    changes.write()
    lines = (checkout / "prices.csv").read_text().splitlines()
    assert lines[1] == "A,1.50,3,x,2026-08", "a row that stays is the same to the byte"
    assert lines[2:] == ["B,3,9,x,2026-09", "C,0.5,9,x,2026-09"]


def test_the_second_time_changes_nothing(checkout: Path) -> None:
    file = "label,price\nC,0.5\nA,3\n"
    refreshed(checkout, file).write()
    before = (checkout / "prices.csv").read_bytes()
    again = refreshed(checkout, file)
    again.write()
    assert (len(again.added), len(again.changed), again.unchanged) == (0, 0, 2)
    assert (checkout / "prices.csv").read_bytes() == before


def test_a_change_is_told_in_words_and_figures(checkout: Path) -> None:
    changes = refreshed(checkout, "label,price\nC,0.5\nA,3\nB,2\n")
    assert [str(each) for each in changes.added] == ["C: usd 0.5"]
    assert str(changes.changed[0]) == "A: usd 1.5 → 3, quotes 3 → 9, as_of 2026-08 → 2026-09"
    assert [each.moved for each in changes.changed] == [True, False], "B is only told again"


def test_two_at_once_do_not_undo_each_other(checkout: Path) -> None:
    one, other = (refreshed(checkout, f"label,price\n{row},1\n") for row in "CD")
    one.write()
    with pytest.raises(StackbookError, match="somebody else changed"):
        other.write()
    assert "\nC,1," in (checkout / "prices.csv").read_text()


def test_the_largest_change_comes_first(checkout: Path) -> None:
    changes = refreshed(checkout, "label,price,quotes\nA,1.6,99\nB,8,9\n")
    assert [each.row for each in changes.changed] == ["B", "A"], "a count of quotes is no change"


@pytest.mark.parametrize(
    ("line", "why"),
    [("A,9,3,2026-07", "of an earlier date"), ("A,9,2,2026-08", "of fewer quotes")],
)
def test_what_knows_less_does_not_replace(checkout: Path, line: str, why: str) -> None:
    changes = refreshed(checkout, f"label,price,quotes,as_of\n{line}\nC,1\n")
    assert changes.changed == []
    assert changes.left_out == {f"{why} than the table's row": 1, "ragged": 1}


def test_the_date_of_a_file_can_be_told(checkout: Path) -> None:
    changes = refreshed(checkout, "label,price\nB,3\n", as_of="2026-10-01")
    assert changes.changed[0].cells["as_of"] == ("2026-08", "2026-10-01")
    changes = refreshed(checkout, "label,price\nB,3\n", as_of="20261001")
    assert changes.changed[0].cells["as_of"] == ("2026-08", "2026-10-01")
    with pytest.raises(StackbookError, match="--as-of October: give a date as 2026-08-22"):
        refreshed(checkout, "label,price\nB,3\n", as_of="October")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("C,11,x", "row C: column usd: '11' breaks the rule maximum 10"),
        ("C,1,y", "row C: column source: 'y' breaks the rule one of sources.key"),
    ],
)
def test_a_row_that_breaks_a_rule_stops_everything(checkout: Path, line: str, told: str) -> None:
    changes = refreshed(checkout, f"label,price,source\nB,3,x\n{line}\n")
    with pytest.raises(StackbookError) as error:
        changes.write()
    assert str(error.value) == f"prices.csv stays as it was; {told}"
    assert (checkout / "prices.csv").read_text() == ROWS
    assert {each.name for each in checkout.iterdir()} == {
        "datapackage.json", "prices.csv", "sources.csv", "download.csv"
    }  # fmt: skip


def test_a_disk_that_fails_leaves_the_old_table(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError("no space left")

    changes = refreshed(checkout, "label,price\nB,3\n")
    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="no space"):
        changes.write()
    assert (checkout / "prices.csv").read_text() == ROWS
    assert not list(checkout.glob(".*")), "nothing is left beside it"


def test_a_table_keeps_who_may_read_it(checkout: Path) -> None:
    (checkout / "prices.csv").chmod(0o640)
    refreshed(checkout, "label,price\nB,3\n").write()
    assert (checkout / "prices.csv").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize(
    "text", ["", "{}", "a,b\n1,2\n", "\x00\x01", "label;price\nA;1\n", f'["{"x" * 200_000}"]']
)
def test_an_unknown_form_is_told_with_those_known(checkout: Path, text: str) -> None:
    with pytest.raises(StackbookError, match="is in no form that table prices is read from"):
        refreshed(checkout, text)


def test_bytes_that_are_no_text_are_no_form(checkout: Path) -> None:
    (checkout / "download.csv").write_bytes(b"label,price\n\xff,1\n")
    with pytest.raises(StackbookError, match="these are a plain list"):
        upstream.refresh("prices", str(checkout / "download.csv"))


def test_other_tables_have_no_upstream(checkout: Path) -> None:
    with pytest.raises(StackbookError, match="those with one are prices"):
        upstream.refresh("sources", str(checkout / "prices.csv"))


def test_a_file_that_is_not_there_is_told(checkout: Path) -> None:
    with pytest.raises(StackbookError, match="there is no file"):
        upstream.refresh("prices", str(checkout / "downloads.csv"))


def test_an_installed_package_keeps_its_tables(checkout: Path) -> None:
    changes = refreshed(checkout, "label,price\nB,3\n")
    (checkout.parent / "pyproject.toml").unlink()
    with pytest.raises(StackbookError, match="refresh table prices in a checkout of the book"):
        changes.write()
    assert (checkout / "prices.csv").read_text() == ROWS


@pytest.mark.parametrize("cell", ["", "-1", "nan", "inf", "1e999", "1,5", None, [], "12"])
def test_a_number_is_finite_and_within_its_bounds(cell: Any) -> None:
    assert upstream.number(cell, 11) is None


def test_a_day_is_read_with_its_time_and_without() -> None:
    told = ["2026-08-22", "2026-08-22T10:00:00Z", "2026-08-22 10:00:00+02:00", "22/08/2026", None]
    assert [upstream.day_in(each) for each in told] == 3 * ["2026-08-22"] + 2 * [None]


def test_every_format_is_of_a_table_and_named_once() -> None:
    for table, several in upstream.formats().items():
        assert table in facts.package().resources
        names = [each.name for each in several]
        assert len(set(names)) == len(names)


def test_the_command_says_what_changes(tmp_path: Path) -> None:
    rows = facts.table("rental_prices").filter(source="aws-gpu-price-tracker-2026").collect()
    usd = 8 * rows.filter(month="2026-07")["usd_per_hour"].item()
    file = tmp_path / "aws.csv"
    lines = [f"2026-07-{day:02},p5.48xlarge,{usd * 2}" for day in range(1, 32)]
    lines += ["2026-12-01,p5.48xlarge,", "2026-12-02,p5.48xlarge,60", "2026-12-03,p9.huge,1"]
    file.write_text("\n".join(["timestamp,instance,price_usd", *lines]))
    table = home() / "data" / "rental_prices.csv"
    before = table.read_bytes()
    command = ["data", "refresh", "rental_prices", str(file), "--dry-run"]
    script = str(Path(sys.executable).with_name("stackbook"))
    out = subprocess.run([script, *command], capture_output=True, text=True, check=True).stdout
    assert out.splitlines()[0].startswith("+ 2026-12, AWS, H100 SXM, on-demand, ")
    assert f"usd_per_hour {usd / 8} → {usd / 4}" in out
    assert "usd_per_hour 7.5, low 7.5" in out.splitlines()[0]
    assert "left out: 1 of instance p9.huge, which is not known" in out
    assert "rental_prices: 1 rows added, 1 changed, 0 unchanged; nothing written" in out
    assert table.read_bytes() == before


@pytest.mark.parametrize(
    ("cell", "value"),
    [("$4.99", 4.99), ("1,204.5", 1204.5), (3, 3.0), ("-1", None), ("nan", None), ("", None)],
)
def test_a_number_is_finite_and_not_negative(cell: object, value: float | None) -> None:
    assert upstream.number(cell) == value
