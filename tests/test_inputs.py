"""Uncertain inputs: the percentiles that the table states, and what they do to a result.

A reader's runs: what a file says reaches the fit, and what is wrong with it is said.
"""

from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import polars as pl
import pytest

from stackbook import StackbookError, facts, findings, home, inputs
from stackbook.kernels import chips
from stackbook.kernels.batching import Requests


@pytest.fixture
def stated(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, float]]:
    """The records of findings, by name."""
    records: dict[str, dict[str, float]] = {}
    monkeypatch.setattr(
        findings,
        "_glue",
        lambda name, _, record=None: records.update({name: record} if record else {}),
    )
    return records


def test_every_parameter_has_the_percentiles_of_its_row() -> None:
    for row in facts.table("parameters").collect().to_dicts():
        low, central, high = (
            row["central"] if row[end] is None else row[end] for end in ("low", "central", "high")
        )
        values = inputs.uncertain(row["symbol"])
        assert values[0] == central
        found = np.quantile(values[1:], [0.05, 0.5, 0.95], method="hazen")
        assert found == pytest.approx([low, central, high], rel=1e-3), row["symbol"]


def test_a_readers_value_moves_the_range_in_proportion() -> None:
    doubled = inputs.uncertain("W_N5", 2 * facts.parameter("W_N5").central)
    assert doubled == pytest.approx(2 * inputs.uncertain("W_N5"))


SHARES = facts.table("parameters").filter(pl.col("share")).select("symbol").collect()["symbol"]


@pytest.mark.parametrize("value", [0.0, 0.1, 0.75, 0.99, 1.0])
def test_every_draw_of_a_share_is_a_share(value: float) -> None:
    for symbol in SHARES:
        draws = inputs.uncertain(symbol, value)
        assert draws[0] == value
        assert draws.min() >= 0
        assert draws.max() <= 1
        assert np.median(draws[1:]) == pytest.approx(value, abs=1e-3), symbol


@pytest.mark.parametrize(
    ("symbol", "value", "message"),
    [
        ("rho_red", 1.2, "rho_red: 1.2 is out of range; give 0 to 1, as it is a share"),
        ("rho_red", np.nan, "rho_red: nan is out of range"),
        ("W_N5", -5.0, "W_N5: -5 is out of range; give 0 to any number above"),
    ],
)
def test_a_value_out_of_range_is_refused(symbol: str, value: float, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        inputs.uncertain(symbol, value)


def test_servers_over_chips_are_those_of_a_rack_and_reach_the_published_overhead() -> None:
    found = inputs.server_over_chip()
    superchip = facts.central("K_acc_GB200") * facts.central("s_GPU")
    assert found[0] * superchip * 72 == pytest.approx(facts.central("C_rack_IT"))
    low, high = np.quantile(found[1:], [0.05, 0.95], method="hazen")
    assert low < found[0] < high
    assert high == pytest.approx(facts.central("k_srv"), rel=1e-3)


def test_a_name_has_the_same_draws_everywhere_and_two_are_independent() -> None:
    assert (inputs.uncertain("W_N5") == inputs.uncertain("W_N5")).all()
    first, second = inputs.spread("a", 1, 2, 3)[1:], inputs.spread("b", 1, 2, 3)[1:]
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.05


@pytest.mark.parametrize("width", [0.3, 0.1, 0.01, 0.0])
def test_invariant_22_medians_meet_the_central_run_as_ranges_shrink(width: float) -> None:
    cost, margin = (
        inputs.spread(name, value * (1 - width), value, value * (1 + width))
        for name, value in (("cost", 5000.0), ("margin", 0.6))
    )
    prices = chips.price(cost, np.minimum(margin, 0.95))
    assert prices[0] == chips.price(5000.0, 0.6)
    sampling = 0.1 * width
    assert abs(np.median(prices[1:]) / prices[0] - 1) <= sampling + 1e-12


def test_draws_give_a_finding_its_range(stated: dict[str, dict[str, float]]) -> None:
    findings.finding("wafer", inputs.uncertain("W_N5"), "USD")
    row = facts.parameter("W_N5")
    assert stated["wafer"]["value"] == row.central
    assert stated["wafer"]["low"] == pytest.approx(row.low, rel=1e-5)
    assert stated["wafer"]["high"] == pytest.approx(row.high, rel=1e-5)


def test_a_range_is_widened_to_hold_the_central_value(stated: dict[str, dict[str, float]]) -> None:
    findings.finding("odd", np.array([5.0, *np.linspace(1, 2, 100)]), "1")
    assert stated["odd"]["high"] == 5.0


@pytest.mark.parametrize(
    ("value", "how", "message"),
    [
        (1.0, {}, "give a range, or say in `why` that it has none"),
        (1.0, {"low": 0.5, "high": 2.0, "why": "counted"}, "give a range, or say in `why`"),
        (1.0, {"low": 0.5}, "give low and high, or neither"),
        (3.0, {"low": 0.5, "high": 2.0}, "3 lies outside its range 0.5 to 2"),
        (np.array([1.0, 2.0]), {"low": 0.5, "high": 2.0}, "draws have their own range"),
        (np.inf, {"why": "counted"}, "value is inf; state it in words instead"),
        (np.array([1.0, np.nan]), {}, "outside its range|is nan"),
        (np.ones((1, 1)), {}, r"finding one: give a central value and draws, not shape \(1, 1\)"),
        (np.array([]), {}, r"finding one: give a central value and draws, not shape \(0,\)"),
        (np.array([1.0]), {}, r"finding one: give a central value and draws, not shape \(1,\)"),
        (1.0, {"why": " "}, "give a range, or say in `why`"),
    ],
)
def test_a_finding_without_a_range_or_a_reason_is_refused(
    value: float, how: dict[str, float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        findings.finding("one", value, "1", **how)  # type: ignore[arg-type]


COLUMNS = {"params": "size", "tokens": "seen", "loss": "loss"}
HEAD = "study,size,seen,compute,loss,kept\n"
HAS = "its columns are study, size, seen, compute, loss, kept"
ROWS = [
    f"{'mine' if i % 2 else 'other'},{1 + i % 3}e8,{1 + i}e9,{6 + i}e18,{4 - i / 10},{i < 15}"
    for i in range(20)
]


def read(tmp_path: Path, lines: list[str], head: str = HEAD, **how: Any) -> pl.DataFrame:
    path = tmp_path / "my.csv"
    path.write_text(head + "\n".join(lines))
    return inputs.runs(str(path), **(COLUMNS | how))


def changed(**cells: str) -> list[str]:
    """The rows with other text in cells named by column and row of the file, as `loss_17`."""
    rows = [line.split(",") for line in ROWS]
    for cell, text in cells.items():
        column, row = cell.split("_")
        rows[int(row) - 2][HEAD.strip().split(",").index(column)] = text
    return [",".join(row) for row in rows]


def test_runs_are_read_by_the_names_of_their_columns(tmp_path: Path) -> None:
    found = read(tmp_path, ROWS)
    assert found.columns == ["params", "tokens", "flop", "loss", "row"]
    assert found.row(4) == (2e8, 5e9, 6 * 2e8 * 5e9, 3.6, 6)
    assert found.equals(read(tmp_path, [*ROWS, "", ""])), "a blank line is no run"
    assert found.equals(read(tmp_path, [line.replace(",", ", ") for line in ROWS]))


def test_tokens_follow_from_flop(tmp_path: Path) -> None:
    found = read(tmp_path, ROWS, tokens=None, flop="compute")
    assert found["flop"].to_list() == [(6 + i) * 1e18 for i in range(20)]
    assert (6 * found["params"] * found["tokens"]).to_list() == pytest.approx(found["flop"])
    for both_or_none in ({"flop": "compute"}, {"tokens": None}):
        with pytest.raises(ValueError, match="the column of tokens or that of flop, not both"):
            read(tmp_path, ROWS, **both_or_none)


@pytest.mark.parametrize(
    ("where", "height"),
    [("study = 'mine'", 10), ("kept and study = 'mine'", 7), ("seen > 5e9 and loss < 3", 9)],
)
def test_a_condition_says_which_rows_count(tmp_path: Path, where: str, height: int) -> None:
    assert read(tmp_path, ROWS, where=where).height == height


def test_a_bad_value_that_is_left_out_by_a_condition_is_none(tmp_path: Path) -> None:
    dirty = changed(loss_5="", loss_11="nan", loss_17="-2.5", loss_21="diverged", loss_2="-inf")
    found = read(tmp_path, dirty, where="loss > 0")
    assert {*range(2, 22)} - {*found["row"]} == {2, 5, 11, 17, 21}
    with pytest.raises(StackbookError, match=r"rows 17 and 21: loss is -2\.5, diverged"):
        read(tmp_path, dirty, where="loss > 0 or not kept")
    assert (
        read(tmp_path, changed(loss_17="", seen_3="0"), where="loss > 0 and seen > 0").height == 18
    )


@pytest.mark.parametrize(
    ("lines", "how", "message"),
    [
        (ROWS, {"loss": "los"}, f"{{}} has no column 'los' (did you mean loss?); {HAS}"),
        (
            ROWS,
            {"tokens": "D"},
            f"{{}} has no column 'D'; {HAS}",
        ),
        (
            changed(loss_17="", loss_20="0"),
            {},
            "{}, rows 17 and 20: loss is empty, 0; mend them, or leave them out with `where`",
        ),
        (
            changed(size_9="n/a", loss_4="nan", loss_5="-inf"),
            {},
            "{}, row 9: size is n/a; rows 4 and 5: loss is nan, -inf; mend them, or leave them "
            "out with `where`",
        ),
        (
            changed(**{f"seen_{row}": "-1" for row in range(3, 10)}),
            {},
            "{}, rows 3, 4, 5, 6, 7 and 2 more: seen is -1, -1, -1, -1, -1; mend them, or leave "
            "them out with `where`",
        ),
        (ROWS[:6], {}, "{}: 6 runs, too few for five constants; give 7 or more"),
        (
            ROWS,
            {"where": "study = 'min'"},
            "{}: 0 runs where study = 'min', too few for five constants; give 7 or more",
        ),
        (
            ROWS,
            {"where": "size = 1e8"},
            "{}: 7 runs where size = 1e8, all with params 1e+08: what more would do is not in "
            "them; add runs with other params",
        ),
        (
            changed(**{f"seen_{row}": "3e9" for row in range(2, 22)}),
            {},
            "{}: 20 runs, all with tokens 3e+09: what more would do is not in them; add runs with "
            "other tokens",
        ),
        (
            ROWS,
            {"where": "los < 3"},
            f"where 'los < 3': {{}} has no column 'los' (did you mean loss?); {HAS}",
        ),
        (
            ROWS,
            {"where": "loss <"},
            "where 'loss <': unable to parse 'loss <' as Expr; write a condition as in "
            "\"study = 'mine' and loss < 3\"",
        ),
        (
            ROWS,
            {"where": "loss"},
            "where 'loss' is no condition; write one as in \"study = 'mine' and loss < 3\"",
        ),
        (
            [f"{ROWS[0]},1"],
            {},
            "{} is no UTF-8 CSV with a line of names: a row has more cells than names",
        ),
    ],
)
def test_what_is_wrong_with_runs_is_said_in_a_line(
    tmp_path: Path, lines: list[str], how: dict[str, str], message: str
) -> None:
    with pytest.raises(StackbookError) as error:
        read(tmp_path, lines, **how)
    assert str(error.value) == message.format(tmp_path / "my.csv")


@pytest.mark.parametrize(("mark", "name"), [(";", "semicolons"), ("\t", "tabs")])
def test_a_file_that_commas_do_not_separate_is_told_so(
    tmp_path: Path, mark: str, name: str
) -> None:
    lines = [line.replace(",", mark) for line in (HEAD, *ROWS)]
    with pytest.raises(StackbookError, match=rf"my.csv looks separated by {name}; write it with"):
        read(tmp_path, lines[1:], head=lines[0])


def test_an_empty_file_and_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StackbookError, match="is no UTF-8 CSV with a line of names: empty CSV"):
        read(tmp_path, [], head="")
    with pytest.raises(StackbookError, match=r"no file '.*/mine.csv' \(did you mean my.csv\?\)"):
        inputs.runs(str(tmp_path / "mine.csv"), **COLUMNS)


def test_the_books_own_runs_are_found_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    how = {"params": "params", "tokens": "tokens", "loss": "loss"}
    shipped = inputs.runs("data/scaling_runs.csv", **how)
    assert shipped.equals(inputs.runs(str(home() / "data" / "scaling_runs.csv"), **how))


ARRIVALS = [f"{5 + i / 2},{100 + i},{1 + i % 7}" for i in range(30)]


def requested(tmp_path: Path, lines: list[str], head: str) -> Requests:
    path = tmp_path / "my.csv"
    path.write_text("\n".join([head, *lines]))
    return inputs.requests(str(path))


@pytest.mark.parametrize(
    "head",
    [
        "arrival_s,input_tokens,output_tokens",
        "TIMESTAMP,ContextTokens,GeneratedTokens",
        "Timestamp,Request tokens,Response tokens",
        "arrived_at,num_prefill_tokens,num_decode_tokens",
        " time , prompt_tokens,completion_tokens",
    ],
)
def test_requests_are_read_under_the_names_of_known_traces(tmp_path: Path, head: str) -> None:
    found = requested(tmp_path, [*reversed(ARRIVALS), ""], head)
    assert found.arrival == pytest.approx(np.arange(30) / 2)
    assert found.input.tolist() == list(range(100, 130))
    assert found.output.tolist() == [1 + i % 7 for i in range(30)]
    assert (found.shares_with == -1).all() and not found.shared.any()


def test_dates_with_times_are_seconds(tmp_path: Path) -> None:
    forms = ["2023-11-16 18:59:59.5", "2023-11-16T19:00:00.2500000Z", "2023-11-16 19:00:01+00:00"]
    lines = [f"{forms[i // 10]},9,9" for i in range(30)]
    found = requested(tmp_path, lines, "TIMESTAMP,ContextTokens,GeneratedTokens")
    assert found.arrival[::10] == pytest.approx([0, 0.75, 1.5])


@pytest.mark.parametrize(
    ("lines", "head", "message"),
    [
        (
            ARRIVALS,
            "when,input_tokens,output_tokens",
            "{} has no column 'arrival_s'; its columns are when, input_tokens, output_tokens",
        ),
        (
            ARRIVALS[:9],
            "arrival_s,input_tokens,output_tokens",
            "{}: 9 requests; give 20 or more",
        ),
        (
            [*ARRIVALS, "30,x,3", "31,0,3"],
            "arrival_s,prompt_tokens,output_tokens",
            "{}, rows 32 and 33: prompt_tokens is x, 0; give tokens, 1 or more, or leave them out",
        ),
        (
            [f"17000000000{line}" for line in ARRIVALS],
            "arrival_s,input_tokens,output_tokens",
            "{}, rows 2, 3, 4, 5, 6 and 25 more: arrival_s is 170000000005.0, 170000000005.5, "
            "170000000006.0, 170000000006.5, 170000000007.0; give seconds, or a date and time as "
            "2026-05-01 12:00:03.5, or leave them out",
        ),
        (
            ["7,100,10"] * 30,
            "arrival_s,input_tokens,output_tokens",
            "{}: all requests arrive at 7; give the times of each",
        ),
    ],
)
def test_what_is_wrong_with_requests_is_said_in_a_line(
    tmp_path: Path, lines: list[str], head: str, message: str
) -> None:
    with pytest.raises(StackbookError) as error:
        requested(tmp_path, lines, head)
    assert str(error.value) == message.format(tmp_path / "my.csv")


def test_the_quoted_price_is_that_of_an_index_of_sellers() -> None:
    quote = inputs.quoted_price("H100 SXM")
    rows = facts.table("rental_prices").filter(
        accelerator="H100 SXM", provider_kind="index", price_kind="list", commitment="on-demand"
    )
    last = rows.collect().sort("month").row(-1, named=True)
    assert quote.usd_per_hour == last["usd_per_hour"]
    assert quote.sources == [last["source"]]
    assert quote.of.endswith(last["month"][:4])
    with pytest.raises(StackbookError, match="no quote of H800: set usd_per_hour"):
        inputs.quoted_price("H800")


@pytest.mark.parametrize("accelerator", ["A100 SXM 80GB", "B200", "GB200", "H200 SXM", "L40S"])
def test_a_quoted_price_is_of_sellers_lists_alone(accelerator: str) -> None:
    rows = facts.table("rental_prices").filter(
        accelerator=accelerator,
        provider_kind="neocloud",
        price_kind="list",
        commitment="on-demand",
    )
    listed = rows.collect().to_dicts()

    def months(row: dict[str, Any]) -> int:
        year, month = row["month"].split("-")
        return 12 * int(year) + int(month)

    recent = [row for row in listed if months(row) > max(map(months, listed)) - 3]
    of_each = [
        median(
            row["usd_per_hour"]
            for row in recent
            if row["provider"] == name
            and months(row) == max(months(each) for each in recent if each["provider"] == name)
        )
        for name in {row["provider"] for row in recent}
    ]
    assert inputs.quoted_price(accelerator).usd_per_hour == pytest.approx(median(of_each))


def test_without_lists_the_quoted_price_is_of_contracts_then_marketplaces(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = facts.table("rental_prices").filter(accelerator="GB200").collect()

    def quote(*kinds: str) -> inputs.Quote:
        kept = rows.filter(pl.col("price_kind").is_in(kinds))
        monkeypatch.setattr(facts, "table", lambda _: kept.lazy())
        return inputs.quoted_price("GB200")

    of = {kind: rows.filter(price_kind=kind)["usd_per_hour"] for kind in ("contract", "market")}
    contract = quote("contract", "market")
    assert contract.usd_per_hour in of["contract"]
    assert ", contract, " in contract.of
    assert quote("market").usd_per_hour in of["market"]
