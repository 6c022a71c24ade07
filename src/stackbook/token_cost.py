"""What a million tokens cost through the whole chain, as a function of all that is uncertain in it.

Two ways to own the chain serve the same traffic, and share the facts that they share. Draws are
made together, a row an input, so that `kernels.sensitivity` can tell which inputs decide. Some
years ahead, the trends of what goes in are uncertain too.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import cache, cached_property, partial
from math import sqrt
from threading import local
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stackbook import facts, inputs, outlook, profiles, series
from stackbook.kernels import serving
from stackbook.kernels.chain import anatomy
from stackbook.kernels.sampling import BLOCK

Floats = NDArray[np.float64]
LAYER = {  # whose price or decision an input is, as `charts.LAYERS` calls it
    **dict.fromkeys(("p_e25", "u_P", "kw"), "energy and site"),
    "package_usd": "foundry",
    "memory_usd": "memory",
    **dict.fromkeys(
        ("chip_usd", "chip_other_usd", "discount", "programme_usd", "eta"), "accelerator design"
    ),
    **dict.fromkeys(("network_usd", "server_usd"), "system and network"),
    "site_usd": "data center",
    **dict.fromkeys(("rate_it", "life_it", "rate_site", "life_site", "r_chain"), "capital return"),
    **dict.fromkeys(("om_IT", "cloud_margin", "cloud_utilization"), "cloud"),
    **dict.fromkeys(("lab_utilization", "h_c", "a_sd", "U_day", "rate"), "model"),
    "royalty": "platform",
}
SERVED = "h_c", "a_sd", "U_day"  # parameters of serving
COMMON = "chip_usd", "memory_usd"  # prices of both chains that move together
WORDS = {  # what an input is called in a chart
    **profiles.WORDS,
    "h_c": "hits of the prefix cache",
    "a_sd": "guesses accepted",
    "U_day": "use over a day",
    "rate": "output measured over expected",
}
WITH_CHIPS = (  # prices that follow what a dollar buys of chips
    *("package_usd", "chip_other_usd", "programme_usd", "network_usd", "server_usd"),
)
TRENDS = {  # of what goes in, year by year: what it is called in a chart, and its layer
    "chips": ("trend of a chip's output per dollar", "accelerator design"),
    "memory": ("trend of the price of memory", "memory"),
    "power": ("trend of output per watt", "energy and site"),
    "building": ("trend of building costs", "data center"),
    "rents": ("drift of rents from costs", "cloud"),
    "models": ("trend of models", "model"),
}
SPEED = 20.0  # tokens a second of each user, at least [1/s]
REPLICA = 64  # accelerators, at most


class Input(NamedTuple):
    """An uncertain number of the chain."""

    row: facts.Uncertain
    factor: str
    """What moves with it: inputs of one factor are correlated, all others independent."""
    layer: str
    chain: str
    """The profile that alone has it, or blank."""
    words: str


class Growth(NamedTuple):
    """A number that changes what goes in, year by year."""

    words: str
    layer: str
    row: facts.Uncertain


@cache
def growths(years: float = 1.0) -> dict[str, Growth]:
    """The yearly factors, with their ranges, of what goes in, over so many years from 2026 on.

    Rents over costs are those of the outlook, in which entry brings them back; all else follows
    trends.
    """
    rows = {
        "chips": _trend("price-performance"),
        "memory": _trend("HBM price"),
        "power": facts.parameter("g_eff"),
        "building": facts.parameter("g_constr"),
        "rents": _rents(years),
        "models": facts.parameter("T_alg"),
    }
    return {name: Growth(*TRENDS[name], row) for name, row in rows.items()}


def _trend(item: str) -> facts.Uncertain:
    """The factor a year of a series, with its bootstrap interval."""
    return _derived(item, f"Growth of {item}, factor a year", *series.growth(item))


def _rents(years: float) -> facts.Uncertain:
    """Rents over long-run costs in the outlook's trend, as a yearly factor."""
    last = outlook.YEARS[-1] - outlook.YEARS[0]
    if not 0 < years <= last:
        raise ValueError(f"years_ahead = {years:g}: give 0 to {last}, as the outlook ends then")
    run = outlook.outlook().run
    over = run.rent_usd_per_hour / run.long_run_usd_per_hour
    first = int(years)
    part = years - first
    then = over[:, first] * (1 - part) + over[:, min(first + 1, last)] * part
    at = then / over[:, 0]
    low, high = np.percentile(at[1:], (5, 95))
    ends = np.array([min(low, at[0]), at[0], max(high, at[0])]) ** (1 / years)
    return _derived("rents", "Drift of rents from costs, factor a year", *map(float, ends))


def _derived(symbol: str, name: str, low: float, central: float, high: float) -> facts.Uncertain:
    ends = low, central, high
    return facts.Uncertain(symbol, name, "1", False, *ends, "2026", "stackbook-derived", "medium")


@dataclass(frozen=True)
class TokenCost:
    """What a million output tokens with their prompts must be sold for, so that all is paid [USD].

    That is their cost to the lab, and the platform's share of it. `integrated` is the profile that
    `profile` is held against. `years_ahead` is from now: all follow their trends, and a token is of
    the same quality. It can be sent to other processes.
    """

    profile: str = profiles.REFERENCE
    integrated: str = "Google on TPU"
    model: str = "DeepSeek V3"
    input_tokens: float = 8192.0
    output_tokens: float = 1024.0
    years_ahead: float = 0.0

    OUTPUTS = "cost", "integrated cost", "saving", "saved share", "hour"

    @cached_property
    def inputs(self) -> dict[str, Input]:
        """All that has a range, by the name of its draws; what both chains share stands once."""
        shared = (*profiles.SHARED, *SERVED)
        here, there = map(profiles.uncertain_terms, (self.profile, self.integrated))
        rows = {**here, **there, **{symbol: facts.parameter(symbol) for symbol in shared}}
        rows["rate"] = self._rate_error
        found = {}
        for name, row in rows.items():
            factor = row.symbol
            alone = (name in here) != (name in there) and factor not in COMMON
            chain = (self.profile if name in here else self.integrated) if alone else ""
            factor += f" of {chain}" if alone else ""
            found[name] = Input(row, factor, LAYER[row.symbol], chain, WORDS[row.symbol])
        if self.years_ahead:
            for name, (words, layer, row) in growths(self.years_ahead).items():
                found[name] = Input(row, words, layer, "", words)
        return found

    @cached_property
    def _rate_error(self) -> facts.Uncertain:
        """Measured over expected throughput, of accelerators that were left out of the fit."""
        experts = inputs.architecture(self.model).experts
        kind = f"closed loop, {'mixture of experts' if experts else 'dense'}"
        seen = inputs.serving_errors("rate", kind, accelerator_seen=False)
        name = "Throughput of serving, measured over expected"
        return _derived("rate", name, seen["low"], 1.0, seen["high"])

    def values(self, scores: Floats) -> Floats:
        """Inputs at standard scores, a row an input, in the order of `inputs`."""
        if scores.ndim != 2 or len(scores) != len(self.inputs):
            raise ValueError(
                f"scores of shape {scores.shape}: give a row for each of {len(self.inputs)} inputs"
            )
        rho_p = facts.parameter("rho_p")  # across chips; high, as of the same memory
        correlation = dict(zip(COMMON, (rho_p.central, rho_p.high or 1.0), strict=True))
        found, first = np.empty(scores.shape), dict[str, int]()
        for at, (row, factor, *_) in enumerate(self.inputs.values()):
            score = scores[at]
            if factor in first:  # Gaussian copula of two
                rho = correlation[factor]
                score = rho * scores[first[factor]] + sqrt(1 - rho * rho) * score
            first.setdefault(factor, at)
            found[at] = _once(row, row, partial(profiles.at_scores, row), score)
        return found

    def __call__(self, scores: Floats) -> Floats:
        """A row an output, as `OUTPUTS`, at standard scores, a row an input.

        Costs and the saving in USD, the saving also over the cost [1], and the price of an hour of
        the same service, whatever is served in it [USD/h].
        """
        return self.at(self.values(scores))

    def at(self, values: Floats) -> Floats:
        """The same of inputs as `values` gives them."""
        draws = dict(zip(self.inputs, values, strict=True))
        served = _once("served", self, self._served, draws["h_c"], draws["a_sd"])
        served = served * draws["rate"] * draws["U_day"]
        if self.years_ahead:  # training spares size and data alike, a token the size alone
            served *= 2 ** (self.years_ahead * 12 / draws["models"] / 2)
        hours = 1e6 / 3600 / served
        hour, other = (self._hour(name, draws) for name in (self.profile, self.integrated))
        cost, less = hours * hour, hours * other
        return np.array([cost, less, cost - less, 1 - other / hour, hour])

    def _served(self, hits: Floats, acceptance: Floats) -> Floats:
        m, c, e, p, t, batch = self._point
        return serving.output_rates(m, c, e, p, t, batch, np.array([hits, acceptance]))

    def _hour(self, name: str, draws: dict[str, Floats]) -> Floats:
        """Price of a unit of service in a profile, that of today [USD]."""
        taken = {*profiles.uncertain_terms(name), *profiles.SHARED, *TRENDS}
        own = tuple(key for key in draws if key in taken)
        hour = partial(self._hour_of, name, own)
        return _once(("hour", name), self, hour, *map(draws.__getitem__, own))

    def _hour_of(self, name: str, own: tuple[str, ...], *values: Floats) -> Floats:
        draws, years = dict(zip(own, values, strict=True)), self.years_ahead
        if not years:
            return anatomy(profiles.chain(name, draws=draws)).price_usd
        rows = profiles.terms(name)
        now = {row.symbol: draws.get(key, np.full(1, row.central)) for key, row in rows.items()}
        cheaper, dearer_site = draws["chips"] ** -years, (1 + draws["building"]) ** years
        leaner = draws["power"] ** -years
        memory = now["memory_usd"] * draws["memory"] ** years  # passed on with no margin
        later = {
            "memory_usd": memory,
            "chip_usd": (now["chip_usd"] - now["memory_usd"]) * cheaper + memory,
            "kw": now["kw"] * leaner,
            "site_usd": now["site_usd"] * leaner * dearer_site,
            **{symbol: now[symbol] * cheaper for symbol in WITH_CHIPS if symbol in now},
        }
        changed = {key: later[row.symbol] for key, row in rows.items() if row.symbol in later}
        chain = profiles.chain(name, draws={**draws, **changed})
        rent = 1 - (1 - chain.layers[profiles.AT["cloud"]].margin) * draws["rents"] ** -years
        return anatomy(profiles.changed(chain, cloud={"margin": rent})).price_usd

    @cached_property
    def _point(self) -> tuple[Any, ...]:
        """How machines are run: what puts out most at the central values, on the unit, a GB200."""
        layout, cluster = inputs.served(inputs.architecture(self.model), "GB200", "FP8", 1.0)
        efficiency = inputs.serving_efficiency("Blackwell", "FP8", "")
        hits, acceptance = map(facts.central, SERVED[:2])
        traffic = serving.Traffic(
            self.input_tokens, self.output_tokens, hits, acceptance=acceptance
        )
        options = serving.plans(layout, cluster, REPLICA)
        front = serving.frontier(
            layout, cluster, efficiency, traffic, np.array([SPEED]), options, apart=False
        )
        return layout, cluster, efficiency, front.plans[0], traffic, float(front.batch[0])


_last = local()


def _once(
    place: Hashable, key: Hashable, function: Callable[..., Floats], *arguments: Floats
) -> Floats:
    """As the function, which is not run again on what a place last saw of a key, in a thread.

    An analysis of sensitivity changes one input from run to run, so that most parts stay. A place
    keeps its last alone, and a block of draws at most, so that little is held.
    """
    known: dict[Any, tuple[Hashable, tuple[Floats, ...], Floats]] = vars(_last)
    whose, before, found = known.get(place, (None, (), np.empty(0)))
    same = whose == key and len(before) == len(arguments)
    if not (same and all(map(np.array_equal, before, arguments))):
        found = function(*arguments)
        if found.size <= BLOCK:
            known[place] = key, tuple(map(np.copy, arguments)), found
    return found
