"""Inputs: uncertain numbers, and a reader's own data, as kernels take them.

An uncertain number is an array: first the central value, then draws of it. A formula maps it
element by element, so that one call gives a result and its distribution, and `finding` states both.
Where draws are made together, as for an analysis of sensitivity, they come by name instead.
"""

from calendar import month_name
from collections.abc import Collection, Iterable, Mapping
from datetime import date
from functools import cache
from math import inf
from statistics import NormalDist
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np
import polars as pl
from numpy.typing import NDArray

from stackbook import StackbookError, facts, located, nearest
from stackbook.kernels import serving, uncertainty
from stackbook.kernels.batching import Requests
from stackbook.kernels.scaling import Hoffmann
from stackbook.kernels.serving import Layout
from stackbook.kernels.training import Cluster, Efficiency
from stackbook.kernels.transformer import Transformer, transformer

DRAWS = 4000
Draws = int | Mapping[str, NDArray[np.float64]]  # how many, or draws by name; others are central
LEAST_RUNS = 7  # for the five constants of a law
_ROW = "row of the file"
_SHOWN = 5  # rows that an error names
_NAMED = 3  # sellers that a quote names
_SEPARATORS = {";": "semicolons", "\t": "tabs"}
_EXAMPLE = "study = 'mine' and loss < 3"
LEAST_REQUESTS = 20
REQUESTS = {  # columns, and how traces and logs spell them: Azure, BurstGPT, Vidur, APIs
    "arrival_s": ("arrival", "arrived at", "arrival time", "timestamp", "time"),
    "input_tokens": (
        *("prompt tokens", "context tokens", "request tokens", "num prefill tokens"),
        *("input length", "input"),
    ),
    "output_tokens": (
        *("completion tokens", "generated tokens", "response tokens", "num decode tokens"),
        *("output length", "output"),
    ),
}
_DAY = "2026-05-01 12:00:03.5"


def uncertain(symbol: str, value: float | None = None, draws: Draws = DRAWS) -> NDArray[np.float64]:
    """The model input `symbol` of table `parameters` with `draws` of it.

    A reader's own `value` moves the row's range in proportion; a share's odds, so that every
    draw stays a share. Raises ValueError for a negative value, or a share above 1.
    """
    return drawn(facts.parameter(symbol), symbol, value, draws)


def drawn(
    row: facts.Uncertain, name: str, value: float | None = None, draws: Draws = DRAWS
) -> NDArray[np.float64]:
    """As `uncertain`, of a row of any table; the same `name` gives the same draws everywhere."""
    value = row.central if value is None else value
    if not 0 <= value <= (1 if row.share else inf):
        most = "1, as it is a share" if row.share else "any number above"
        raise ValueError(f"{row.symbol}: {value:g} is out of range; give 0 to {most}")
    if isinstance(draws, Mapping):
        return draws.get(name, np.full(1, value))
    return at_scores(row, scores(name, draws), value)


def at_scores(
    row: facts.Uncertain, scores: NDArray[np.float64], value: float | None = None
) -> NDArray[np.float64]:
    """The values of a row at standard scores: lognormal on each side, of a share its odds are."""
    low, high = (row.central if end is None else end for end in (row.low, row.high))
    value = row.central if value is None else value
    if not row.share:
        spread = uncertainty.two_piece_lognormal(low, row.central, high, scores)
        return np.asarray(value / row.central * spread)
    odds = _odds(value) if value < 1 else inf
    ends = _odds(low), _odds(row.central), _odds(high)
    share = 1 - 1 / (1 + odds / ends[1] * uncertainty.two_piece_lognormal(*ends, scores))
    return np.asarray(np.where(scores == 0, value, share))


def scores(name: str, draws: int = DRAWS) -> NDArray[np.float64]:
    """Standard scores, 0 first; those of the same `name` are the same, of two independent."""
    order = np.random.default_rng(crc32(name.encode())).permutation(_scores(draws))
    return np.concatenate(([0.0], order))


def spread(
    name: str, low: float, central: float, high: float, draws: int = DRAWS
) -> NDArray[np.float64]:
    """`central` with `draws` whose 5th, 50th and 95th percentiles are `low`, `central`, `high`.

    All positive. The same `name` gives the same draws everywhere, two names independent ones.
    """
    found = uncertainty.two_piece_lognormal(low, central, high, scores(name, draws))
    return np.asarray(found)


def server_over_chip(draws: int = DRAWS) -> NDArray[np.float64]:
    """Price of an accelerator with its part of server and network over its own, with `draws`.

    As in a rack of GB200; the range is that with the price of a B200, and of servers with H100.
    """
    chip = facts.rows("accelerators", "name", "B200", "accelerator")["price_usd"].item()
    server = facts.central("C_rack_IT") / 72
    superchip = facts.central("K_acc_GB200") * facts.central("s_GPU")
    ratios = server / superchip, server / chip, facts.central("k_srv")
    return spread("server over chip", min(ratios), ratios[0], max(ratios), draws)


def architecture(name: str) -> Transformer:
    """The model `name` of table `transformers`; StackbookError where there is none."""
    row = facts.rows("transformers", "name", name, "model").row(0, named=True)
    return transformer(**{field: row[field] for field in Transformer._fields})


PEAKS = {  # column of table `accelerators`, and bytes of a number
    "BF16": ("bf16_flops", 2.0),
    "FP8": ("fp8_flops", 1.0),
    "MXFP8": ("fp8_flops", 1.0),
    "NVFP4": ("fp4_flops", 0.5),
}


def cluster(name: str, precision: str = "BF16") -> Cluster:
    """The accelerator `name` of table `accelerators` and its networks, in a precision."""
    if precision not in PEAKS:
        raise StackbookError(f"precision {precision!r}: give {', '.join(PEAKS)}")
    row = facts.rows("accelerators", "name", name, "accelerator").row(0, named=True)
    column, number_bytes = PEAKS[precision]
    needed = (column, "bf16_flops", "memory_bytes", "memory_bytes_per_s", "tdp_w")
    missing = [each for each in needed if not row[each]]
    if missing:
        raise StackbookError(
            f"{name} has no {missing[0]} in table accelerators; take another precision or chip"
        )
    host = row["host_bytes_per_s"] or 0.0
    out = row["scaleout_bytes_per_s"] or host or row["scaleup_bytes_per_s"]
    up = row["scaleup_bytes_per_s"] or out
    if not out:
        raise StackbookError(f"{name} has no network in table accelerators; take another")
    return Cluster(
        flops=row[column],
        flops_16=row["bf16_flops"],
        number_bytes=number_bytes,
        memory_bytes=row["memory_bytes"],
        memory_bytes_per_s=row["memory_bytes_per_s"],
        domain=float(row["scaleup_domain"] or 1),
        up_bytes_per_s=up,
        out_bytes_per_s=out,
        host_bytes_per_s=host,
        base_latency=facts.central("alpha_LL"),
        rank_latency=facts.central("alpha_r"),
        doubling_latency=facts.central("alpha_n"),
        busy_watt=row["tdp_w"] * facts.central("u_busy"),
        idle_watt=row["tdp_w"] * facts.central("u_wait"),
    )


WEIGHT_BYTES = {"BF16": 2.0, "FP8": 1.0, "MXFP4": 0.53125, "NVFP4": 0.5625}  # scales included
COMPUTED_IN = {  # the first that an accelerator has a peak for
    "BF16": ("BF16",),
    "FP8": ("FP8", "BF16"),
    "MXFP4": ("FP8", "BF16"),
    "NVFP4": ("NVFP4", "BF16"),
}


def served(
    model: Transformer, accelerator: str, precision: str, cache_bytes: float
) -> tuple[Layout, Cluster]:
    """A model with weights in a precision on an accelerator, as kernels of serving take them.

    Checkpoints in 4 bits keep 16 in whatever is no expert, if there are experts. Weights of
    a precision without arithmetic of its own on the chip are widened as they are read. Hopper
    multiplies MXFP4 in 16 bits, Blackwell in 8.
    """
    row = facts.rows("accelerators", "name", accelerator, "accelerator").row(0, named=True)
    own = [each for each in COMPUTED_IN.get(precision, ()) if row[PEAKS[each][0]]]
    if precision == "MXFP4" and not row["fp4_flops"]:
        own = ["BF16"]
    if not own:
        known = ", ".join(WEIGHT_BYTES)
        raise StackbookError(f"precision {precision!r} on {accelerator}: give one of {known}")
    routed = WEIGHT_BYTES[precision]
    other = 2.0 if model.experts and routed < 1 else routed
    return serving.layout(model, routed, other, cache_bytes), cluster(accelerator, own[0])


def serving_efficiency(family: str, precision: str, engine: str) -> serving.Efficiency:
    """What engines reach, of table `serving_efficiency`: the row that fits most closely.

    A family, precision or engine without measured points of its own has the value for all.
    """
    table = facts.table("serving_efficiency").collect().to_dicts()
    asked = {"family": family, "precision": precision, "engine": engine}
    found = []
    for symbol in serving.Efficiency._fields:
        rows = [
            row
            for row in table
            if row["symbol"] == symbol
            and all(row[column] in (value, None) for column, value in asked.items())
        ]
        closest = max(rows, key=lambda row: sum(row[column] is not None for column in asked))
        found.append(closest["value"])
    return serving.Efficiency(*found)


def serving_errors(
    quantity: str, kind: str, model_seen: bool = True, accelerator_seen: bool = True
) -> dict[str, Any]:
    """Errors of an expected tpot, ttft or rate where points were left out: of `serving_accuracy`.

    Columns low and high are measured over expected, a 90% interval. The kind is that of a
    Measurement of `validation.serving`; a model or accelerator without points of its own is
    foreseen worse.
    """
    method = "leave a tenth out"
    if not accelerator_seen:
        method = "leave one accelerator out"
    if not model_seen:
        method = "leave one model out"
    table = facts.table("serving_accuracy").filter(method=method, quantity=quantity).collect()
    own = table.filter(group=kind)
    return (own if own.height else table.filter(group="all")).row(0, named=True)


def efficiency(family: str, precision: str = "BF16") -> Efficiency:
    """What runs reach on a family of accelerators in a precision, of table `training_efficiency`.

    A family or precision without runs of its own has the mean of those with.
    """
    table = facts.table("training_efficiency").collect().to_dicts()
    found = []
    for symbol in Efficiency._fields:
        rows = [row for row in table if row["symbol"] == symbol]
        for column, value in (("family", family), ("precision", precision)):
            rows = [row for row in rows if row[column] in (value, None)] or rows
        found.append(sum(row["value"] for row in rows) / len(rows))
    return Efficiency(*found)


def run_kind(experts: bool, family: str, precision: str) -> str:
    """What decides how well a run's throughput can be foreseen: a group of `training_accuracy`."""
    if experts:
        return "mixture of experts"
    return "dense, 16 bits, A100 or H100" if usual(family, precision) else "dense"


def usual(family: str, precision: str) -> bool:
    """Whether it is what most published runs had: 16 bits on the families of A100 and H100."""
    return precision == "BF16" and family in ("Ampere", "Hopper")


def throughput_errors(
    experts: bool, family: str, precision: str, seen: bool = False
) -> dict[str, Any]:
    """Errors of expected throughput where runs were left out: a row of `training_accuracy`.

    Columns low and high are measured over expected: 5th and 95th percentile. Runs of the same model
    were in the fit if `seen`; without any of the family and precision, all of a system were not.
    """
    fitted = facts.table("training_efficiency").collect()
    own = fitted.filter(family=family, precision=precision).height > 0
    method = "leave a tenth out" if seen else "leave one model out"
    rows = facts.table("training_accuracy").filter(
        group=run_kind(experts, family, precision),
        method=method if own else "leave one system out",
    )
    return rows.collect().row(0, named=True)


def constants(law: str, study: str, setting: str) -> dict[str, float]:
    """Published constants of a law of table `scaling_laws`, by symbol."""
    rows = facts.table("scaling_laws").filter(law=law, study=study, setting=setting)
    return dict(rows.select("symbol", "value").collect().iter_rows())


def hoffmann(study: str, setting: str) -> Hoffmann:
    """The law of hoffmann_loss as published."""
    found = constants("hoffmann", study, setting)
    return Hoffmann(*(found[symbol] for symbol in ("A", "B", "E", "alpha", "beta")))


def runs(
    path: str,
    *,
    params: str,
    loss: str,
    tokens: str | None = None,
    flop: str | None = None,
    where: str = "",
) -> pl.DataFrame:
    """Training runs of the CSV file `path`: params, tokens, flop, loss, and row in the file.

    Parameters: names of the file's columns, of `tokens` and `flop` one, as the other follows from
    flop = 6 params tokens; `where`, an SQL condition on any column, says which rows count. To it
    a cell of these columns that is no finite number is null, so that `loss > 0` leaves it out.
    StackbookError names each bad value in those rows: none is left out unasked.
    """
    if (tokens is None) == (flop is None):
        raise ValueError("give the column of tokens or that of flop, not both")
    given = {"params": params, "loss": loss, "tokens": tokens, "flop": flop}
    columns = {name: column for name, column in given.items() if column is not None}
    table = _csv(path)
    _known(path, columns.values(), table)
    if where:
        table = table.filter(_condition(path, where, table, set(columns.values())))
    kept = f"{path}: {table.height} runs" + (f" where {where}" if where else "")
    if table.height < LEAST_RUNS:
        raise StackbookError(f"{kept}, too few for five constants; give {LEAST_RUNS} or more")
    numbers = table.select(_number(table[column]).alias(name) for name, column in columns.items())
    positive = pl.all().is_between(0, inf, closed="none").fill_null(False)
    good = numbers.select(positive)
    bad = [_bad(table.filter(~good[name]), column) for name, column in columns.items()]
    if any(bad):
        told = "; ".join(filter(None, bad))
        raise StackbookError(f"{path}, {told}; mend them, or leave them out with `where`")
    work = 6 * pl.col("params")
    if tokens:
        numbers = numbers.with_columns(flop=work * pl.col("tokens"))
    else:
        numbers = numbers.with_columns(tokens=pl.col("flop") / work)
    for name in ("params", "tokens"):
        if numbers[name].n_unique() == 1:
            raise StackbookError(
                f"{kept}, all with {name} {numbers[name][0]:g}: what more would do is not in them; "
                f"add runs with other {name}"
            )
    return numbers.select("params", "tokens", "flop", "loss", row=table[_ROW])


def requests(path: str) -> Requests:
    """Requests of the CSV file `path`, in order of arrival, the first at 0; none shares a prefix.

    Columns arrival_s (seconds, or dates with times), input_tokens and output_tokens, or as
    `REQUESTS` spells them. StackbookError names each bad value: none is left out unasked.
    """
    table = _csv(path).rename(str.strip)
    plain = {_plain(name): name for name in table.columns if name != _ROW}
    spelled = {
        name: next((plain[key] for key in map(_plain, (name, *others)) if key in plain), name)
        for name, others in REQUESTS.items()
    }
    _known(path, spelled.values(), table)
    if table.height < LEAST_REQUESTS:
        raise StackbookError(f"{path}: {table.height} requests; give {LEAST_REQUESTS} or more")
    bounds = {
        "arrival_s": (0, 1e11, f"seconds, or a date and time as {_DAY}"),  # beyond are milliseconds
        "input_tokens": (1, 1e9, "tokens, 1 or more"),
        "output_tokens": (1, 1e9, "tokens, 1 or more"),
    }
    found = {}
    for name, (low, high, remedy) in bounds.items():
        column = table[spelled[name]]
        found[name] = _number(column)
        if name == "arrival_s" and found[name].null_count() == column.len():
            found[name] = _seconds(column)
        good = found[name].is_between(low, high).fill_null(False)
        if bad := _bad(table.filter(~good), column.name):
            raise StackbookError(f"{path}, {bad}; give {remedy}, or leave them out")
    rows = pl.DataFrame(found).sort("arrival_s", maintain_order=True)
    arrival = rows["arrival_s"].to_numpy() - rows["arrival_s"][0]
    if not arrival[-1]:
        raise StackbookError(
            f"{path}: all requests arrive at {table[spelled['arrival_s']][0]}; "
            "give the times of each"
        )
    given, output = (
        np.maximum(rows[name].to_numpy().round(), 1).astype(np.int64)
        for name in ("input_tokens", "output_tokens")
    )
    none, zero = np.full(rows.height, -1), np.zeros(rows.height, np.int64)
    return Requests(arrival, given, output, none, zero)


class Quote(NamedTuple):
    """What an hour of an accelerator is offered for."""

    usd_per_hour: float
    of: str
    """Who asks it, and in which month."""
    sources: list[str]


def quoted_price(accelerator: str) -> Quote:
    """The median over sellers in table `rental_prices`; StackbookError where none is.

    Of each its last quote, if in the last three months that have any. Of what neoclouds list on
    demand, or, if there is an index of them, of that alone; where they list nothing, of contracts
    with them; else of clouds on demand, marketplaces last.
    """
    quotes = facts.table("rental_prices").filter(accelerator=accelerator).collect()
    index, on_demand = pl.col("provider_kind") == "index", pl.col("commitment") == "on-demand"
    neocloud = (pl.col("provider_kind") == "neocloud") | index
    neocloud &= ~pl.col("provider").str.contains("hyperscaler")
    listed, contract = (pl.col("price_kind") == kind for kind in ("list", "contract"))
    kinds = (
        neocloud & listed & (on_demand | index),
        neocloud & contract,
        listed & on_demand,
        on_demand,
    )
    found = (quotes.filter(kind) for kind in kinds)
    asked = next((rows for rows in found if rows.height), None)
    if asked is None:
        raise StackbookError(f"the book has no quote of {accelerator}: set usd_per_hour")
    asked = _recent(asked.with_columns((pl.col("month") + "-01").str.to_date()))
    asked = asked.filter(index) if asked.filter(index).height else asked  # has them counted
    sellers = asking(asked).sort("provider")
    last: date = asked.select(pl.max("month")).item()
    of = " and ".join(sellers["provider"])
    of = f"{sellers.height} sellers" if sellers.height > _NAMED else of
    of += ", contract" if (asked["price_kind"] == "contract").all() else ""
    price = float(np.median(sellers["usd_per_hour"]))
    keys = sellers["source"].explode().unique().sort().to_list()
    return Quote(price, f"{of}, {month_name[last.month]} {last.year}", keys)


def asking(quotes: pl.DataFrame) -> pl.DataFrame:
    """Each seller's last price, if in the last three months that have any; month is a date."""
    last = pl.col("month") == pl.col("month").max().over("provider")
    by_seller = _recent(quotes).filter(last).group_by("provider", maintain_order=True)
    return by_seller.agg(pl.median("usd_per_hour"), pl.col("source").unique().sort())


def _recent(quotes: pl.DataFrame) -> pl.DataFrame:
    return quotes.filter(pl.col("month") > pl.col("month").max().dt.offset_by("-3mo"))


def cells(path: str) -> pl.DataFrame:
    """A reader's CSV file as text; StackbookError says why it is none."""
    try:
        return pl.read_csv(located(path).read_bytes(), infer_schema=False)
    except pl.exceptions.PolarsError as error:
        reason = str(error).split("\n")[0]
        reason = "a row has more cells than names" if "more fields" in reason else reason
        raise StackbookError(f"{path} is no UTF-8 CSV with a line of names: {reason}") from None


def _csv(path: str) -> pl.DataFrame:
    """The file's cells as text, each row with its number; a blank line is no row."""
    table = cells(path).with_row_index(_ROW, offset=2)
    return table.filter(~pl.all_horizontal(pl.exclude(_ROW).is_null()))


def _known(path: str, columns: Iterable[str], table: pl.DataFrame) -> None:
    names = [name for name in table.columns if name != _ROW]
    for column in columns:
        if column not in names:
            near = nearest(column, names)
            apart = [each for mark, each in _SEPARATORS.items() if mark in names[0]]
            if len(names) == 1 and apart:
                raise StackbookError(f"{path} looks separated by {apart[0]}; write it with commas")
            raise StackbookError(
                f"{path} has no column {column!r}{near}; its columns are {', '.join(names)}"
            )


def _condition(path: str, where: str, table: pl.DataFrame, numbers: Collection[str]) -> pl.Series:
    """Whether each row meets `where`, in which columns of numbers, true and false are such.

    Those named in `numbers` are so in any case, whatever a cell says.
    """
    said = f"where {where!r}"
    try:
        condition = pl.sql_expr(where)
        _known(f"{said}: {path}", condition.meta.root_names(), table)
        typed = [_typed(column, column.name in numbers) for column in table]
        meets = pl.DataFrame(typed).select(condition).to_series()
    except pl.exceptions.PolarsError as error:
        reason = str(error).split("\n")[0]
        raise StackbookError(f"{said}: {reason}; write a condition as in {_EXAMPLE!r}") from None
    if meets.dtype != pl.Boolean:
        raise StackbookError(f"{said} is no condition; write one as in {_EXAMPLE!r}")
    return meets


def _typed(column: pl.Series, number: bool) -> pl.Series:
    if column.dtype != pl.String:
        return column
    found = _number(column)
    if number or found.null_count() == column.null_count():
        return found.set(~found.is_finite(), None)  # NaN would count as above any number
    truth = column.str.to_lowercase().replace_strict({"true": True, "false": False}, default=None)
    return truth if truth.null_count() == column.null_count() else column


def _number(column: pl.Series) -> pl.Series:
    return column.str.strip_chars().cast(pl.Float64, strict=False)


def _plain(name: str) -> str:
    return "".join(filter(str.isalnum, name.lower()))


def _seconds(column: pl.Series) -> pl.Series:
    """Of dates with times, in UTC."""
    text = column.str.strip_chars().str.replace("T", " ").str.replace(r" ?(Z|UTC|\+00:00)$", "")
    times = text.str.to_datetime("%Y-%m-%d %H:%M:%S%.f", time_unit="us", strict=False)
    return times.dt.epoch("us") / 1e6


def _bad(rows: pl.DataFrame, column: str) -> str:
    """The first of `rows` by number, and what they say in `column`."""
    if rows.is_empty():
        return ""
    shown = rows.head(_SHOWN)
    numbers = [str(number) for number in shown[_ROW]]
    if rows.height > _SHOWN:
        numbers.append(f"{rows.height - _SHOWN} more")
    *first, last = numbers
    which = f"rows {', '.join(first)} and {last}" if first else f"row {last}"
    values = ("empty" if value is None else value for value in shown[column])
    return f"{which}: {column} is {', '.join(values)}"


def _odds(share: float) -> float:
    return share / (1 - share)


@cache
def _scores(draws: int) -> NDArray[np.float64]:
    """Standard normal quantiles of even steps: draws without sampling error of their own."""
    normal = NormalDist()
    return np.array([normal.inv_cdf((step + 0.5) / draws) for step in range(draws)])
