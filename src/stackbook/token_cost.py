"""What a million tokens cost through the whole chain, as a function of all that is uncertain in it.

Two ways to own the chain serve the same traffic, and share the facts that they share. Draws are
made together, a row an input, so that `kernels.sensitivity` can tell which inputs decide.
"""

from dataclasses import dataclass
from functools import cached_property
from math import sqrt
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stackbook import facts, inputs, profiles
from stackbook.kernels import serving
from stackbook.kernels.chain import anatomy

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
SPEED = 20.0  # tokens a second of each user, at least [1/s]
REPLICA = 64  # accelerators, at most


class Input(NamedTuple):
    """An uncertain number of the chain."""

    row: facts.Uncertain
    factor: str
    """What moves with it: inputs of one factor are correlated, all others independent."""
    layer: str


@dataclass(frozen=True)
class TokenCost:
    """What a million output tokens with their prompts must be sold for, so that all is paid [USD].

    That is their cost to the lab, and the platform's share of it. `integrated` is the profile that
    `profile` is held against. It can be sent to other processes.
    """

    profile: str = profiles.REFERENCE
    integrated: str = "Google on TPU"
    model: str = "DeepSeek V3"
    input_tokens: float = 8192.0
    output_tokens: float = 1024.0

    OUTPUTS = "cost", "integrated cost", "saving"

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
            alone = (name in here) != (name in there)
            if alone and factor not in COMMON:
                factor += f" of {self.profile if name in here else self.integrated}"
            found[name] = Input(row, factor, LAYER[row.symbol])
        return found

    @cached_property
    def _rate_error(self) -> facts.Uncertain:
        """Measured over expected throughput, of accelerators that were left out of the fit."""
        experts = inputs.architecture(self.model).experts
        kind = f"closed loop, {'mixture of experts' if experts else 'dense'}"
        seen = inputs.serving_errors("rate", kind, accelerator_seen=False)
        name = "Throughput of serving, measured over expected"
        ends = seen["low"], 1.0, seen["high"]
        return facts.Uncertain(
            "rate", name, "1", False, *ends, "2026", "stackbook-derived", "medium"
        )

    def values(self, scores: Floats) -> Floats:
        """Inputs at standard scores, a row an input, in the order of `inputs`."""
        rho_p = facts.parameter("rho_p")  # across chips; high, as of the same memory
        correlation = dict(zip(COMMON, (rho_p.central, rho_p.high or 1.0), strict=True))
        found, first = np.empty_like(scores), dict[str, int]()
        for at, (row, factor, _) in enumerate(self.inputs.values()):
            score = scores[at]
            if factor in first:  # Gaussian copula of two
                rho = correlation[factor]
                score = rho * scores[first[factor]] + sqrt(1 - rho * rho) * score
            first.setdefault(factor, at)
            found[at] = profiles.at_scores(row, score)
        return found

    def __call__(self, scores: Floats) -> Floats:
        """A row an output, as `OUTPUTS` [USD], at standard scores, a row an input."""
        return self.at(self.values(scores))

    def at(self, values: Floats) -> Floats:
        """The same of inputs as `values` gives them."""
        draws = dict(zip(self.inputs, values, strict=True))
        m, c, e, p, t, batch = self._point
        varied = np.array([draws["h_c"], draws["a_sd"]])
        served = serving.output_rates(m, c, e, p, t, batch, varied)
        hours = 1e6 / 3600 / (served * draws["rate"] * draws["U_day"])
        cost, other = (
            hours * anatomy(profiles.chain(name, draws=draws)).price_usd
            for name in (self.profile, self.integrated)
        )
        return np.array([cost, other, cost - other])

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
