"""The outlook to 2030: `kernels.outlook` on our tables, by scenario, and on what was known before.

Compute is counted in H100-equivalents at the end of a year; rents are those of H100s on demand.
"""

from collections.abc import Callable, Mapping
from functools import cache
from math import nan
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import ArrayLike

from stackbook import StackbookError, facts, nearest
from stackbook.inputs import DRAWS, spread, uncertain
from stackbook.kernels import chips, limits, market
from stackbook.kernels import outlook as kernel
from stackbook.kernels.capital import annuity
from stackbook.kernels.cloud import present_owned, present_reserved, rental_margin, used_value
from stackbook.kernels.datacenter import HOURS_PER_YEAR
from stackbook.kernels.fleet import clearing_rent
from stackbook.kernels.outlook import BINDING, LIMITS, RUN_LIMITS, Floats, LargestRun, Run, World

__all__ = ["BINDING", "LIMITS", "RUN_LIMITS", "LargestRun", "Run", "World"]

START = 2025  # the last year with data
YEARS = tuple(range(START + 1, 2031))
OWN_SILICON = ("Google", "Amazon")  # designers that are clouds
GROUPS = ("China", "Other")  # owners of table `compute_owned` that are many firms
KNOWN = 2023  # the end of which the hindcast starts from
H100, GB200 = "H100 SXM", "GB200"
RISKLESS = 0.04  # our round figure, as in layers/cloud-platform
RACK = 72  # accelerators of a GB200 NVL72
TOKENS_PER_PARAM = 20.0  # Hoffmann et al. 2022
LAYER_SCALE = 0.088  # Sevilla et al. 2024: layers are 0.088 N^0.27

Input = Callable[[str], Floats]


class Levers(NamedTuple):
    """What a scenario changes: each a number for all of YEARS, or one a year; as here, the trend.

    NaN keeps the value of 2025.
    """

    growth: ArrayLike = 1.0  # share of the trend's growth of demand; below 0 it falls
    chips: ArrayLike = 1.0  # factor of leading wafers and packaging
    memory: ArrayLike = 1.0  # factor of HBM made
    power: ArrayLike = 1.0  # factor of power energised
    memory_price: ArrayLike = 1.0  # factor of HBM's price
    power_price: ArrayLike = 1.0  # factor of the price of electricity
    nvidia_margin: ArrayLike = nan  # gross margin, by which all chips of merchants are priced
    own_share: ArrayLike = nan  # of additions, chips that clouds design
    stock_growth: ArrayLike = nan  # factor a year of all compute, in place of limits and entry
    owners: Mapping[str, float] | None = None  # shares of the additions of 2030, by owner


class Outlook(NamedTuple):
    """What a scenario brings: a row for each draw, the first central; a column for each year."""

    run: Run
    start_stock: Floats
    """At the end of 2025, as the next two [H100e]."""
    start_rent: Floats
    """[USD/h]"""
    start_power: Floats
    """Rated, with all that chips need [GW]."""
    owners: tuple[str, ...]
    owner_shares: Floats
    """Of the stock, by owner on the last axis."""
    hhi: Floats
    """Of named owners alone, points: a lower bound."""
    designers: tuple[str, ...]
    designer_shares: Floats
    """Of the stock, by designer on the last axis."""
    own_share: Floats
    """Of additions, by year: chips that clouds design."""
    token_cost: Floats
    """Rent for a token of equal quality, over that of 2025."""
    chip_price: Floats
    """Of equal compute, over that of 2025."""
    parts_price: Floats
    """Of all other parts of equal compute, over that of 2025."""
    memory_price: Floats
    """Of HBM for equal compute, over that of 2025."""
    power_use: Floats
    """Power of equal compute, over that of 2025."""
    cloud_margin: Floats
    """Of what is new over its rent, after all costs, capital with them."""
    power_price: Floats
    """Of electricity, by year, over that of 2025."""
    world: World
    """Where it starts from."""


class Bought(NamedTuple):
    """The compute of an H100 that is added at the end of a year, a row for each draw [USD]."""

    price_usd: Floats
    value_usd: Floats
    """Then, of its rents over its life, less site, energy and operation."""
    owning_usd: Floats
    """Then, of all that it costs to the end of YEARS, less what it is worth at that time."""
    renting_usd: Floats
    """Then, of renting as much until then, each year at the rent of its first day."""


class Hindcast(NamedTuple):
    """What the model says of years that are past, and what was seen; a row for each draw."""

    years: tuple[int, ...]
    run: Run
    stock: tuple[tuple[float, float, float], ...]
    """Seen, by year: 5th percentile, median and 95th of table `compute_owned` [H100e]."""
    rent: tuple[tuple[float, float, float], ...]
    """Seen, by year: lowest, median and highest of sellers [USD/h]."""
    rent_at_stock: Floats
    """What the model's demand makes of the stock that was seen [USD/h]."""


# --- Scenarios ---


def shock(year: int, loss: float, years: float) -> tuple[float, ...]:
    """Factors for Levers.chips where a share of output is lost from the start of `year` on."""
    over = [min(max(years - (each - year), 0.0), 1.0) if each >= year else 0.0 for each in YEARS]
    return tuple(1 - loss * part for part in over)


@cache
def scenarios() -> dict[str, Levers]:
    """The scenarios of table `scenario_levers` by name, overlays of one model, after the trend."""
    moves: dict[str, dict[str, Any]] = {"trend": {}}
    rows = facts.table("scenario_levers").select("scenario", "lever", "year", "value").collect()
    for scenario, lever, year, value in rows.iter_rows():
        untouched = [getattr(Levers(), lever)] * len(YEARS)
        moves.setdefault(scenario, {}).setdefault(lever, untouched)[YEARS.index(year)] = value
    return {scenario: Levers(**found) for scenario, found in moves.items()}


def outlook(
    levers: Levers | None = None, *, values: Mapping[str, float] | None = None, draws: int = DRAWS
) -> Outlook:
    """The outlook of a scenario, the trend if none; `values` by symbol replace those of tables.

    StackbookError for symbols that it does not use, and owners that there are not.
    """
    given, used = dict(values or {}), set[str]()

    def asked(symbol: str) -> Floats:
        used.add(symbol)
        return uncertain(symbol, given.get(symbol), draws)

    moves = levers or Levers()
    margin = asked("mu_NVDA")[0]
    kept = np.where(np.isnan(moves.nvidia_margin), margin, moves.nvidia_margin)
    world = start(asked, draws)
    found = kernel.run(
        world,
        kernel.Levers(
            growth=moves.growth,
            chips=moves.chips,
            memory=moves.memory,
            power=moves.power,
            chip_usd=(1 - margin) / (1 - kept),
            memory_usd=moves.memory_price,
            kwh_usd=moves.power_price,
            stock_growth=moves.stock_growth,
        ),
        len(YEARS),
    )
    software = np.maximum(asked("g_stay") / world.progress, 1.0)
    for symbol in given:
        if symbol not in used:
            raise StackbookError(
                f"the outlook has no input {symbol!r}{nearest(symbol, used)}; "
                f"they are {', '.join(sorted(used))}"
            )
    time = np.arange(1.0, len(YEARS) + 1)
    own_now = _shares("designer", OWN_SILICON)
    own = np.where(np.isnan(moves.own_share), own_now, moves.own_share) + np.zeros(len(YEARS))
    owners, by_owner = _shared("owner", _owners(moves.owners), draws)
    designers, by_designer = _shared("designer", _designers(_yearly(moves.own_share)), draws)
    held = kernel.holdings(found.alive, by_owner) / found.stock[..., None]
    named = [at for at, owner in enumerate(owners) if owner not in GROUPS]
    rent = found.rent_usd_per_hour
    parts: Floats = world.progress[:, None] ** -time
    return Outlook(
        run=found,
        start_stock=world.made.sum(axis=1),
        start_rent=world.rent_usd_per_hour,
        start_power=(world.made * world.kw).sum(axis=1) / 1e6,
        owners=owners,
        owner_shares=held,
        hhi=market.hhi(held[..., named]),
        designers=designers,
        designer_shares=kernel.holdings(found.alive, by_designer) / found.stock[..., None],
        own_share=own,
        token_cost=rent / world.rent_usd_per_hour[:, None] * software[:, None] ** -time,
        chip_price=found.chip_usd,
        parts_price=parts,
        memory_price=parts * np.asarray(moves.memory_price, float),
        power_use=world.kw_progress[:, None] ** -time,
        cloud_margin=np.asarray(rental_margin(rent, found.long_run_usd_per_hour, 1.0)),
        power_price=_yearly(moves.power_price),
        world=world,
    )


def _yearly(lever: ArrayLike) -> Floats:
    return np.asarray(lever, float) + np.zeros(len(YEARS))


# --- What follows for one machine, and for a chain ---


def bought(
    found: Outlook,
    year: int = YEARS[0],
    *,
    rate: ArrayLike | None = None,
    discount: ArrayLike = 0.0,
) -> Bought:
    """What is added at the end of `year` costs and is worth, and what renting it costs.

    To its owner, at the cost of capital of the outlook, it earns rents as long as they cover energy
    and operation; `rate` is that of who owns or rents it for own use, `discount` of a year's lease.
    """
    at = YEARS.index(year)
    world, run, last = found.world, found.run, len(YEARS) - 1 - at
    years = np.asarray(world.years)
    dearer = (run.chip_usd[:, at] * world.progress ** (at + 1) - 1) * world.chip_share
    price = world.it_usd * world.progress ** -(at + 1.0) * (1 + dearer)
    kw = world.kw[:, -1] * world.kw_progress ** -(at + 1.0)
    hours = world.availability * world.let
    energy = kw * world.load * world.usd_per_kwh * hours * HOURS_PER_YEAR
    site = kw * world.site_usd * annuity(world.site_rate, world.site_years)
    rents = run.rent_usd_per_hour[:, at:]
    falling = np.append(rents[:, 1:] / rents[:, :-1], 1 / world.progress[:, None], axis=1) - 1
    kwh = np.append(found.power_price[at + 1 :], found.power_price[-1])
    own_rate = world.rate if rate is None else np.asarray(rate, float)

    def worth(of: float, step: int, length: Any) -> Floats:
        """Rents less running costs from the end of a year on, then."""
        running = energy * kwh[step] + world.om_share * price
        earned = used_value(rents[:, step], falling[:, step], hours, running, of, length)
        return np.asarray(earned)

    value = -present_owned(0.0, 0.0, site, world.rate, years)
    owning, renting = price.copy(), np.zeros_like(price)
    for step in range(last):
        later = (1 + world.rate) ** -step
        value += later * worth(world.rate, step, np.clip(years - step, 0.0, 1.0))
        later = (1 + own_rate) ** -float(step)
        running = energy * kwh[step] + world.om_share * price + site
        owning += later * present_owned(0.0, 0.0, running, own_rate, 1.0)
        of_year = present_reserved(rents[:, step], discount, falling[:, step], 1.0, own_rate, 1.0)
        renting += later * world.availability * of_year
    rest = np.maximum(years - last, 0.0)
    value += (1 + world.rate) ** -last * worth(world.rate, last, rest)
    left = worth(world.rate, last, rest) - present_owned(0.0, 0.0, site, world.rate, rest)
    owning -= (1 + own_rate) ** -float(last) * np.maximum(left, 0.0)
    return Bought(price, np.asarray(value), owning, renting)


def chain_terms(
    found: Outlook, year: int, terms: Mapping[str, Floats], merchant: bool
) -> dict[str, Floats]:
    """Terms of a chain (table `profile_terms`) for equal compute of `year`, from those of START.

    Chips of merchants have the price of the outlook; others' get cheaper as parts do, and dearer
    memory is passed on.
    """
    at = YEARS.index(year)
    parts, memory = found.parts_price[:, at], found.memory_price[:, at]
    new = dict(terms)
    for symbol in ("package_usd", "chip_other_usd", "programme_usd", "server_usd", "network_usd"):
        new[symbol] = terms[symbol] * parts
    new["memory_usd"] = terms["memory_usd"] * memory
    own = terms["chip_usd"] * parts + terms["memory_usd"] * (memory - parts)
    new["chip_usd"] = terms["chip_usd"] * found.chip_price[:, at] if merchant else own
    for symbol in ("kw", "site_usd"):
        new[symbol] = terms[symbol] * found.power_use[:, at]
    return new


# --- Where it starts from ---


def start(asked: Input, draws: int = DRAWS) -> World:
    """The end of START; `asked` gives inputs by symbol with draws, as inputs.uncertain does."""
    return World(
        made=_made(START, draws),
        kw=_kw(asked, START),
        rent_usd_per_hour=asked("w_H100_25"),
        slowing=asked("k_slow"),
        it_usd=asked("C_rack_IT") / RACK / h100e(GB200),
        site_usd=asked("C_rack_DC") / RACK / asked("kW_GB200"),
        limits=_limits(asked),
        **_common(asked),
    )


def _common(asked: Input) -> dict[str, Any]:
    """What does not depend on where it starts from."""
    rack_it = facts.central("C_rack_IT") / RACK
    chip = facts.central("s_GPU") * facts.central("K_acc_GB200") / rack_it
    memory = _gb(GB200) * asked("p_HBM3e") / asked("Y_B200") / rack_it
    efficiency, watt = asked("g_eff"), asked("g_watt")
    growth = (
        asked("g_wafer") * efficiency,
        asked("g_pack") * efficiency,
        asked("g_HBM") * asked("g_GB"),
        asked("g_GW") * watt,
    )
    return {
        "growth": asked("g_W"),
        "elasticity": asked("eps"),
        "progress": 10 ** asked("g_pp"),
        "chip_share": chip,
        "memory_share": memory,
        "kw_progress": watt,
        "load": asked("u_P"),
        "usd_per_kwh": asked("p_e25"),
        "om_share": asked("om_IT"),
        "availability": facts.central("A_host"),
        "let": asked("u_let"),
        "rate": asked("r_HS"),
        "years": asked("n_IT"),
        "site_rate": asked("r_HS"),
        "site_years": asked("n_DC"),
        "riskless": RISKLESS,
        "sigma": asked("sigma_r"),
        "limit_growth": np.stack(growth, axis=-1),
    }


def _limits(asked: Input) -> Floats:
    """Compute that each input allows in the year after START, by LIMITS [H100e/yr].

    Packaging and memory make as much for each wafer and GB as in START, when both were sold out,
    times the year's progress. A leading wafer makes as many dies of a GB200 as it yields.
    """
    made = _made(START, 1)[0, -1]
    efficiency = asked("g_eff")
    die_mm2 = facts.rows("accelerators", "name", GB200)["die_mm2"].item()
    gross = chips.gross_dies(facts.central("d_w"), facts.central("e_w"), die_mm2)
    good = chips.harvested_yield(die_mm2, asked("D0_N3"), asked("rho_red"), 144.0, 12.0)
    wafer = gross * good * asked("Y_B200") / 2 * h100e(GB200)
    kw = _kw(asked, START)[:, -1] / asked("g_watt")
    return np.stack(
        [
            asked("K_N3") * asked("s_N3_AI") * wafer * efficiency,
            asked("K_CoWoS") / asked("K_CoWoS25") * made * efficiency,
            asked("K_HBM") / asked("K_HBM25") * made * asked("g_GB"),
            asked("K_GW26") * 1e6 / kw,
        ],
        axis=-1,
    )


@cache
def _owned() -> pl.DataFrame:
    """Compute at the ends of years, by designer and owner."""
    rows = facts.table("compute_owned").with_columns(year=pl.col("quarter_end").dt.year())
    return rows.filter(pl.col("quarter_end").dt.month() == 12, pl.col("year") <= START).collect()


def _stock(year: int) -> tuple[float, float, float]:
    """Low, central and high [H100e]; designers' errors are taken to go together."""
    rows = _owned().filter(owner="All", year=year)
    low, central, high = rows.select(pl.sum("h100e_low", "h100e", "h100e_high")).row(0)
    return float(low), float(central), float(high)


def _by_year(column: str, until: int) -> Floats:
    """Additions of each year up to `until`, the first with all before."""
    rows = _owned().filter(pl.col("owner") == "All", pl.col("year") <= until)
    totals = rows.group_by("year", maintain_order=True).agg(pl.sum(column)).sort("year")
    return np.diff(totals[column].to_numpy(), prepend=0.0)


def _made(year: int, draws: int) -> Floats:
    """Compute by year of make up to `year`: a row for each draw [H100e]."""
    low, central, high = _stock(year)
    scale = spread("compute owned", low, central, high, draws) / central
    return np.asarray(scale[:, None] * _by_year("h100e", year))


def _kw(asked: Input, year: int) -> Floats:
    """All that an H100e takes at the meter, by year of make, a row for each draw [kW].

    Of the chips' own power, times what an H100 or, from 2025 on, a GB200 takes with all it needs.
    """
    chip = _by_year("power_mw", year) * 1e3 / _by_year("h100e", year)
    old, new = (asked(f"kW_{name}") / _tdp(name) for name in (H100[:4], GB200))
    overhead = [new if year - back >= START else old for back in range(len(chip) - 1, -1, -1)]
    return np.stack(overhead, axis=-1) * chip


def _tdp(name: str) -> float:
    row = facts.rows("accelerators", "name", GB200 if name == GB200 else H100)
    return float(row["tdp_w"].item()) / 1e3


def _gb(name: str) -> float:
    return float(facts.rows("accelerators", "name", name)["memory_bytes"].item()) / 1e9


@cache
def h100e(name: str) -> float:
    """Compute of a chip over that of an H100, as table `chips_made` counts it."""
    rows = facts.rows("chips_made", "chip", name)
    return float(rows["h100e"].sum()) / float(rows["units"].sum())


# --- Who holds it ---


def _added(column: str) -> tuple[tuple[str, ...], Floats]:
    """Names, and additions: a row for each year up to START, the first with all before [H100e]."""
    wanted = pl.col("owner") == "All" if column == "designer" else pl.col("owner") != "All"
    rows = _owned().filter(wanted)
    totals = rows.group_by("year", column, maintain_order=True).agg(pl.sum("h100e"))
    names = tuple(sorted(totals[column].unique()))
    grid = np.zeros((START - 2022 + 1, len(names)))
    for year, name, h100e in totals.iter_rows():
        grid[year - 2022, names.index(name)] = h100e
    return names, np.maximum(np.diff(grid, axis=0, prepend=0.0), 0.0)


def _shares(column: str, of: tuple[str, ...]) -> float:
    """Of the additions of START."""
    names, added = _added(column)
    return float(sum(added[-1, names.index(name)] for name in of) / added[-1].sum())


@cache
def _doubt(column: str, draws: int) -> Floats:
    """What each name holds at the end of START over its central value: a row for each draw.

    In doubt is what a designer made, and how that is divided among owners.
    """
    rows = _owned().filter(year=START).drop_nulls("h100e")
    scale: dict[str, Floats] = {}
    held: dict[str, Floats] = {}
    for designer, of in rows.group_by("designer", maintain_order=True):
        made = _drawn(of.filter(owner="All").row(0, named=True), draws)
        scale[str(designer[0])] = made / made[0]
        parts = {
            row["owner"]: _drawn(row, draws)
            for row in of.filter(pl.col("owner") != "All").to_dicts()
        }
        total = np.sum(list(parts.values()), axis=0)
        for owner, part in parts.items():
            held[owner] = held.get(owner, 0.0) + made / made[0] * total[0] / total * part
    found = scale if column == "designer" else held
    return np.stack([found[name] / found[name][0] for name in sorted(found)], axis=-1)


def _drawn(row: Mapping[str, Any], draws: int) -> Floats:
    central = row["h100e"]
    low, high = (row[end] or central for end in ("h100e_low", "h100e_high"))
    return spread(f"{row['designer']} of {row['owner']}", low, central, high, draws)


def _shared(
    column: str, later: Callable[[tuple[str, ...], Floats], Floats], draws: int
) -> tuple[tuple[str, ...], Floats]:
    """Names, and shares of what was or will be added: draws, vintages, names."""
    names, added = _added(column)
    shares = added * _doubt(column, draws)[:, None]
    shares /= shares.sum(axis=-1, keepdims=True)
    rows = np.concatenate([shares, later(names, shares[:, -1])], axis=1)
    return names, rows / rows.sum(axis=-1, keepdims=True)


def _owners(target: Mapping[str, float] | None) -> Callable[[tuple[str, ...], Floats], Floats]:
    """From the shares of START to those of the last year, in even steps; others shrink alike."""

    def later(names: tuple[str, ...], now: Floats) -> Floats:
        goal = dict(target or {})
        for name, share in goal.items():
            if name not in names:
                raise StackbookError(
                    f"no owner {name!r}{nearest(name, names)}; they are {', '.join(names)}"
                )
            if not 0 <= share <= 1:
                raise StackbookError(f"owners[{name!r}] = {share:g}: give 0 to 1")
        rest = 1 - sum(goal.values())
        if rest < -1e-9:
            raise StackbookError(f"owners: shares add up to {1 - rest:g}; give 1 at most")
        others = np.where([name in goal for name in names], 0.0, now)
        total = others.sum(axis=-1, keepdims=True)
        others *= np.divide(max(rest, 0.0), total, out=np.zeros_like(total), where=total > 0)
        end = np.array([goal.get(name, 0.0) for name in names]) + others
        steps = np.linspace(0, 1, len(YEARS) + 1)[1:, None]
        return np.asarray(now[:, None] + steps * (end - now)[:, None])

    return later


def _designers(own: Floats) -> Callable[[tuple[str, ...], Floats], Floats]:
    """Clouds' own chips, and merchants', each divided among its designers as in START."""

    def later(names: tuple[str, ...], now: Floats) -> Floats:
        clouds = np.array([name in OWN_SILICON for name in names])
        part = now[:, clouds].sum(axis=-1)[:, None, None]
        each = np.where(np.isnan(own)[:, None], part, own[:, None])
        rest = now[:, None]
        return np.asarray(np.where(clouds, rest / part * each, rest / (1 - part) * (1 - each)))

    return later


# --- Years that are past ---


@cache
def hindcast(draws: int = DRAWS) -> Hindcast:
    """The years to START from the end of KNOWN, by what was told until then of supply.

    Growth of demand and progress are those of the outlook, which were measured later; demand does
    not slow, and power is taken not to limit.
    """
    years = tuple(range(KNOWN + 1, START + 1))

    def asked(symbol: str) -> Floats:
        return uncertain(symbol, draws=draws)

    made = _by_year("h100e", KNOWN)[-1]
    packaging = _told("CoWoS in the year, TSMC", KNOWN + 1) / _told(
        "CoWoS in the year, TSMC", KNOWN
    )
    memory = 1 + _told("growth of HBM bits over the year before, world", KNOWN + 1)
    none = np.full(draws + 1, np.inf)
    first = [none, packaging * made * asked("g_eff"), memory * made * asked("g_GB"), none]
    rent = spread("rent seen", *rents_seen(KNOWN), draws)
    found = kernel.run(
        World(
            made=_made(KNOWN, draws),
            kw=_kw(asked, KNOWN),
            rent_usd_per_hour=rent,
            slowing=1.0,
            it_usd=asked("p_node_H100") / 8 + asked("p_opt2"),
            site_usd=asked("k_MW") / 1e3,
            limits=np.stack(first, axis=-1),
            **_common(asked),
        ),
        kernel.Levers(),
        len(years),
    )
    stocks = tuple(map(_stock, years))
    central = np.array([stock for _, stock, _ in stocks])
    cleared = clearing_rent(central, found.wanted, rent[:, None], asked("eps")[:, None], 0.0)
    return Hindcast(years, found, stocks, tuple(map(rents_seen, years)), np.asarray(cleared))


def _told(item: str, year: int) -> float:
    """What table `capacities` had by the end of KNOWN."""
    rows = facts.rows("capacities", "item", item)
    rows = rows.filter(pl.col("year") == year, pl.col("as_of") < f"{KNOWN + 1}")
    return float(rows["central"].item())


def rents_seen(year: int) -> tuple[float, float, float]:
    """Lowest, median and highest of H100s on demand around the end of a year [USD/h].

    Of neoclouds and indices, from October to February.
    """
    asked = facts.rows("rental_prices", "accelerator", H100).filter(
        pl.col("provider_kind").is_in(["neocloud", "index"]),
        pl.col("commitment") == "on-demand",
        pl.col("month").is_between(pl.lit(f"{year}-10"), pl.lit(f"{year + 1}-02")),
    )["usd_per_hour"]
    low, high = np.quantile(asked.to_numpy(), [0.0, 1.0])
    return float(low), float(np.median(asked.to_numpy())), float(high)


# --- The largest run ---


def run_limits(accelerators: Any = None, draws: int = DRAWS, power: Any = 1.0) -> dict[str, Floats]:
    """FLOP that a training run of 2030 can have, by RUN_LIMITS.

    On `accelerators` H100e, those of table `parameters` unless told; with `power` times the power
    that this table has; in 8 bits, for `T_run` days.
    """

    def asked(symbol: str) -> Floats:
        return uncertain(symbol, draws=draws)

    count = asked("N_run30") if accelerators is None else np.asarray(accelerators, float)
    seconds = asked("T_run") * 86_400
    peak = float(facts.rows("accelerators", "name", H100)["fp8_flops"].item())
    watts = _kw(asked, START)[:, -1] * 1e3 / asked("g_watt") ** (YEARS[-1] - START)
    wall = limits.latency_wall(
        seconds,
        asked("t_layer"),
        TOKENS_PER_PARAM,
        LAYER_SCALE,
        facts.central("a_layers"),
        asked("B_run30"),
        1.0,
        0.0,
    )
    return {
        "power": np.asarray(
            limits.power_limited_flop(
                asked("P_run30") * power * 1e9, watts, peak, asked("MFU"), seconds
            )
        ),
        "chips": np.asarray(limits.fleet_flop(count, peak, asked("MFU"), seconds)),
        "data": np.asarray(kernel.data_limited_flop(asked("D_2030"), TOKENS_PER_PARAM)),
        "latency": np.asarray(wall),
    }


def largest_run(accelerators: Any = None, draws: int = DRAWS, power: Any = 1.0) -> LargestRun:
    """The least of run_limits, and which it is."""
    found = run_limits(accelerators, draws, power)
    return kernel.largest_run([found[name] for name in RUN_LIMITS])
