"""Watch items: what the book says to watch, as series over time from our tables, and their trends.

A value is a fact of its date, or arithmetic on facts of then; nothing between is filled in. Where
a series leans on what was known only later (a campus followed because it grew), `what` says so.
"""

from collections.abc import Callable
from datetime import date
from math import inf
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from stackbook import StackbookError, facts, nearest
from stackbook.inputs import asking
from stackbook.kernels import market, trends
from stackbook.kernels.trends import Prediction, Reached, Trend

SEED = 10
HHI_MOST = 10_000.0
FIVE = ("Alphabet", "Amazon", "Meta", "Microsoft", "Oracle")  # whose capital outlays are meant
SOURCES: dict[str, Any] = {"sources": pl.List(pl.String)}
ADDED = ("h100e", "power_mw")
OLD_PRICE = 3.0  # years from a chip's release, after which a price is no more that of a new chip


class Item(NamedTuple):
    """What to watch."""

    unit: str
    better: str
    """For who buys AI: higher, lower, or blank where it depends."""
    what: str
    make: Callable[[], pl.DataFrame]
    """Columns year, value, low, high, sources; in any order of rows."""
    most: float = inf
    """What the value stays below, as 1; trends are then of the odds between least and most."""
    least: float = 0.0
    """What the value stays above, where it has a bound."""

    @property
    def frame(self) -> pl.DataFrame:
        """By year; low and high where the range of a value is known; keys of sources."""
        columns = pl.col("year", "value", "low", "high").cast(pl.Float64)
        return self.make().select(columns, "sources").drop_nulls("value").sort("year", "value")

    @property
    def sources(self) -> list[str]:
        """Keys for `facts.cite`."""
        return self.frame["sources"].explode().unique().sort().to_list()

    @property
    def today(self) -> dict[str, Any]:
        """The last row."""
        return self.frame.row(-1, named=True)

    @property
    def history(self) -> bool:
        """Whether there is enough of it for a trend; else the item is a level only."""
        years = self.frame["year"]
        return len(years) >= trends.POINTS and years.n_unique() >= trends.DATES


def item(name: str) -> Item:
    """A watch item by its name; StackbookError offers the nearest."""
    if name not in ITEMS:
        raise StackbookError(f"no watch item {name!r}{nearest(name, ITEMS)}")
    return ITEMS[name]


def trend(name: str, until: float = inf, seed: int = SEED, draws: int = 2000) -> Trend:
    """The trend of an item's values up to the year `until`; of odds where they have a bound."""
    frame = item(name).frame.filter(pl.col("year") <= until)
    return trends.fit(frame["year"], odds(name, frame["value"]), seed, draws)


def growth(name: str) -> tuple[float, float, float]:
    """A trend's factor a year: low, central and high."""
    found = trend(name)
    low, high = map(float, trends.interval(found.growths))
    return low, found.growth, high


def predict(name: str, fitted: Trend, years: ArrayLike) -> Prediction:
    """What may be seen in years to come, in the item's unit."""
    found = trends.predict(fitted, years)
    return Prediction(_value(name, found.central), _value(name, found.draws))


def reached(name: str, fitted: Trend, threshold: float) -> Reached:
    """When the trend reaches a threshold in the item's unit."""
    least, most = item(name).least, item(name).most
    if not least < threshold < most:
        raise StackbookError(
            f"{name}: threshold {threshold:g} is not between {least:g} and {most:g}"
        )
    return trends.reached(fitted, float(odds(name, threshold)))


def odds(name: str, values: ArrayLike) -> NDArray[np.float64]:
    """What is fitted: the values, or their odds where they have a bound."""
    least, most, values = item(name).least, item(name).most, np.asarray(values, np.float64)
    return values if most == inf else (values - least) / (most - values)


def _value(name: str, fitted: NDArray[np.float64]) -> NDArray[np.float64]:
    least, most = item(name).least, item(name).most
    return fitted if most == inf else (least + most * fitted) / (1 + fitted)


def asked(quotes: pl.DataFrame) -> pl.DataFrame:
    """Median, least and most that sellers ask, in each month with a quote."""
    rows = []
    for month in quotes["month"].unique().sort():
        sellers = asking(quotes.filter(pl.col("month") <= month))
        usd = sellers["usd_per_hour"]
        keys = sellers["source"].explode().unique().sort().to_list()
        rows.append((month, usd.median(), usd.min(), usd.max(), keys))
    kinds = dict(month=pl.Date, usd_per_hour=pl.Float64, low=pl.Float64, high=pl.Float64)
    return pl.DataFrame(rows, kinds | SOURCES, orient="row")


def rents(accelerator: str, kind: str, provider: str = "") -> pl.DataFrame:
    """What sellers of a kind (neocloud, hyperscaler, marketplace) ask for an hour on demand."""
    quotes = facts.table("rental_prices").filter(
        accelerator=accelerator, provider_kind=kind, commitment="on-demand"
    )
    quotes = quotes.filter(provider=provider) if provider else quotes
    months = quotes.with_columns((pl.col("month") + "-15").str.to_date()).collect()
    return asked(months).with_columns(year=_year(pl.col("month")), value="usd_per_hour")


def concentration(name: str, basis: str, source: str = "") -> pl.DataFrame:
    """HHI of a market by period with two named firms or more: middle of what the rest can be."""
    rows = facts.table("market_shares").filter(market=name, basis=basis).sort("period", "company")
    found = []
    for (period,), firms in rows.collect().group_by("period", maintain_order=True):
        firms = firms.filter(pl.col("source").str.starts_with(source))
        if firms.height > 1:
            shares = firms["share"].to_numpy()
            least, most = market.hhi_bounds(shares / max(shares.sum(), 1.0))  # rounding
            keys = firms["source"].unique().sort().to_list()
            middle = (float(least) + float(most)) / 2
            found.append((_when(str(period)), middle, float(least), float(most), keys))
    return _table(found)


def made() -> pl.DataFrame:
    """H100 equivalents and MW made in each whole quarter by designer, and what it kept."""
    owned = facts.table("compute_owned").sort("designer", "owner", "quarter_end").collect()
    part = pl.col("note").str.starts_with("incomplete quarter").fill_null(False)
    owned = owned.filter(~part.any().over("designer", "quarter_end"))
    flow = [pl.col(n).diff().fill_null(pl.col(n)).over("designer", "owner") for n in ADDED]
    every, own = pl.col("owner") == "All", pl.col("owner") == pl.col("designer")
    owned = owned.with_columns(*flow, year=_year(pl.col("quarter_end")) - 1 / 8)
    return owned.group_by("quarter_end", "year", "designer", maintain_order=True).agg(
        pl.col(*ADDED).filter(every).sum(),
        pl.col("h100e").filter(own).sum().alias("own"),
        pl.first("source"),
    )


def _all_makers() -> pl.DataFrame:
    """Of `made`, quarters in which every designer of the table is counted."""
    every = made()
    whole = pl.col("designer").n_unique().over("quarter_end") == every["designer"].n_unique()
    return every.filter(whole).sort("quarter_end", "designer")


def _flow(value: pl.Expr, designer: str = "") -> pl.DataFrame:
    every = made().filter(designer=designer) if designer else _all_makers()
    by_quarter = every.group_by("quarter_end", "year", maintain_order=True)
    return _plain(by_quarter.agg(value=value, sources=pl.col("source").unique().sort()))


def _stock() -> pl.DataFrame:
    whole = _all_makers()["quarter_end"].unique().to_list()
    rows = facts.table("compute_owned").filter(owner="All").sort("quarter_end").collect()
    rows = rows.filter(pl.col("quarter_end").is_in(whole))
    by_quarter = rows.group_by("quarter_end", maintain_order=True)
    found = by_quarter.agg(value=pl.sum("h100e"), sources=pl.col("source").unique().sort())
    return _plain(found.with_columns(year=_year(pl.col("quarter_end"))))


def _designers() -> pl.DataFrame:
    rows = []
    for (year,), firms in _all_makers().group_by("year", maintain_order=True):
        shares = firms["h100e"].to_numpy() / firms["h100e"].sum()
        points = float(market.hhi(shares))
        rows.append((year, points, None, None, firms["source"].unique().sort().to_list()))
    return _table(rows)


def _price_performance() -> pl.DataFrame:
    chips = facts.table("accelerators").drop_nulls(["price_usd", "bf16_flops"]).collect()
    chips = chips.with_columns(
        year=_year(pl.col("released").str.to_date()),
        priced=pl.col("price_as_of").map_elements(_when, pl.Float64),
        sources=pl.concat_list("source", "price_source"),
    )
    chips = chips.filter(
        pl.col("memory_type").str.starts_with("HBM"),
        pl.col("priced") - pl.col("year") <= OLD_PRICE,
    )
    return _plain(chips.with_columns(value=pl.col("bf16_flops") / pl.col("price_usd")))


def _hbm() -> pl.DataFrame:
    rows = facts.table("memory_prices").filter(
        pl.col("kind").str.starts_with("HBM"), pl.col("basis") != "forecast"
    )
    return (
        rows.drop_nulls("usd_per_gb")
        .with_columns(
            year=pl.col("period").map_elements(_when, pl.Float64),
            value="usd_per_gb",
            low="usd_low",
            high="usd_high",
            sources=pl.concat_list("source"),
        )
        .collect()
    )


def _token(benchmark: str, level_of: str) -> pl.DataFrame:
    """The cheapest so far, each three months back from when the table was last known."""
    rows = facts.table("token_price_records").filter(benchmark=benchmark, level_of=level_of)
    records = rows.sort("date", "model").collect()
    known = records.select(last=pl.col("as_of").str.to_date().max(), first=pl.col("date").min())
    ages = pl.select(back=pl.format("-{}mo", 3 * pl.int_range(40)))
    days = known.join(ages, how="cross").select(
        "first", date=pl.col("last").dt.offset_by(pl.col("back"))
    )
    prices = records.select("date", "source", value=pl.col("usd_per_mtok").cum_min())
    found = days.filter(pl.col("date") >= pl.col("first")).sort("date").join_asof(prices, on="date")
    return _plain(found.with_columns(year=_year(pl.col("date")), sources=pl.concat_list("source")))


def _records(column: str) -> pl.DataFrame:
    """Models that were the largest so far in a column, from 2016 on."""
    models = facts.table("ai_models").drop_nulls(column).sort("released", column).collect()
    new = pl.col(column) > pl.col(column).cum_max().shift().fill_null(0.0)
    models = models.filter(new, pl.col("released").dt.year() >= 2016)
    return _plain(
        models.with_columns(
            year=_year(pl.col("released")), value=column, sources=pl.concat_list("source")
        )
    )


def _sites(whole: bool) -> pl.DataFrame:
    """GW at each quarter's end of all campuses, or of the largest, as observed."""
    seen = facts.table("site_timeline").filter(basis="observed").collect()
    seen = seen.with_columns(pl.col("date").str.to_date()).sort("date")
    last = seen.select(pl.max("date")).item()
    days = pl.date_range(date(2023, 12, 31), last, "3mo", eager=True)
    days = days.dt.month_end()
    states = (
        pl.DataFrame({"date": days})
        .join(seen.select("site").unique(maintain_order=True), how="cross")
        .sort("date", "site")
        .join_asof(
            seen.select("site", "date", "mw", "source"),
            on="date",
            by="site",
            check_sortedness=False,
        )
        .drop_nulls("mw")
    )
    gw = (pl.sum("mw") if whole else pl.max("mw")) / 1000
    found = states.group_by("date", maintain_order=True).agg(
        value=gw, sources=pl.col("source").unique().sort()
    )
    return _plain(found.with_columns(year=_year(pl.col("date"))))


def _capex() -> pl.DataFrame:
    rows = facts.table("financials").filter(
        pl.col("company").is_in(FIVE), pl.col("segment") == "total"
    )
    by_quarter = rows.drop_nulls("capex_usd").sort("calendar_quarter", "company").collect()
    found = by_quarter.group_by("calendar_quarter", maintain_order=True).agg(
        value=pl.sum("capex_usd"),
        firms=pl.col("company").n_unique(),
        sources=pl.col("source").unique().sort(),
    )
    year = pl.col("calendar_quarter").map_elements(_when, pl.Float64)
    return _plain(found.filter(firms=len(FIVE)).with_columns(year=year))


def _clouds() -> pl.DataFrame:
    rows = facts.table("natural_experiments").filter(quantity="clouds under contract with OpenAI")
    ((before, first, after, last, old, new),) = (
        rows.select(*("date_before", "before", "date_after", "after", "before_source", "source"))
        .collect()
        .rows()
    )
    return _table(
        [
            (_when(before), first, None, None, [old or new]),
            (_when(after), last, None, None, [new]),
        ]
    )


def _speed() -> pl.DataFrame:
    rows = facts.table("serving_fronts").sort("tokens_per_s_per_user", "date").tail(1).collect()
    day, value, key = rows.select("date", "tokens_per_s_per_user", "source").row(0)
    return _table([(_when(day), value, None, None, [key])])


def _utilization() -> pl.DataFrame:
    one = facts.parameter("U_day")
    return _table([(_when(one.as_of), one.central, one.low, one.high, [one.source])])


def _year(day: pl.Expr) -> pl.Expr:
    """A date as a number of years."""
    return day.dt.year() + (day.dt.ordinal_day() - 1) / 365.25


def _when(period: str) -> float:
    """The middle of a year, quarter or month, or a day, as a number of years."""
    year, part = int(period[:4]), period[4:]
    if not part:
        return year + 0.5
    if part[0] == "Q":
        return year + (int(part[1]) - 0.5) / 4
    month, _, day = part[1:].partition("-")
    if not day:
        return year + (int(month) - 0.5) / 12
    return year + (date(year, int(month), int(day)).timetuple().tm_yday - 1) / 365.25


def _plain(rows: pl.DataFrame) -> pl.DataFrame:
    """With no range."""
    return rows.with_columns(low=pl.lit(None), high=pl.lit(None))


def _table(rows: list[tuple[Any, ...]]) -> pl.DataFrame:
    numbers = dict.fromkeys(("year", "value", "low", "high"), pl.Float64)
    return pl.DataFrame(rows, numbers | SOURCES, orient="row")


ITEMS = {
    "price-performance": Item(
        "FLOP/s/USD",
        "higher",
        "dense 16-bit peak per dollar of chips with high-bandwidth memory, by release, at a price "
        "of the first three years",
        _price_performance,
    ),
    "HBM price": Item(
        "USD/GB",
        "lower",
        "high-bandwidth memory of all generations: contracts, bills of materials, press",
        _hbm,
    ),
    "H100 rent": Item(
        "USD/h",
        "lower",
        "median that neoclouds list on demand for an H100 SXM, each by its last quote of a quarter",
        lambda: rents("H100 SXM", "neocloud"),
    ),
    "H100 rent, AWS": Item(
        "USD/h",
        "lower",
        "what AWS lists on demand for an H100 SXM",
        lambda: rents("H100 SXM", "hyperscaler", "AWS"),
    ),
    "A100 rent": Item(
        "USD/h",
        "lower",
        "as for the H100, an A100 SXM of 80 GB",
        lambda: rents("A100 SXM 80GB", "neocloud"),
    ),
    "token price, GPT-3.5 level": Item(
        "USD/Mtok",
        "lower",
        "cheapest model at GPT-3.5's score of MMLU or above, every three months",
        lambda: _token("MMLU", "GPT-3.5"),
    ),
    "token price, GPT-4 level": Item(
        "USD/Mtok",
        "lower",
        "cheapest model at GPT-4's score of GPQA Diamond or above, every three months",
        lambda: _token("GPQA Diamond", "GPT-4-0314"),
    ),
    "token price, o1-mini level": Item(
        "USD/Mtok",
        "lower",
        "the same at o1-mini's score of GPQA Diamond, of models that Epoch AI ran",
        lambda: _token("GPQA Diamond", "o1-mini"),
    ),
    "training cost": Item(
        "USD",
        "lower",
        "final runs that were the dearest known when released, hardware and energy",
        lambda: _records("cost_usd"),
    ),
    "training compute": Item(
        "FLOP",
        "",
        "final runs that were the largest known when released",
        lambda: _records("compute_flop"),
    ),
    "compute added": Item(
        "H100e",
        "higher",
        "accelerators of Nvidia, Google, Amazon and AMD made in a quarter",
        lambda: _flow(pl.sum("h100e")),
    ),
    "compute added, Nvidia": Item(
        "H100e",
        "higher",
        "accelerators of Nvidia sold in a quarter",
        lambda: _flow(pl.sum("h100e"), "Nvidia"),
    ),
    "compute stock": Item(
        "H100e",
        "higher",
        "all made since the counts begin (Nvidia 2022, Google 2023, Amazon and AMD 2024), none "
        "retired: the late beginnings overstate its growth",
        _stock,
    ),
    "power added": Item(
        "GW",
        "higher",
        "power of the chips made in a quarter, without hosts and cooling",
        lambda: _flow(pl.sum("power_mw") / 1000),
    ),
    "power added, Nvidia": Item(
        "GW",
        "higher",
        "the same of Nvidia's",
        lambda: _flow(pl.sum("power_mw") / 1000, "Nvidia"),
    ),
    "power of sites": Item(
        "GW",
        "higher",
        "campuses that Epoch AI follows; they were picked for being large in 2026, which "
        "overstates growth",
        lambda: _sites(True),
    ),
    "largest campus": Item(
        "GW", "", "the largest of those campuses at a quarter's end", lambda: _sites(False)
    ),
    "own silicon": Item(
        "1",
        "",
        "compute added in a quarter that its designer keeps, over all; a chip that is sold counts "
        "as merchant",
        lambda: _flow(pl.sum("own") / pl.sum("h100e")),
        1.0,
    ),
    "HHI, accelerators": Item(
        "1",
        "lower",
        "four designers, by compute made in a quarter",
        _designers,
        HHI_MOST,
        HHI_MOST / 4,
    ),
    "HHI, cloud": Item(
        "1",
        "lower",
        "cloud infrastructure services, by revenue",
        lambda: concentration("cloud infrastructure services", "revenue", "synergy"),
        HHI_MOST,
    ),
    "HHI, memory": Item(
        "1",
        "lower",
        "DRAM with high-bandwidth memory, by revenue; sources differ by quarter",
        lambda: concentration("DRAM", "revenue"),
        HHI_MOST,
    ),
    "HHI, HBM": Item(
        "1",
        "lower",
        "high-bandwidth memory, by revenue",
        lambda: concentration("high-bandwidth memory", "revenue"),
        HHI_MOST,
    ),
    "HHI, foundry": Item(
        "1",
        "lower",
        "ten largest foundries, by revenue",
        lambda: concentration("foundry", "revenue", "trendforce"),
        HHI_MOST,
    ),
    "HHI, models": Item(
        "1",
        "lower",
        "enterprise large language models, by spending",
        lambda: concentration("enterprise large language models", "spending", "menlo"),
        HHI_MOST,
    ),
    "capex": Item(
        "USD",
        "",
        "cash outlays of Amazon, Google, Meta, Microsoft and Oracle in a quarter",
        _capex,
    ),
    "clouds of a lab": Item("1", "higher", "clouds under contract with OpenAI", _clouds),
    "output speed": Item(
        "tok/s",
        "higher",
        "fastest to one user that is measured of DeepSeek R1; a part of a database, so a least",
        _speed,
    ),
    "utilization": Item(
        "1",
        "higher",
        "mean use of a serving pool over a day, over its peak, of one service",
        _utilization,
        1.0,
    ),
}
