"""What to watch: items with a trend and a threshold at which a decision flips.

A threshold is computed from our tables, in the unit of its item, and may move from year to year.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from stackbook import StackbookError, facts, inputs, nearest, outlook, series
from stackbook.inputs import spread, uncertain
from stackbook.kernels import (
    chips,
    cloud,
    datacenter,
    market,
    serving,
    trends,
)
from stackbook.kernels.trends import Prediction, Reached, Trend
from stackbook.outlook import Outlook, h100e
from stackbook.token_cost import TokenCost

Floats = NDArray[np.float64]

UNTIL = 2031.0  # the end of 2030
NOW = 2026  # at the end of which is decided
POWER = "power energised"  # in a year, for AI [GW]: a forecast, as no series of it is known
_POWER = "K_GW26", "g_GW"
CHIP = "GB200"
OLD = "H100"
AT = {year: at for at, year in enumerate(outlook.YEARS)}
_AT_LINE, _NEVER = 1e-9, 1e-300
SLOW = 20.0  # tokens a second of a user, about as fast as one reads


class Line(NamedTuple):
    """A threshold with draws, the first central: levels at a year, and a factor a year."""

    year: float
    levels: Floats
    growths: Floats

    def at(self, years: Floats) -> Floats:
        """Levels, a row a year."""
        return np.asarray(self.levels * self.growths ** (years - self.year)[:, None])


class Watch(NamedTuple):
    """An item of `series`, or POWER, and the decision that turns where it crosses a line."""

    item: str
    flips: str
    """What is then the better choice, or no longer so."""
    who: str
    rises: bool
    """Whether it does so as the item rises above the line, or falls below it."""
    line: Callable[[Outlook], Line]


def watch(name: str) -> Watch:
    """A watch item by its name; StackbookError offers the nearest."""
    if name not in ITEMS:
        raise StackbookError(f"no watch item {name!r}{nearest(name, ITEMS)}")
    return ITEMS[name]


def today(name: str) -> dict[str, Any]:
    """The last that is known of an item: year, value, low, high, sources."""
    if watch(name).item != POWER:
        return series.item(watch(name).item).today
    row = facts.parameter(_POWER[0])
    ends = {"low": row.low, "high": row.high}
    return {"year": NOW + 0.5, "value": row.central, **ends, "sources": [row.source]}


@cache
def fitted(name: str) -> Trend | None:
    """The trend of an item of `series`, or what is forecast; None where there is no history."""
    if name in series.ITEMS:
        return series.trend(name) if series.item(name).history else None
    levels, growths = map(uncertain, _POWER)
    return Trend(
        reference=NOW + 0.5,
        level=float(levels[0]),
        growth=float(growths[0]),
        levels=levels[1:],
        growths=growths[1:],
        scale=0.0,
        wanders=False,
        errors=np.zeros(trends.POINTS),
        widths=np.ones(levels.size - 1),
        seed=series.SEED,
    )


def predicted(name: str, years: Floats) -> Prediction:
    """What may be seen of an item in years to come, in its unit."""
    item, found = watch(name).item, _trend(name)
    return trends.predict(found, years) if item == POWER else series.predict(item, found, years)


def crossing(name: str, world: Outlook) -> Reached:
    """When the trend of an item first reaches its threshold; StackbookError if it has no trend.

    A draw beyond it already has done so at the last observation. Power does so in the outlook.
    """
    if watch(name).item == POWER:
        return _freed(world)
    over = _over_line(name, world)
    past, now = ((each > 1) == watch(name).rises for each in (over.levels, over.level))
    # To `trends.reached` all come from one side.
    clip, end = (np.minimum, 1 - _AT_LINE) if watch(name).rises else (np.maximum, 1 + _AT_LINE)
    found = trends.reached(
        over._replace(level=float(clip(over.level, end)), levels=clip(over.levels, end)), 1.0
    )
    return Reached(
        over.reference if now else found.central, np.where(past, over.reference, found.years)
    )


def beyond(name: str, world: Outlook, year: float = UNTIL) -> float:
    """Share of draws whose trend is beyond the threshold in a year, crossed back ones not."""
    if watch(name).item == POWER:
        return float(np.mean(_freed(world).years <= year))
    over = _over_line(name, world)
    law = over if over.wanders else over._replace(errors=np.zeros_like(over.errors))
    there = trends.predict(law, [year]).draws[0]
    return float(np.mean((there > 1) == watch(name).rises))


def _freed(world: Outlook) -> Reached:
    """When power limits additions no more, up to the end of the outlook."""
    binds = world.run.binding == outlook.BINDING.index("power")
    many = binds.shape[1]
    last = np.where(binds.any(axis=1), many - np.argmax(binds[:, ::-1], axis=1), 0)
    years = np.where(last < many, NOW + 0.5 + last, np.inf)
    return Reached(float(years[0]), years[1:])


def _over_line(name: str, world: Outlook) -> Trend:
    """The trend of an item over its threshold, which it reaches at 1."""
    item, line, found = watch(name).item, watch(name).line(world), _trend(name)
    levels, many = line.levels, found.levels.size
    if item in series.ITEMS and np.isfinite(series.item(item).most):
        # Such a line stays. At or below the least that an item can be, it is not met.
        moved, pace = np.maximum(series.odds(item, levels), _NEVER), np.ones_like(levels)
    else:
        moved, pace = levels * line.growths ** (found.reference - line.year), line.growths
    picks = 1 + np.arange(many) * (levels.size - 1) // many  # as even as all of them
    order = np.random.default_rng(series.SEED).permutation(picks) if levels.size > 1 else [0]
    return found._replace(
        level=found.level / float(moved[0]),
        growth=found.growth / float(pace[0]),
        levels=found.levels / moved[order],
        growths=found.growths / pace[order],
    )


def _trend(name: str) -> Trend:
    found = fitted(watch(name).item)
    if found is None:
        raise StackbookError(f"{name}: there are too few observations for a trend")
    return found


# --- What thresholds and decisions are made of ---


class Served(NamedTuple):
    """What it takes to serve a million output tokens with their prompts."""

    usd_per_mtok: Floats
    """Rented, as idle as a startup's machines are, with all who are paid."""
    hours: Floats
    """Of a full accelerator."""


@cache
def served(model: str, input_tokens: float, output_tokens: float) -> Served:
    """The chain of a startup, by our rooflines and their errors where we have not measured."""
    tokens = TokenCost("Startup on a neocloud", "Google on TPU", model, input_tokens, output_tokens)
    values = tokens.values(np.array([inputs.scores(name) for name in tokens.inputs]))
    found = dict(zip(TokenCost.OUTPUTS, tokens.at(values), strict=True))
    busy = values[list(tokens.inputs).index("U_day")]
    return Served(found["cost"], found["cost"] / found["hour"] * busy)


def seen_rent() -> Floats:
    """What sellers ask for an hour of an H100 today [USD/h]."""
    today = series.item("H100 rent").today
    return spread("rent seen today", today["low"], today["value"], today["high"])


# --- Thresholds ---


def _flat(levels: Floats, year: float = NOW) -> Line:
    return Line(year, levels, np.ones_like(levels))


def _path(year: float, first: Floats, last: Floats, years: float) -> Line:
    return Line(year, first, np.asarray((last / first) ** (1 / years)))


def pace(item: str) -> Floats:
    """The factor a year of a series, with draws."""
    return spread(f"growth of {item}", *series.growth(item))


def _replaced(world: Outlook) -> Line:
    """Compute per dollar at which all that is new costs less than an old chip's site and power."""
    start = world.world
    rate, years = uncertain("r_HS"), uncertain("n_IT")
    hours = datacenter.available_hours(start.availability)
    capacity = datacenter.capital_cost(start.it_usd, rate, years, start.availability)
    lease, load = uncertain("p_colo_25"), uncertain("u_P")

    def running(kw: Floats) -> Floats:
        power = datacenter.energy_cost(kw, load, 1.0, uncertain("p_e25"))
        return np.asarray(datacenter.colocation_cost(lease, kw) + power)

    new = running(uncertain(f"kW_{CHIP}") / h100e(CHIP)) + start.om_share * start.it_usd / hours
    left = running(uncertain(f"kW_{OLD}")) - new
    usd = uncertain("s_GPU") * facts.central("K_acc_GB200")
    flops = facts.rows("accelerators", "name", CHIP)["bf16_flops"].item()
    # What is left never pays where a new chip takes more power than the old.
    return _flat(np.asarray(flops / usd * capacity / np.maximum(left, 1e-3)))


def _indifferent(world: Outlook) -> Line:
    return _flat(
        np.asarray(
            chips.memory_indifference(
                uncertain("p_DDR5"), uncertain("tau_HBM"), uncertain("c_stack")
            )
        )
    )


def _entry(world: Outlook) -> Line:
    costs = world.run.long_run_usd_per_hour
    return _path(NOW + 1.0, costs[:, 0], costs[:, -1], len(outlook.YEARS) - 1.0)


def _owned(world: Outlook) -> Line:
    return _flat(np.asarray(cloud.breakeven_utilization(seen_rent(), uncertain("tco_H100_n"))))


def _self_hosted(world: Outlook) -> Line:
    """Price of a blended million tokens, three in to one out, below which own machines cost more.

    Of the model that sets the price of its level, on rented machines as busy as a startup's.
    """
    tokens = served("gpt-oss 120B", 3072.0, 1024.0)
    # Own machines get cheaper too, and so do models: of what training spares half is in each token.
    models = 2 ** (6 / uncertain("T_alg"))
    return Line(NOW + 0.5, tokens.usd_per_mtok / 4, 10 ** -uncertain("g_pp") / models)


def _twice(world: Outlook) -> Line:
    """Tokens a second of a user at which a machine puts out half of what it does at `SLOW`."""
    layout, cluster = inputs.served(inputs.architecture("DeepSeek V3"), CHIP, "FP8", 1.0)
    efficiency = inputs.serving_efficiency("Blackwell", "FP8", "")
    traffic = serving.Traffic(8192.0, 1024.0, *map(facts.central, ("h_c", "a_sd")))
    speeds = SLOW * 1.25 ** np.arange(14.0)
    options = serving.plans(layout, cluster, 64)
    front = serving.frontier(layout, cluster, efficiency, traffic, speeds, options, apart=False)
    share = front.output_per_s / front.output_per_s[0]
    share = np.where(np.isfinite(share), share, 0.0)
    speed = float(np.exp(np.interp(-0.5, -share, np.log(speeds))))
    error = inputs.serving_errors("tpot", "closed loop, mixture of experts")
    ends = sorted((speed / error["high"], speed, speed / error["low"]))
    return _flat(spread("speed at twice the cost", *ends))


def _third(world: Outlook) -> Line:
    """Cost of a final run whose research takes a year's capital outlays of the third largest."""
    rows = facts.table("financials").filter(
        pl.col("company").is_in(series.FIVE), pl.col("segment") == "total"
    )
    quarters = rows.drop_nulls("capex_usd").sort("company", "calendar_quarter").collect()
    last = quarters.group_by("company", maintain_order=True).agg(pl.col("capex_usd").tail(4).sum())
    third = float(last["capex_usd"].sort(descending=True)[2])
    levels = uncertain("phi_final") * third
    return Line(NOW, levels, pace("capex"))


def _unbound(world: Outlook) -> Line:
    """New power that what all other limits allow would take in a year [GW]."""
    at, start = outlook.LIMITS.index("power"), world.world
    others = np.delete(world.run.limits, at, axis=2).min(axis=2)
    time = np.arange(float(len(outlook.YEARS)))
    energised = start.limits[:, at, None] * start.limit_growth[:, at, None] ** time
    left = world.run.limits[:, :, at] - energised  # by old machines
    least = np.minimum(others, world.run.ordered) - left
    # Where nothing is ordered, what was the least before.
    least = np.maximum.accumulate(np.maximum(least, 1.0), axis=1)
    kw = world.world.kw[:, -1:] * world.power_use
    gw = least * kw / 1e6
    return _path(NOW + 0.5, gw[:, 0], gw[:, -1], len(outlook.YEARS) - 1.0)


def _minority(world: Outlook) -> Line:
    """Share of chips that clouds keep at which Nvidia's is half, as it is of merchants' now."""
    made = series.made().filter(pl.col("year") > NOW - 1)
    shares = []
    for _, firms in made.group_by("year", maintain_order=True):
        nvidia = float(firms.filter(designer="Nvidia")["h100e"].sum())
        kept = float(firms["own"].sum())
        shares.append(1 - 0.5 * (float(firms["h100e"].sum()) - kept) / nvidia)
    last = shares[-1]
    return _flat(spread("half of additions", 0.999 * min(shares), last, 1.001 * max(shares)))


def _concentrated(world: Outlook) -> Line:
    return _flat(np.full(1, facts.central("HHI_hi")))


def _equal(world: Outlook) -> Line:
    return _flat(np.ceil(market.effective_firms(np.full(1, facts.central("HHI_hi")))))


CLOUDS, BUYERS, MAKERS, STATE = "clouds and investors", "who buys AI", "makers", "regulators"
ITEMS = {
    "price-performance": Watch(
        "price-performance",
        "a new chip costs less than an H100's site and power",
        CLOUDS,
        True,
        _replaced,
    ),
    "HBM price": Watch(
        "HBM price",
        "makers of memory earn more with HBM than with DDR5 at its price of mid-2026",
        MAKERS,
        True,
        _indifferent,
    ),
    "H100 rent": Watch("H100 rent", "rents no longer pay new systems", CLOUDS, False, _entry),
    "utilization": Watch(
        "utilization", "at today's rent, owning an H100 beats renting it", BUYERS, True, _owned
    ),
    "token price": Watch(
        "token price, o1-mini level",
        "own weights on rented machines cost more than an API",
        BUYERS,
        False,
        _self_hosted,
    ),
    "output speed": Watch(
        "output speed", "a token costs twice that at reading speed", BUYERS, True, _twice
    ),
    "training cost": Watch(
        "training cost",
        "no third firm's capital outlays, all of them, pay for the largest runs",
        STATE,
        True,
        _third,
    ),
    "power energised": Watch(
        POWER, "power is no longer what limits additions", CLOUDS, True, _unbound
    ),
    "own silicon": Watch(
        "own silicon", "Nvidia makes less than half of what is added", MAKERS, True, _minority
    ),
    "clouds of a lab": Watch(
        "clouds of a lab", "a lab's purchases are not concentrated, if even", BUYERS, True, _equal
    ),
    "HHI, cloud": Watch(
        "HHI, cloud",
        "a merger that adds 100 points is presumed unlawful",
        STATE,
        True,
        _concentrated,
    ),
    **{
        f"HHI, {layer}": Watch(
            f"HHI, {layer}", "that presumption falls away", STATE, False, _concentrated
        )
        for layer in ("accelerators", "memory", "foundry")
    },
}
