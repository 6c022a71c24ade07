"""Profiles: who owns which layer, on what terms, as the chain of `kernels.chain` takes them.

The unit of service is what an accelerator of the reference, a GB200, does in an hour of a large
lab. Each layer's price is a fact; its own costs are what inputs, capital and the rent in its
companies' accounts leave of it, so that the market pays the price whoever the owner.
"""

from collections.abc import Mapping
from functools import cache
from math import inf
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from stackbook import StackbookError, facts, inputs, nearest
from stackbook.inputs import DRAWS, Draws, drawn, uncertain
from stackbook.kernels.capital import annuity, book_life
from stackbook.kernels.chain import Chain, Layer, Link, anatomy
from stackbook.kernels.datacenter import HOURS_PER_YEAR
from stackbook.kernels.uncertainty import Z95

LAYERS = {  # upstream first, and the colour that each has in charts
    "energy": "energy and site",
    "foundry": "foundry",
    "memory": "memory",
    "chip supply": "accelerator design",
    "accelerator": "accelerator design",
    "network": "system and network",
    "server": "system and network",
    "data center": "data center",
    "cloud": "cloud",
    "model": "model",
    "platform": "platform",
}
AT = {name: number for number, name in enumerate(LAYERS)}
SELLER = AT["model"]
WORDS = {  # what a term or parameter of a chain is called in a chart
    "chip_other_usd": "other parts of a chip",
    "chip_usd": "price of the accelerator",
    "cloud_margin": "rent of the cloud",
    "cloud_utilization": "hours that the cloud sells",
    "discount": "discount on the chip",
    "eta": "output of a chip",
    "kw": "power of a chip",
    "lab_utilization": "hours that the lab uses",
    "life_it": "life of servers",
    "life_site": "life of the site",
    "memory_usd": "price of memory",
    "network_usd": "price of the network",
    "om_IT": "running the servers",
    "p_e25": "price of electricity",
    "package_usd": "price of silicon",
    "programme_usd": "chip programme",
    "r_chain": "suppliers' cost of capital",
    "rate_it": "rate on servers",
    "rate_site": "rate on the site",
    "royalty": "royalty",
    "server_usd": "price of the server",
    "site_usd": "price of the site",
    "u_P": "power drawn",
}
SHARED = "r_chain", "p_e25", "u_P", "om_IT"  # parameters that all profiles take
REFERENCE = "OpenAI on Oracle"  # whose rent and revenue say what the service is billed at


class Profile(NamedTuple):
    """A way to own the chain."""

    name: str
    owners: dict[str, str]
    """Who owns each layer."""
    accelerator: str
    terms: dict[str, facts.Uncertain]
    """By symbol; see table `profile_terms`."""


class Accounts(NamedTuple):
    """What of a dollar of revenue companies of a layer report, and the capital behind it [1]."""

    operating_income: float
    depreciation: float
    capital: float


@cache
def names() -> tuple[str, ...]:
    """The profiles of table `profiles`, in alphabetical order."""
    known = facts.table("profiles").select("profile").collect()["profile"].unique()
    return tuple(sorted(known))


@cache
def profile(name: str) -> Profile:
    """The profile `name`; StackbookError where there is none."""
    rows = facts.rows("profiles", "profile", name, "profile").to_dicts()
    terms = facts.table("profile_terms").filter(profile=name).collect().to_dicts()
    return Profile(
        name,
        {row["layer"]: row["owner"] for row in rows},
        next(row["accelerator"] for row in rows if row["accelerator"]),
        {row["symbol"]: _uncertain(row) for row in terms},
    )


def terms(name: str) -> dict[str, facts.Uncertain]:
    """The terms of a profile, by the name of their draws in `chain`."""
    return {_name(row): row for row in profile(name).terms.values()}


def uncertain_terms(name: str) -> dict[str, facts.Uncertain]:
    """Those terms of a profile that have a range."""
    return {key: row for key, row in terms(name).items() if row.low != row.high}


@cache
def accounts(layer: str, owner: str = "") -> Accounts:
    """Means over companies of a layer, each of its last year that tells; an owner's alone if any.

    Income and depreciation are of one year; capital, over that year's revenue, may be of another.
    """
    rows = facts.rows("layer_accounts", "layer", layer, "layer").sort("period")

    def mean(column: str) -> float:
        share = (pl.col(column) / pl.col("revenue_usd")).drop_nulls()
        by = rows.group_by("company", "owner", maintain_order=True).agg(share.last()).drop_nulls()
        own = by.filter(owner=owner)
        return float(np.mean((own if own.height else by)[column].to_numpy()))

    return Accounts(*map(mean, ("operating_income_usd", "depreciation_usd", "capital_usd")))


def company(name: str, symbol: str, draws: Draws = DRAWS) -> NDArray[np.float64]:
    """A number of a company, of table `profile_terms`, with its draws."""
    rows = facts.table("profile_terms").filter(profile=name, symbol=symbol).collect()
    return _drawn(_uncertain(rows.row(0, named=True)), None, draws)


def chain(
    name: str,
    *,
    owners: Mapping[str, str] | None = None,
    terms: Mapping[str, float] | None = None,
    research: Any = 0.0,
    other_usd: Any = 0.0,
    draws: Draws = DRAWS,
) -> Chain:
    """The chain of profile `name`, from energy to the platform that bills.

    `owners` by layer and `terms` by symbol take the place of the profile's; `research` is compute
    beside that of serving, over it, and `other_usd` what else the model's owner spends on a unit.
    StackbookError for layers and symbols that are not there.
    """
    base = profile(name)
    owners = {**base.owners, **_known(owners or {}, LAYERS, "layer")}
    given = _known(terms or {}, base.terms, "term")
    t = {s: _drawn(row, given.get(s), draws) for s, row in base.terms.items()}
    upstream = uncertain("r_chain", draws=draws)
    merchant = owners["chip supply"] == owners["accelerator"]

    def priced(layer: str, usd: Any, bought: Any = 0.0, of: Any = None, rate: Any = None) -> Layer:
        """A layer whose price is what it adds and its inputs, of which its accounts tell.

        They are of revenue `of`, the whole price if None.
        """
        price = usd + bought
        seen, revenue = accounts(layer, owners[layer]), price if of is None else of
        rate = upstream if rate is None else rate
        years = book_life(rate, seen.capital / seen.depreciation)
        held = seen.depreciation * revenue * years
        charge = held * annuity(rate, years)
        rent = (seen.operating_income - rate * seen.capital) * revenue
        own = np.maximum(usd - rent - charge, 0.0)
        kept = price - (own + charge + bought)
        return Layer(
            own,
            capital_usd=held,
            rate=rate,
            years=years,
            margin=np.divide(kept, price, out=np.zeros_like(kept), where=kept != 0),
        )

    energy = accounts("energy")  # what regulators let it earn is its normal return
    chip_usd, parts = t["chip_usd"] * (1 - t["discount"]), t["package_usd"] + t["memory_usd"]
    if merchant:
        bought = parts + t["chip_other_usd"]
        supply = Layer(t["chip_other_usd"])
        accelerator = priced("accelerator", chip_usd - bought, bought)
        network = priced("network", t["network_usd"])
        server = priced("server", t["server_usd"], chip_usd)
        if owners["server"] == owners["accelerator"]:  # sells at one price what it buys at cost
            kept = accelerator.margin * chip_usd / (chip_usd + t["server_usd"])
            server = server._replace(margin=server.margin + kept)
    else:
        supply = priced("chip supply", chip_usd - parts, parts)
        accelerator = Layer(0.0, t["programme_usd"])
        chip_usd = chip_usd + t["programme_usd"]
        network = Layer(t["network_usd"])  # of the owner's design: what its makers are paid
        server = priced("server", t["server_usd"], chip_usd, of=t["server_usd"])
    it_usd = chip_usd + t["server_usd"] + t["network_usd"]
    layers = {
        "energy": priced(
            "energy", uncertain("p_e25", draws=draws), rate=energy.operating_income / energy.capital
        ),
        "foundry": priced("foundry", t["package_usd"]),
        "memory": priced("memory", t["memory_usd"]),
        "chip supply": supply,
        "accelerator": accelerator,
        "network": network,
        "server": server,
        "data center": Layer(
            *(0.0, 0.0, t["site_usd"] / t["kw"], t["rate_site"], t["life_site"]),
        ),
        "cloud": Layer(
            uncertain("om_IT", draws=draws) * it_usd / HOURS_PER_YEAR,
            rate=t["rate_it"],
            years=t["life_it"],
            utilization=t["cloud_utilization"],
            margin=t["cloud_margin"],
        ),
        "model": Layer(other_usd * t["lab_utilization"], utilization=t["lab_utilization"]),
        "platform": Layer(0.0, margin=t["royalty"]),
    }
    served = 1 / t["eta"]
    links = (
        _link("foundry", "chip supply", 1.0),
        _link("memory", "chip supply", 1.0),
        _link("chip supply", "accelerator", 1.0),
        _link("accelerator", "server", 1.0),
        _link("energy", "cloud", t["kw"] * uncertain("u_P", draws=draws)),
        _link("network", "cloud", 1 / HOURS_PER_YEAR, True),
        _link("server", "cloud", 1 / HOURS_PER_YEAR, True),
        _link("data center", "cloud", t["kw"] / HOURS_PER_YEAR),
        _link("cloud", "model", served * (1 + research)),
        _link("model", "platform", 1.0),
    )
    return Chain(tuple(layers.values()), links, tuple(owners[layer] for layer in LAYERS))


def until(whole: Chain, layer: str) -> Chain:
    """The chain down to `layer`, which then sells at cost: what its owner pays for a unit."""
    count = AT[layer] + 1
    layers = (*whole.layers[: count - 1], whole.layers[count - 1]._replace(margin=0.0))
    links = tuple(link for link in whole.links if link.target < count)
    return Chain(layers, links, whole.owners[:count])


def cost(whole: Chain, layer: str = "model") -> NDArray[np.float64]:
    """What a unit of its output costs the owner of a layer [USD]."""
    return anatomy(until(whole, layer)).price_usd


def changed(whole: Chain, **layers: Mapping[str, Any]) -> Chain:
    """The chain with other numbers in some layers, in whose names _ may stand for a space."""
    new = list(whole.layers)
    for name, numbers in layers.items():
        at = AT[name.replace("_", " ")]
        new[at] = new[at]._replace(**numbers)
    return whole._replace(layers=tuple(new))


def billed(draws: Draws = DRAWS) -> NDArray[np.float64]:
    """What customers pay for a unit of service [USD].

    Revenue over what serving cost of the one lab of which both are told, times the rent of the
    reference profile.
    """
    paid = cost(chain(REFERENCE, draws=draws))
    return np.multiply(paid, company("OpenAI", "revenue_over_inference", draws))


def _link(source: str, target: str, units: Any, durable: bool = False) -> Link:
    return Link(AT[source], AT[target], units, durable)


def _uncertain(row: dict[str, Any]) -> facts.Uncertain:
    return facts.Uncertain(**{field: row[field] for field in facts.Uncertain._fields})


def _drawn(
    row: facts.Uncertain, value: float | None = None, draws: Draws = DRAWS
) -> NDArray[np.float64]:
    """Equal rows of two profiles are one fact, and have the same draws."""
    if value is not None and row.share and not 0 <= value <= 1:
        raise StackbookError(f"{row.symbol} = {value:g}: give 0 to 1, as it is a share")
    if isinstance(draws, Mapping):
        return drawn(row, _name(row), value, draws)
    return at_scores(row, inputs.scores(_name(row), draws), value)


def at_scores(
    row: facts.Uncertain, scores: NDArray[np.float64], value: float | None = None
) -> NDArray[np.float64]:
    """As that of `inputs`, also of a term that is central at 0 or may be as high as 1."""
    if row.central == 0:  # nothing that a range could be in proportion to: half of it lies there
        over = 0.0 if value else (row.high or 0.0) / Z95
        most = 1.0 if row.share else inf
        return np.asarray((value or 0.0) + np.clip(over * scores, 0.0, most))
    if row.share and row.high == 1:  # its odds have no end
        whole = inputs.at_scores(row._replace(share=False), scores, value)
        return np.asarray(np.minimum(whole, 1.0))
    return inputs.at_scores(row, scores, value)


def _name(row: facts.Uncertain) -> str:
    return f"{row.symbol} {row.low} {row.central} {row.high}"


def _known(given: Mapping[str, Any], known: Mapping[str, Any], what: str) -> dict[str, Any]:
    for name in given:
        if name not in known:
            raise StackbookError(
                f"no {what} {name!r}{nearest(name, known)}; they are {', '.join(known)}"
            )
    return dict(given)
