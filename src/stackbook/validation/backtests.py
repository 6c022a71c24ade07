"""Natural experiments: what the model says from inputs of before, beside what was seen.

No number here is set by the outcome of its event. Rows of table `natural_experiments` are what
was seen; those whose outcome is also an input are marked as used, and prove nothing.
"""

from collections.abc import Callable
from datetime import date
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from stackbook import facts, profiles
from stackbook.kernels import chips, fleet, market, switching
from stackbook.kernels.chain import anatomy

from .stack import BILLS, dearer

MI355X_USD, MI355X_MEMORY = BILLS["MI355X"]

ZERO = 0.01  # a change of less has no sign, as in table `natural_experiments`
FACTOR = 3.0  # up to which two changes are of one order of size


class Change(NamedTuple):
    """A relative change, or a difference of shares or margins [1]."""

    low: float
    central: float
    high: float

    @property
    def sign(self) -> int:
        """Of the central value; 0 below a hundredth."""
        return 0 if abs(self.central) < ZERO else 1 if self.central > 0 else -1


class Backtest(NamedTuple):
    """What the model says of a quantity, and what was seen."""

    event: str
    quantity: str
    model: str
    """What of the model answers, in words."""
    ours: Change
    observed: Change
    when: str
    why: str
    """Of a failure: what the model lacks; blank where there is none."""
    used: bool
    """Whether what was seen is an input as well."""
    source: str

    @property
    def sign_right(self) -> bool:
        """Both up, both down, or both neither."""
        return self.ours.sign == self.observed.sign

    @property
    def order_right(self) -> bool:
        """Within a factor of three of each other, with the same sign, or both none."""
        if not self.sign_right or self.ours.sign == 0:
            return self.sign_right
        return 1 / FACTOR <= self.ours.central / self.observed.central <= FACTOR

    @property
    def within(self) -> bool:
        """Whether the two ranges meet."""
        ours, seen = self.ours, self.observed
        return ours.low <= seen.high + ZERO and seen.low - ZERO <= ours.high

    @property
    def right(self) -> bool:
        """In sign, order of size and range."""
        return self.sign_right and self.order_right and self.within


def row(**where: Any) -> dict[str, Any]:
    """The one row of table `natural_experiments` of that, without what better sources deny."""
    rows = facts.table("natural_experiments").filter(pl.col("confidence") != "low", **where)
    (found,) = rows.collect().to_dicts()
    return dict(found)


def _spread(values: list[float]) -> Change:
    """The first is central."""
    return Change(min(values), values[0], max(values))


# --- End of exclusivity ---


def list_price() -> Change:
    """A lab whose price is a markup on its costs and on the share of who bills.

    The share of one more dollar stays at 20% until the cap binds; the average share falls.
    """
    payments = row(quantity="payments of OpenAI to Microsoft to 2030")
    share = facts.central("tau_MS")
    average = share * payments["after"] / payments["before"]

    def price(royalty: float) -> float:
        chain = profiles.chain(profiles.REFERENCE, terms={"royalty": royalty}, draws=1)
        return float(anatomy(chain).price_usd[0])

    return _spread([0.0, price(average) / price(share) - 1])


def bedrock_price() -> Change:
    """The second channel adds its margin, as where it sells another lab's models."""
    rows = facts.table("profile_terms").filter(profile="Enterprise through an API")
    margins = rows.filter(symbol="royalty").collect().row(0, named=True)
    return Change(*(1 / (1 - margins[end]) - 1 for end in ("low", "central", "high")))


def microsoft_share() -> Change:
    """Old contracts stay; new ones go where all customers of clouds are.

    The lab's compute tripled in 2024; among three sellers, or among all.
    """
    before = row(quantity="share of Microsoft in OpenAI's announced compute contracts")["before"]
    rows = facts.table("market_shares").filter(
        market="cloud infrastructure services", period="2025Q3", source="synergy-cloud-share"
    )
    shares = dict(rows.select("company", "share").collect().iter_rows())
    three = sum(shares[each] for each in ("Amazon", "Google", "Microsoft"))
    power = facts.table("observations").filter(subject="OpenAI", measure="compute_power")
    by_year = dict(power.select("period", "central").collect().iter_rows())
    arriving = 1 - (by_year["2023"] / by_year["2024"]) ** 0.5  # of half a year
    customers = switching.Customers(np.inf, 1.0, 1.0, 0.0, arriving)

    def after(share: float) -> float:
        worth = 100 + np.log([share, 1 - share])  # what makes newcomers choose by these shares
        path = switching.over_time([before, 1 - before], worth, [[0.0, 0.0]], customers)
        return float(path.shares[1, 0]) - float(before)

    return _spread([after(shares["Microsoft"] / three), after(shares["Microsoft"])])


def azure_growth() -> Change:
    """Customers who leave in the two months after: as of clouds, or as of models."""
    part = 2 / 12
    return _spread([-facts.central("s_sw") * part, -facts.central("s_swL") * part])


# --- AWS prices ---


@cache
def stock() -> dict[date, float]:
    rows = (
        facts.table("compute_owned")
        .filter(owner="All")
        .group_by("quarter_end", maintain_order=True)
    )
    return dict(rows.agg(pl.sum("h100e")).collect().iter_rows())


def elasticities() -> list[float]:
    one = facts.parameter("eps")
    return [float(x) for x in (one.central, one.low or one.central, one.high or one.central)]


def rent_change(
    seen: tuple[date, float], last: tuple[date, float], fleet_then: float, years: float
) -> Change:
    """Rent that clears a fleet already on order, if demand grows on as between two readings."""
    end, last_usd = last
    span = (end - seen[0]).days / 365.25
    found = []
    for elasticity in elasticities():
        demand = [
            float(fleet.implied_demand(stock()[day], usd, last_usd, elasticity))
            for day, usd in (seen, last)
        ]
        wanted = demand[1] * (demand[1] / demand[0]) ** (years / span)
        rent = fleet.clearing_rent(fleet_then, wanted, last_usd, elasticity, 0.0)
        found.append(float(rent) / last_usd - 1)
    return _spread(found)


def rent(provider: str, accelerator: str, month: str) -> float:
    """The dearest offer of the month, of those that differ in how the chip is connected."""
    rows = facts.table("rental_prices").filter(
        pl.col("commitment") == "on-demand",
        provider=provider,
        accelerator=accelerator,
        month=month,
    )
    return float(rows.select(pl.max("usd_per_hour")).collect().item())


def rents_of_2025(months: int) -> Change:
    """From March 2025 on: RunPod's rents, and the fleet of orders of before, as it came."""
    readings = (
        (date(2024, 6, 30), rent("RunPod", "H100 SXM", "2024-07")),
        (date(2025, 3, 31), rent("RunPod", "H100 SXM", "2025-03")),
    )
    day = {3: date(2025, 6, 30), 9: date(2025, 12, 31)}[months]
    return rent_change(*readings, stock()[day], months / 12)


def rents_of_2026() -> Change:
    """The quarter from December 2025 on, if as many accelerators come as in the one before."""
    days = date(2025, 9, 30), date(2025, 12, 31)
    index = [rent("compute-screener index", "H100 SXM", m) for m in ("2025-10", "2025-12")]
    before, now = (stock()[day] for day in days)
    return rent_change((days[0], index[0]), (days[1], index[1]), 2 * now - before, 0.25)


# --- HBM price ---


def memory_usd() -> float:
    """By which a B200 costs more."""
    return 0.2 * facts.central("c_hbm_B200")


def b200_cost() -> Change:
    cost, memory = facts.central("c_B200"), facts.central("c_hbm_B200")
    return _spread([dearer(cost - memory, memory + memory_usd()) / cost - 1])


def merchant_margin(price: str, cost_usd: float, rise_usd: float) -> Change:
    """Margins of the chain are shares of a price, so that none changes; low: all is absorbed."""
    usd = facts.central(price)
    return _spread([0.0, chips.margin(usd, cost_usd + rise_usd) - chips.margin(usd, cost_usd)])


def rent_by_cost() -> Change:
    """What a dearer chip does to the rent of a new server, all margins along the way kept."""
    terms = profiles.profile(profiles.REFERENCE).terms
    memory, chip = terms["memory_usd"].central, terms["chip_usd"].central
    raised = {
        "memory_usd": memory * 1.2,
        "chip_usd": chip * (1 + memory_usd() / facts.central("c_B200")),
    }
    return _spread([hour(raised) / hour({}) - 1, 0.0])


def hour(terms: dict[str, float]) -> float:
    chain = profiles.chain(profiles.REFERENCE, terms=terms, draws=1)
    return float(profiles.cost(chain, "cloud")[0])


def token_price_by_cost() -> Change:
    """The same down to the customer, its margin kept; low: the market makes the price."""
    return _spread([0.0, rent_by_cost().high * share_of_rent()])


def share_of_rent() -> float:
    """What the lab pays for machines over what customers pay."""
    paid = profiles.cost(profiles.chain(profiles.REFERENCE, draws=1))
    return float(paid[0] / profiles.billed(1)[0])


def micron_margin() -> Change:
    """If all that it sells were dearer by 20%, at the same cost; low: none of it is HBM."""
    before = row(quantity="gross margin of Micron", date_after="2026Q2")["before"]
    return _spread([chips.margin(1.2, 1 - before) - before, 0.0])


# --- TPU opened ---


@cache
def concession() -> Change:
    """Of what a lab pays for an hour of Nvidia's chips, once it can rent TPUs.

    The weight follows from price, cost and worth of before; the option from the TPU's own cost
    and what its cloud keeps, at each end of what a TPU does.
    """
    whole = profiles.chain(profiles.REFERENCE, draws=1)
    paid = anatomy(profiles.until(whole, "model"))
    price = float(paid.price_usd[0])
    cost = price - float(paid.usd[:, 3, 0].sum())
    worth = float(profiles.billed(1)[0]) * (1 - facts.central("tau_MS"))
    weight = market.bargaining_weight(price, cost, worth, 0.0)
    eta = facts.parameter("eta_TPU")
    found = []
    for value in (eta.central, eta.low, eta.high):
        rented = profiles.chain("Anthropic on TPU", terms={"eta": float(value or 0)}, draws=1)
        tpu = float(profiles.cost(rented)[0])
        option = min(max(worth - tpu, 0.0), worth - cost)  # below its cost nobody sells
        found.append(-float(market.concession(cost, worth, 0.0, option, weight)) / price)
    return _spread(found)


def nvidia_margin() -> Change:
    """The concession on the lab's part of all Nvidia's chips: its power at the end of 2025."""
    before = row(quantity="gross margin of Nvidia", date_before="2025Q3")["before"]
    power = facts.table("observations").filter(subject="OpenAI", measure="compute_power")
    gw = dict(power.select("period", "central").collect().iter_rows())["2025"]
    made = facts.table("chips_made").filter(designer="Nvidia", quarter_end=date(2025, 9, 30))
    share = gw / float(made.select(pl.sum("power_mw")).collect().item()) * 1e3
    found = [
        chips.margin(1 + part * share, 1 - before) - before
        for part in (concession().central, concession().low, concession().high)
    ]
    return _spread(found)


def share_sold() -> Change:
    """Of two quarters, which orders of before decide, whatever buyers want now and chips cost."""
    demand = fleet.Demand(1e6, 2.0, facts.central("eps"), 1.0, 1.0)
    supply = fleet.Supply(
        *(50_000.0, 0.0, 0.35, 0.0, 0.0, 0.95, 0.1, 5.0),
        lead_years=facts.central("tau_own") / 12,
        multiple=1.0,
    )
    added = [
        fleet.fleet_path(each, supply, 1e6, [2e5, 2e5], 8, 4, 1, 0).additions[0, :2].sum()
        for each in (demand, demand._replace(wanted=0.8e6))
    ]
    return _spread([float(added[1] / added[0]) - 1])


# --- H20 licence ---


def quarter(company: str, name: str) -> dict[str, float]:
    rows = facts.table("financials").filter(company=company, segment="total", calendar_quarter=name)
    return dict(rows.select("revenue_usd", "gross_margin").collect().to_dicts()[0])


def h20_revenue() -> Change:
    """The rule forbids the sale."""
    return Change(-1.0, -1.0, -1.0)


def nvidia_revenue() -> Change:
    """All else grows on as in the quarter before; high: packaging makes other chips at once."""
    lost = row(quantity="revenue of H20 in China")["before"]
    now, past = (quarter("Nvidia", each)["revenue_usd"] for each in ("2025Q1", "2024Q4"))
    growth = now / past
    return _spread([(now - lost) * growth / now - 1, growth - 1])


def write_off(company: str, quarter_before: str, charge_usd: float) -> Change:
    """Stock that can no longer be sold, as announced, over the revenue of the quarter before."""
    return _spread([-charge_usd / quarter(company, quarter_before)["revenue_usd"]])


def nvidia_margin_back() -> Change:
    """Of the quarter after: the charge is not repeated."""
    booked = row(quantity="charge of Nvidia for H20")["after"]
    return _spread([booked / quarter("Nvidia", "2025Q1")["revenue_usd"]])


def china_share() -> Change:
    """A quarter of the year's sales was made before; low: rivals make up for all that is gone."""
    before = row(quantity="share of Nvidia in China's accelerator market", date_after="2025")
    old = before["before"]
    sold = old / 4
    return _spread([sold / (sold + 1 - old) - old, sold - old])


class _Asked(NamedTuple):
    """How a row is answered."""

    where: dict[str, str]
    model: str
    answer: Callable[[], Change]
    why: str = ""
    used: bool = False


LISTS = "a list for customers who are locked in does not follow the market, nor tell when it will"
SCARCE = "scarcity raised rents before dearer chips came; the clearing rent, not the cost, moved"

_ASKED = [
    _Asked(
        {"quantity": "AWS, H100 on demand", "date_after": "2025-06"},
        "clearing rent of a fleet on order, a quarter ahead",
        lambda: rents_of_2025(3),
        "a list four times the market's came down towards it at once; the clearing rent moved less",
    ),
    _Asked(
        {"quantity": "Azure, H100 NVL on demand"},
        "clearing rent of a fleet on order, to the end of 2025",
        lambda: rents_of_2025(9),
        LISTS,
    ),
    _Asked(
        {"quantity": "RunPod, H100 on demand"},
        "clearing rent of a fleet on order, to the end of 2025",
        lambda: rents_of_2025(9),
    ),
    _Asked(
        {"quantity": "AWS, H200 capacity block (p5e)", "date_after": "2026-01"},
        "clearing rent, demand as from October to December 2025, a quarter ahead",
        rents_of_2026,
        "demand sped up more than it had in the quarter before",
    ),
    _Asked(
        {"quantity": "one-year contracts, H100", "date_after": "2026-03"},
        "clearing rent, demand as from October to December 2025, a quarter ahead",
        rents_of_2026,
        "as for the blocks; contracts had also fallen further than lists before",
    ),
    _Asked(
        {"quantity": "revenue of H20 in China"},
        "supply cut",
        h20_revenue,
        used=True,
    ),
    _Asked(
        {"quantity": "revenue of Nvidia"},
        "supply cut, all else grows as before",
        nvidia_revenue,
        "what else it makes grew faster than before, and took up what H20 left free",
    ),
    _Asked(
        {"quantity": "gross margin of Nvidia", "date_before": "2024Q4"},
        "supply cut: stock written off, as announced in April",
        lambda: write_off("Nvidia", "2024Q4", row(quantity="charge of Nvidia for H20")["before"]),
        "4.5 of the 5.5 bn USD were booked in the end, on more revenue; other costs rose",
    ),
    _Asked(
        {"quantity": "gross margin of Nvidia", "date_before": "2025Q1"},
        "supply cut: a charge comes once",
        nvidia_margin_back,
        "a new generation's costs of beginning, in the margin of before, went away as well",
    ),
    _Asked(
        {"quantity": "gross margin of AMD", "date_before": "2025Q1"},
        "supply cut: stock written off, as announced in April (0.8 bn USD)",
        lambda: write_off("AMD", "2025Q1", 0.8e9),
    ),
    _Asked(
        {
            "quantity": "share of Nvidia in China's accelerator market",
            "date_before": "2024",
            "date_after": "2025",
        },
        "supply cut: a quarter's sales remain, rivals cannot make more",
        china_share,
        "what was stocked and licensed before went on being sold and counted",
    ),
    _Asked({"quantity": "cost of making B200"}, "sum of parts", b200_cost, used=True),
    _Asked(
        {"quantity": "gross margin of Nvidia", "date_before": "2026Q1"},
        "price recursion: margins are shares of the price",
        lambda: merchant_margin("p_B200", facts.central("c_B200"), memory_usd()),
    ),
    _Asked(
        {"quantity": "gross margin of AMD", "date_before": "2026Q1"},
        "price recursion: margins are shares of the price",
        lambda: merchant_margin("p_MI355X", MI355X_USD, 0.2 * MI355X_MEMORY * MI355X_USD),
    ),
    _Asked(
        {"quantity": "gross margin of Micron", "date_before": "2026Q1"},
        "price of memory up by 20% at the same cost",
        micron_margin,
        "plain DRAM, most of what it sells, rose far more than HBM",
    ),
    _Asked(
        {"quantity": "neoclouds, B200"},
        "price recursion: cost of the chip to the rent of a new one",
        rent_by_cost,
        SCARCE,
    ),
    _Asked(
        {"quantity": "neoclouds, H100"},
        "price recursion: chips bought before cost the same",
        lambda: Change(0.0, 0.0, 0.0),
        SCARCE,
    ),
    _Asked(
        {"event": "HBM price", "quantity": "list price of OpenAI's flagship, output"},
        "price recursion to the token; the market makes the lab's price",
        token_price_by_cost,
    ),
    _Asked(
        {"event": "HBM price", "quantity": "list price of DeepSeek V4 Pro, output"},
        "price recursion to the token; the market makes the lab's price",
        token_price_by_cost,
        "rivals and software set this price: a discount of the launch stayed",
    ),
    _Asked(
        {"quantity": "cost of OpenAI's Nvidia fleet"},
        "bargaining: weight of before, a TPU as the outside option",
        concession,
        "TPUs for outsiders are few: the threat covers a part of the fleet, ours all of it",
    ),
    _Asked(
        {"event": "TPU opened", "quantity": "gross margin of Nvidia"},
        "bargaining: that concession on the lab's part of Nvidia's chips",
        nvidia_margin,
        "terms came as equity, which revenue does not show, while a new generation ramped up",
    ),
    _Asked(
        {"quantity": "share of Nvidia in compute sold in the quarter"},
        "lead time: orders of before decide two quarters",
        share_sold,
    ),
    _Asked(
        {"quantity": "share of Google in compute sold in the quarter"},
        "lead time: orders of before decide two quarters",
        share_sold,
    ),
    _Asked(
        {
            "event": "end of exclusivity",
            "quantity": "list price of OpenAI's flagship, output",
            "date_after": "2026-07-09",
        },
        "price recursion: a cap that does not bind leaves the share of one more dollar",
        list_price,
    ),
    _Asked(
        {"quantity": "GPT-5.5 output, price on Bedrock over OpenAI"},
        "successive margins: the channel adds its own",
        bedrock_price,
        "a channel's margin is bargained: here a part is in the price, and the lab bears the rest",
    ),
    _Asked(
        {"quantity": "share of Microsoft in OpenAI's announced compute contracts"},
        "choice of clouds: old contracts stay, new ones go by the market's shares",
        microsoft_share,
    ),
    _Asked(
        {"quantity": "growth of Intelligent Cloud over the year before"},
        "switching: who leaves within two months",
        azure_growth,
        "the whole market sped up, most of all a rival that sells no OpenAI model",
    ),
]


def results() -> list[Backtest]:
    """All back-tests, by event."""
    found = [_result(each) for each in _ASKED]
    return sorted(found, key=lambda one: one.event)


def _result(asked: _Asked) -> Backtest:
    seen = row(**asked.where)
    low, high = (seen["change"] if seen[end] is None else seen[end] for end in ("low", "high"))
    return Backtest(
        event=seen["event"],
        quantity=seen["quantity"],
        model=asked.model,
        ours=asked.answer(),
        observed=Change(low, seen["change"], high),
        when=f"{seen['date_before']} to {seen['date_after']}",
        why=asked.why,
        used=asked.used,
        source=seen["source"],
    )
