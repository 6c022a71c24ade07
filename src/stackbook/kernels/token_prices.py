"""What tokens are billed at, what a fall of their price is made of, and what energy they take."""

from math import nan
from typing import Any, NamedTuple

import numpy as np

from stackbook.kernels.elementary import exp, log
from stackbook.kernels.jit import formula

JOULES_PER_KWH = 3.6e6


@formula
def nodes_for_flow(
    tokens_per_second: float, node_tokens_per_second: float, utilization: float
) -> float:
    """Nodes that a flow of tokens needs; pools for prompts and for answers are counted apart.

    tokens_per_second: of the flow [1/s], 0 or more
    node_tokens_per_second: of a busy node [1/s], above 0
    utilization: busy over all time of the nodes [1], above 0 up to 1
    returns: [1], not rounded
    source: conservation of tokens
    """
    if not (tokens_per_second >= 0 and node_tokens_per_second > 0 and 0 < utilization <= 1):
        return nan
    return tokens_per_second / (node_tokens_per_second * utilization)


@formula
def billed_price(
    input_usd: float,
    output_usd: float,
    cache_read_usd: float,
    cache_write_usd: float,
    output_share: float,
    read_share: float,
    write_share: float,
    batch_share: float,
    batch_discount: float,
    free_share: float,
) -> float:
    """What a million tokens bring in, of all kinds together, from list prices and the mix.

    input_usd, output_usd: list prices of a million tokens [USD], 0 or more
    cache_read_usd, cache_write_usd: the same of input that a cache gives or keeps [USD]
    output_share: output over all tokens [1], 0 to 1
    read_share, write_share: that a cache gives, or keeps, over input tokens [1], sum up to 1
    batch_share, batch_discount: tokens that may wait over all, and what they save [1], 0 to 1
    free_share: tokens that nobody pays over all [1], 0 to 1, of the same mix
    returns: [USD] a million tokens
    source: accounting identity
    """
    if not (input_usd >= 0 and output_usd >= 0 and cache_read_usd >= 0 and cache_write_usd >= 0):
        return nan
    if not (0 <= output_share <= 1 and read_share >= 0 and write_share >= 0):
        return nan
    if not (0 <= batch_share <= 1 and 0 <= batch_discount <= 1 and 0 <= free_share <= 1):
        return nan
    fresh = 1 - read_share - write_share
    if not fresh >= -1e-12:
        return nan
    prompt = fresh * input_usd + read_share * cache_read_usd + write_share * cache_write_usd
    listed = (1 - output_share) * prompt + output_share * output_usd
    return listed * (1 - batch_share * batch_discount) * (1 - free_share)


@formula
def token_price(
    usd_per_hour: float, flop_per_s: float, mfu: float, params: float, margin: float
) -> float:
    """Price of a million tokens by what makes it: rent, chip, software, model and margin.

    usd_per_hour: cost of an accelerator-hour [USD/h], 0 or more
    flop_per_s: peak of the accelerator [1/s], above 0
    mfu: share of the peak in tokens that are sold, idle hours counted [1], above 0
    params: parameters that work on a token [1], above 0
    margin: gross margin over price [1], below 1
    returns: [USD] a million tokens
    source: identity; 2 FLOP a parameter and token, Kaplan et al. 2020
    """
    if not (usd_per_hour >= 0 and flop_per_s > 0 and mfu > 0 and params > 0 and margin < 1):
        return nan
    return 1e6 * usd_per_hour / 3600 * 2 * params / (flop_per_s * mfu) / (1 - margin)


class PriceFall(NamedTuple):
    """Parts of the logarithm of the old price over the new; above 0 what made tokens cheaper."""

    rent: Any  # a cheaper accelerator-hour
    chip: Any  # a higher peak
    software: Any  # more of the peak in tokens sold
    model: Any  # fewer parameters at work
    margin: Any  # a smaller margin

    @property
    def total(self) -> Any:
        """Logarithm of the old price over the new."""
        return sum(self)


class PriceFactors(NamedTuple):
    """The arguments of `token_price`: numbers, or arrays of one shape."""

    usd_per_hour: Any
    flop_per_s: Any
    mfu: Any
    params: Any
    margin: Any

    def fall(self, later: "PriceFactors") -> PriceFall:
        """What each factor adds to the fall of the price until `later`, in any order the same.

        Only the margin is no fact of anybody's: who knows both prices and the other four factors
        finds what it added as what is left of the total.
        """
        return PriceFall(
            rent=np.log(self.usd_per_hour / later.usd_per_hour),
            chip=np.log(later.flop_per_s / self.flop_per_s),
            software=np.log(later.mfu / self.mfu),
            model=np.log(self.params / later.params),
            margin=np.log((1 - later.margin) / (1 - self.margin)),
        )


@formula
def fall_per_year(before_usd: float, after_usd: float, years: float) -> float:
    """Factor by which a price falls in a year.

    before_usd, after_usd: price at the start and at the end [USD], above 0
    years: between the two [yr], above 0
    returns: [1]; below 1 where the price rose
    source: compound rate of change
    """
    if not (before_usd > 0 and after_usd > 0 and years > 0):
        return nan
    return exp(log(before_usd / after_usd) / years)


@formula
def served_energy(
    accelerator_joules: float, host_ratio: float, idle_ratio: float, pue: float
) -> float:
    """Electricity that a facility takes for work, from what its accelerators take for it.

    accelerator_joules: of accelerators at work [J], 0 or more
    host_ratio: processors and memory of the servers over their accelerators [1], 0 or more
    idle_ratio: machines that stand ready over those at work [1], 0 or more
    pue: facility over IT energy [1], 1 or more
    returns: [J]
    source: Elsworth et al. 2025 (Google), what a measurement of serving has to count
    """
    if not (accelerator_joules >= 0 and host_ratio >= 0 and idle_ratio >= 0 and pue >= 1):
        return nan
    return accelerator_joules * (1 + host_ratio) * (1 + idle_ratio) * pue


@formula
def electricity_carbon(joules: float, g_per_kwh: float) -> float:
    """Carbon of the electricity that a token, a query or a job takes.

    joules: of the facility [J], 0 or more
    g_per_kwh: carbon intensity of the site's electricity [gCO2/kWh], 0 or more
    returns: [gCO2]
    source: identity
    """
    return joules / JOULES_PER_KWH * g_per_kwh if joules >= 0 and g_per_kwh >= 0 else nan
