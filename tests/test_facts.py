"""The tables keep their rules, and a row that breaks one is named."""

import json
import re
import shutil
from pathlib import Path

import polars as pl
import pytest
from frictionless import validate

from stackbook import facts
from stackbook.facts import FactsError, Package

FIELDS = [
    {
        "name": "key",
        "type": "string",
        "constraints": {"required": True, "unique": True, "pattern": "[a-z]+"},
    },
    {"name": "kind", "type": "string", "constraints": {"enum": ["gpu", "tpu"]}},
    {"name": "watts", "type": "number", "constraints": {"minimum": 1, "maximum": 2000}},
    {"name": "dies", "type": "integer", "constraints": {"unique": True}},
    {"name": "released", "type": "date", "constraints": {"minimum": "2010-01-01"}},
    {"name": "sold", "type": "boolean"},
    {"name": "low", "type": "number"},
    {"name": "high", "type": "number"},
    {"name": "source", "type": "string"},
]
GOOD = ["a,gpu,700,1,2022-03-22,true,1,2,x", "b,tpu,,,,,,,x"]


def package(folder: Path, *rows: str, header: str | None = None) -> Package:
    schema = {
        "fields": FIELDS,
        "primaryKey": ["key"],
        "foreignKeys": [
            {"fields": ["source"], "reference": {"resource": "sources", "fields": ["key"]}}
        ],
        "missingValues": [""],
        "rules": [
            "low <= high",
            {
                "rule": "watts > 99 OR kind <> 'gpu'",
                "message": "a chip that draws little is no GPU",
            },
        ],
    }
    sources = {
        "fields": [{"name": "key", "type": "string"}],
        "primaryKey": ["key"],
        "missingValues": [""],
    }
    resources = [
        {"name": "chips", "path": "chips.csv", "schema": schema},
        {"name": "sources", "path": "sources.csv", "schema": sources},
    ]
    (folder / "datapackage.json").write_text(json.dumps({"resources": resources}))
    names = header or ",".join(field["name"] for field in FIELDS)
    (folder / "chips.csv").write_text("\n".join([names, *rows]) + "\n")
    (folder / "sources.csv").write_text("key\nx\n")
    return Package(folder)


def test_a_good_table_has_the_types_of_its_schema(tmp_path: Path) -> None:
    frame = package(tmp_path, *GOOD).table("chips")
    assert isinstance(frame, pl.LazyFrame)
    assert dict(frame.collect_schema()) == {
        "key": pl.String,
        "kind": pl.String,
        "watts": pl.Float64,
        "dies": pl.Int64,
        "released": pl.Date,
        "sold": pl.Boolean,
        "low": pl.Float64,
        "high": pl.Float64,
        "source": pl.String,
    }


@pytest.mark.parametrize(
    ("row", "column", "value", "rule"),
    [
        (",gpu,,,,,,,x", "key", "an empty cell", "required"),
        ("C,gpu,,,,,,,x", "key", "'C'", "pattern [a-z]+"),
        ("a,gpu,,,,,,,x", "key", "'a'", "primary key (key) is unique"),
        ("aa,gpu,,,,,,,x", "key", "'aa'", "sorted by primary key (key)"),
        ("c,npu,,,,,,,x", "kind", "'npu'", "enum ['gpu', 'tpu']"),
        ("c,gpu,0.5,,,,,,x", "watts", "'0.5'", "minimum 1"),
        ("c,gpu,7000,,,,,,x", "watts", "'7000'", "maximum 2000"),
        ("c,gpu,nan,,,,,,x", "watts", "'nan'", "finite"),
        ("c,gpu,700 W,,,,,,x", "watts", "'700 W'", "type number"),
        ("c,gpu,,1.5,,,,,x", "dies", "'1.5'", "type integer"),
        ("c,gpu,,1,,,,,x", "dies", "'1'", "unique"),
        ("c,gpu,,,22-3-2022,,,,x", "released", "'22-3-2022'", "type date"),
        ("c,gpu,,,1922-03-22,,,,x", "released", "'1922-03-22'", "minimum 2010-01-01"),
        ("c,gpu,,,,yes,,,x", "sold", "'yes'", "type boolean"),
        ("c,gpu,,,,,3,2,x", "low", "'3'", "low <= high"),
        ("c,gpu,50,,,,,,x", "kind", "'gpu'", "a chip that draws little is no GPU"),
        ("c,gpu,,,,,,,y", "source", "'y'", "one of sources.key"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, row: str, column: str, value: str, rule: str) -> None:
    bad = package(tmp_path, *GOOD, row)
    expected = f"chips.csv, row 4, column {column}: {value} breaks the rule {rule}"
    with pytest.raises(FactsError) as error:
        bad.table("chips")
    assert str(error.value) == expected
    assert expected in bad.violations("chips")
    with pytest.raises(FactsError, match=r"^chips.csv, row 4, "):
        bad.check()


def test_a_key_that_stands_twice_is_told_once(tmp_path: Path) -> None:
    assert len(package(tmp_path, *GOOD, "a,gpu,,,,,,,x").violations("chips")) == 1


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    with pytest.raises(FactsError, match=r"chips.csv: columns are \['key'\], not"):
        package(tmp_path, "a", header="key").table("chips")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("c,gpu,,,,,,,x,more", "row 4: 10 cells under 9 columns; put text with a comma between"),
        ("c,gpu", "row 4: 2 cells under 9 columns"),
        ('"c,gpu,,,,,,,x', "after row 4: not UTF-8 CSV"),
        ("c,gpu,,,,,,,x\rd,gpu,,,,,,,x", "after row 4: not UTF-8 CSV, new-line character"),
    ],
)
def test_a_row_that_is_no_row_is_named(tmp_path: Path, row: str, message: str) -> None:
    with pytest.raises(FactsError, match=message):
        package(tmp_path, *GOOD, row).table("chips")


@pytest.mark.parametrize("text", ["", "\n", '"key\n",kind\na,gpu\n'])
def test_a_file_without_its_header_is_named(tmp_path: Path, text: str) -> None:
    bad = package(tmp_path, *GOOD)
    (tmp_path / "chips.csv").write_text(text)
    with pytest.raises(FactsError, match=r"^chips.csv: columns are \["):
        bad.check()


def test_a_row_in_another_encoding_is_named(tmp_path: Path) -> None:
    bad = package(tmp_path, *GOOD)
    with (tmp_path / "chips.csv").open("ab") as file:
        file.write(b"c,gpu,,,,,,,x\n" * 2000 + b"\xfc,gpu,,,,,,,x\n" + b"d,gpu,,,,,,,x\n" * 2000)
    with pytest.raises(FactsError, match=r"^chips.csv, row 2004: not UTF-8 CSV, .* byte 0xfc"):
        bad.table("chips")


def test_a_table_without_a_file_is_named_once(tmp_path: Path) -> None:
    bad = package(tmp_path, *GOOD)
    (tmp_path / "sources.csv").unlink()
    said = "table sources: there is no .*sources.csv; restore the file, or take the table out of"
    with pytest.raises(FactsError, match=f"^{said} datapackage.json$"):
        bad.check()


def test_an_unknown_table_names_the_nearest_and_the_known_ones() -> None:
    near = r" \(did you mean transformers\?\)"
    with pytest.raises(FactsError, match=f"no table 'transformer'{near}; the tables are sources, "):
        facts.table("transformer")
    with pytest.raises(FactsError, match="no table 'zzz'; the tables are sources, "):
        facts.table("zzz")


def test_a_row_that_is_not_there_is_answered_with_those_that_hold_its_name() -> None:
    hint = "no accelerator 'H100' (did you mean H100 NVL or H100 PCIe or H100 SXM?); "
    with pytest.raises(FactsError, match=re.escape(hint)):
        facts.rows("accelerators", "name", "H100", "accelerator")


def test_a_row_of_hugging_face_without_a_repository_is_named(tmp_path: Path) -> None:
    shutil.copytree(facts.package().folder, tmp_path / "data")
    path = tmp_path / "data" / "transformers.csv"
    path.write_text(path.read_text().replace("deepseek-ai/DeepSeek-V3,", ",", 1))
    (line,) = facts.Package(tmp_path / "data").violations("transformers")
    assert line.endswith("breaks the rule a row that cites Hugging Face names its repository")


def test_our_tables_keep_their_own_rules() -> None:
    package = facts.package()
    assert [line for name in package.resources for line in package.violations(name)] == []


def test_frictionless_accepts_the_package() -> None:
    report = validate(str(facts.package().folder / "datapackage.json"))
    assert report.valid, report.flatten(["type", "rowNumber", "fieldName", "note"])[:5]


def test_every_source_is_cited_and_every_row_has_one() -> None:
    cited = set()
    for name, resource in facts.package().resources.items():
        columns = [field["name"] for field in resource["schema"]["fields"]]
        if name == "sources":
            continue
        assert "source" in columns, name
        frame = facts.table(name).collect()
        assert frame["source"].null_count() == 0, name
        cited |= {
            key
            for column in columns
            if column.endswith("source")
            for key in frame[column].drop_nulls()
        }
    known = set(facts.table("sources").collect()["key"])
    assert cited == known


def test_rows_are_sorted_by_their_key_in_plain_lines() -> None:
    for name, resource in facts.package().resources.items():
        data = (facts.package().folder / resource["path"]).read_bytes()
        assert b"\r" not in data, name
        key = resource["schema"]["primaryKey"]
        rows = [tuple(map(str, row)) for row in facts.table(name).collect().select(key).rows()]
        assert rows == sorted(rows), name


def test_a_file_in_data_is_a_table_of_the_package() -> None:
    folder = facts.package().folder
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*.csv")}
    assert files == {resource["path"] for resource in facts.package().resources.values()}


def test_a_parameter_has_its_range_and_source() -> None:
    parameter = facts.parameter("mu_NVDA")
    assert parameter.low is not None and parameter.high is not None
    assert parameter.low < parameter.central < parameter.high
    assert facts.cite(parameter.source)
    with pytest.raises(FactsError, match=r"no parameter 'mu_NVDIA' \(did you mean mu_NVDA\?\); "):
        facts.parameter("mu_NVDIA")
    with pytest.raises(FactsError, match=r"no parameter 'r_hs' \(did you mean r_HS\?\); "):
        facts.central("r_hs")
    with pytest.raises(FactsError, match="no parameter 'zzz'; "):
        facts.central("zzz")


def laid_over(folder: Path, *rows: str, columns: str = "", **others: str) -> Package:
    """The package of `GOOD` rows, and over it those of a study that has a source `mine`."""
    own = folder / "own"
    own.mkdir()
    header = ",".join(field["name"] for field in FIELDS)
    (own / "chips.csv").write_text("\n".join([header + columns, *rows]) + "\n")
    (own / "sources.csv").write_text("key\nmine\n")
    for name, text in others.items():
        (own / name.replace("_", ".")).write_text(text)
    ours = folder / "ours"
    ours.mkdir()
    return Package(package(ours, *GOOD).folder, own)


def test_a_study_adds_rows_and_replaces_those_it_names(tmp_path: Path) -> None:
    laid = laid_over(
        tmp_path, "ab,gpu,700,,,,,,mine,", "b,tpu,400,,,,,,mine,x", columns=",replaces"
    )
    assert laid.broken() == []
    chips = laid.table("chips").collect()
    assert chips["key"].to_list() == ["a", "ab", "b"]
    assert chips["watts"].to_list() == [700, 700, 400]
    assert chips.columns == [field["name"] for field in FIELDS], "how it came about is not a fact"
    assert chips["source"].to_list() == ["x", "mine", "mine"]


def test_a_result_depends_on_what_is_laid_over_a_table(tmp_path: Path) -> None:
    laid = laid_over(tmp_path, "ab,gpu,700,,,,,,mine")
    digest = laid.digest("chips")
    assert digest != Package(tmp_path / "ours").digest("chips")
    (tmp_path / "own" / "chips.csv").write_text(
        (tmp_path / "own" / "chips.csv").read_text().replace("700", "600")
    )
    assert laid.digest("chips") != digest


@pytest.mark.parametrize(
    ("row", "columns", "message"),
    [
        ("b,tpu,400,,,,,,mine", "", "row 2: b clashes: ours is from x, yours from mine; write x "),
        ("b,tpu,400,,,,,,mine,", ",replaces", "clashes: ours is from x, yours from mine; write x"),
        ("b,tpu,400,,,,,,mine,y", ",replaces", "ours is from x, not from y, yours from m"),
        ("b,tpu,400,,,,,,x,x", ",replaces", "replaces a row and cites its source, x; cite the one"),
        ("c,tpu,400,,,,,,mine,x", ",replaces", "row 2: c replaces a row from x, but ours has no "),
        ("c,tpu,0,,,,,,mine", "", "chips.csv, row 2, column watts: '0' breaks the rule minimum 1"),
        ("c,tpu,400,,,,,,other", "", "column source: 'other' breaks the rule one of sources.key"),
        ("c,tpu,400,,,,,,mine,1", ",extra", "columns are ['key', "),
        ("c,tpu,400", "", "row 2: 3 cells under 9 columns"),
    ],
)
def test_a_clash_of_a_study_is_told_with_both_sources(
    tmp_path: Path, row: str, columns: str, message: str
) -> None:
    laid = laid_over(tmp_path, row, columns=columns)
    (broken,) = laid.broken()
    assert broken.startswith(str(tmp_path / "own" / "chips.csv")) and message in broken
    with pytest.raises(FactsError, match=re.escape(broken)):
        laid.table("chips")


def test_a_study_may_bring_tables_of_its_own(tmp_path: Path) -> None:
    described = {"name": "mine", "path": "mine.csv", "schema": {"fields": FIELDS[:1]}}
    text = json.dumps({"resources": [described]})
    laid = laid_over(tmp_path, datapackage_json=text, mine_csv="key\na\n")
    assert laid.broken() == [] and laid.table("mine").collect()["key"].to_list() == ["a"]
    (tmp_path / "own" / "mien.csv").write_text("key\na\n")
    (tmp_path / "own" / ".kept").mkdir()
    (tmp_path / "own" / ".kept" / "chips.csv").write_text("an editor's")
    (stray,) = laid.broken()
    assert "mien.csv in " in stray and "is no table (did you mean mine.csv?)" in stray
    (tmp_path / "own" / "datapackage.json").write_text(text.replace('"mine"', '"chips"'))
    with pytest.raises(FactsError, match="table 'chips' is ours; give yours another name"):
        Package(tmp_path / "ours", tmp_path / "own").table("chips")


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "{}",
        '{"resources": [{"path": "mine.csv", "schema": {"fields": []}}]}',
        '{"resources": [{"name": "mine", "schema": {"fields": []}}]}',
        '{"resources": [{"name": "mine", "path": "mine.csv"}]}',
        '{"resources": [{"name": "mine", "path": "mine.csv", "schema": {"fields": [{"name": "a", '
        '"type": "any"}]}}]}',
        '{"resources": [{"name": "mine", "path": "mine.csv", "schema": {"fields": [], '
        '"primaryKey": "a"}}]}',
    ],
)
def test_a_description_that_cannot_be_read_is_named(tmp_path: Path, text: str) -> None:
    laid = laid_over(tmp_path, datapackage_json=text, mine_csv="a\n1\n")
    with pytest.raises(FactsError, match=r"own/datapackage.json, \w+Error: .*; a table has name, "):
        laid.check()


def test_tables_of_a_study_hold_where_its_folder_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "book").mkdir()
    (tmp_path / "data").mkdir()
    (tmp_path / "book" / "_toc.yml").write_text("root: index\n")
    (tmp_path / "_config.yml").write_text("title: Mine\n")
    assert facts.package().overlay is None
    monkeypatch.chdir(tmp_path / "book")
    assert facts.package().overlay == tmp_path / "data"
    monkeypatch.setenv("STACKBOOK_OVERLAY", str(tmp_path / "book"))
    assert facts.package().overlay == tmp_path / "book", "in a chapter: what travelled with it"


def test_a_maker_is_spelled_in_one_way() -> None:
    """The column is open, so that a study can add the chip of any."""
    makers = facts.table("accelerators").collect()["maker"].unique().to_list()
    assert len({re.sub(r"\W", "", maker).lower() for maker in makers}) == len(makers) == 19
