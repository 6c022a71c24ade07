"""What a training run takes and costs: owned, rented or bought, and with all that came before."""

from math import nan

from stackbook.kernels.capital import economic_depreciation, user_cost
from stackbook.kernels.datacenter import HOURS_PER_YEAR, energy_cost
from stackbook.kernels.fabric import cluster_cost
from stackbook.kernels.jit import formula


@formula
def accelerator_hours(flop: float, flop_per_s: float, mfu: float, goodput: float) -> float:
    """Accelerator-hours for which a run holds its accelerators.

    flop: training compute [1], 0 or more
    flop_per_s: dense peak of an accelerator [1/s], above 0
    mfu: share of the peak that a model's FLOP reach while it trains [1], above 0
    goodput: share of time that is work which counts [1], above 0 up to 1
    returns: [h]
    source: definition of model FLOP utilization, Chowdhery et al. 2022 (PaLM)
    """
    if not (flop >= 0 and flop_per_s > 0 and mfu > 0 and 0 < goodput <= 1):
        return nan
    return flop / (3600 * flop_per_s * mfu * goodput)


@formula
def run_hours(
    flop: float, accelerators: float, flop_per_s: float, mfu: float, goodput: float
) -> float:
    """Length of a run.

    flop: training compute [1], 0 or more
    accelerators: that work on it [1], above 0
    flop_per_s: dense peak of an accelerator [1/s], above 0
    mfu: share of the peak that a model's FLOP reach while it trains [1], above 0
    goodput: share of time that is work which counts [1], above 0 up to 1
    returns: [h]
    source: identity
    """
    if not accelerators > 0:
        return nan
    return accelerator_hours(flop, flop_per_s, mfu, goodput) / accelerators


@formula
def accelerators_needed(
    flop: float, hours: float, flop_per_s: float, mfu: float, goodput: float
) -> float:
    """Accelerators that end a run by its deadline.

    flop: training compute [1], 0 or more
    hours: from start to deadline [h], above 0
    flop_per_s: dense peak of an accelerator [1/s], above 0
    mfu: share of the peak that a model's FLOP reach while it trains [1], above 0
    goodput: share of time that is work which counts [1], above 0 up to 1
    returns: [1], not rounded
    source: identity, run_hours solved for accelerators
    """
    return accelerator_hours(flop, flop_per_s, mfu, goodput) / hours if hours > 0 else nan


@formula
def hardware_per_hour(
    server_usd: float, rate: float, oom_per_year: float, interconnect_share: float
) -> float:
    """Hardware in an accelerator-hour, whose value falls as new chips do more for a dollar.

    server_usd: value of an accelerator with its part of the server as the run starts [USD]
    rate: cost of capital [1/yr]; 0 for depreciation alone, as Cottier et al. have it
    oom_per_year: progress in performance per dollar, orders of magnitude [1/yr]
    interconnect_share: share of the network between servers in the whole [1], 0 up to below 1
    returns: [USD/h]
    source: Cottier et al. 2024, amortised hardware cost; Jorgenson 1963, user cost
    """
    cluster_usd = cluster_cost(server_usd, 1.0, interconnect_share)
    return user_cost(cluster_usd, rate, economic_depreciation(oom_per_year), 0.0) / HOURS_PER_YEAR


@formula
def amortised_cost(
    hours: float,
    server_usd: float,
    rate: float,
    oom_per_year: float,
    interconnect_share: float,
    kw: float,
    load: float,
    pue: float,
    usd_per_kwh: float,
) -> float:
    """What a run costs who owns the accelerators: hardware_per_hour and energy.

    hours: accelerator-hours [h], 0 or more
    server_usd: value of an accelerator with its part of the server as the run starts [USD]
    rate, oom_per_year: cost of capital [1/yr], progress in orders of magnitude [1/yr]
    interconnect_share: share of the network between servers in the whole [1], 0 up to below 1
    kw, load, pue: rated power [kW], mean draw over it [1], facility over IT energy [1]
    usd_per_kwh: price of electricity [USD/kWh]
    returns: [USD]
    source: Cottier et al. 2024, amortised hardware capital and energy
    """
    if not hours >= 0:
        return nan
    hardware = hardware_per_hour(server_usd, rate, oom_per_year, interconnect_share)
    return hours * (hardware + energy_cost(kw, load, pue, usd_per_kwh))


@formula
def rented_cost(hours: float, usd_per_hour: float, discount: float) -> float:
    """What a run costs who rents the accelerators.

    hours: accelerator-hours [h], 0 or more
    usd_per_hour: rent without commitment [USD/h]
    discount: on that rent, for a commitment [1], 0 up to below 1
    returns: [USD]
    source: Cottier et al. 2024, cloud cost
    """
    return hours * usd_per_hour * (1 - discount) if hours >= 0 and 0 <= discount < 1 else nan


@formula
def acquisition_cost(accelerators: float, server_usd: float, interconnect_share: float) -> float:
    """What the cluster of a run cost to buy, most of which serves other runs.

    accelerators: in the cluster [1], 0 or more
    server_usd: price of an accelerator with its part of the server [USD]
    interconnect_share: share of the network between servers in the whole [1], 0 up to below 1
    returns: [USD]
    source: Cottier et al. 2024, hardware acquisition cost
    """
    if not accelerators >= 0:
        return nan
    return accelerators * cluster_cost(server_usd, 1.0, interconnect_share)


@formula
def programme_cost(run_usd: float, final_share: float, staff_usd: float) -> float:
    """What a model costs with the experiments that never shipped and the people.

    run_usd: the final run [USD], 0 or more
    final_share: final run over all compute of the programme [1], above 0 up to 1
    staff_usd: pay of those who made it [USD], 0 or more
    returns: [USD]
    source: Cottier et al. 2024, total amortised model development cost
    """
    if not (run_usd >= 0 and 0 < final_share <= 1 and staff_usd >= 0):
        return nan
    return run_usd / final_share + staff_usd
