"""What an accelerator-hour costs its owner, in dollars, joules and carbon; what power is worth."""

from math import nan

from stackbook.kernels.capital import annuity, depreciation, normal_return, present_value
from stackbook.kernels.elementary import expm1, log1p
from stackbook.kernels.jit import formula

HOURS_PER_YEAR = 8760.0
KW_PER_GW = 1e6


@formula
def available_hours(availability: float) -> float:
    """Hours in a year in which an accelerator can work.

    availability: share of time in working order [1], above 0 up to 1
    returns: [h/yr]
    source: identity
    """
    return HOURS_PER_YEAR * availability if 0 < availability <= 1 else nan


@formula
def capital_cost(capital_usd: float, rate: float, years: float, availability: float) -> float:
    """Capital charge on one available accelerator-hour, for servers or for their site.

    capital_usd: capital for each accelerator [USD]
    rate: cost of capital [1/yr], above -1
    years: life [yr], above 0
    availability: share of time in working order [1], above 0 up to 1
    returns: [USD/h]
    source: annuity over available hours
    """
    return capital_usd * annuity(rate, years) / available_hours(availability)


@formula
def depreciation_cost(capital_usd: float, years: float, availability: float) -> float:
    """Part of the capital charge that returns the capital.

    capital_usd: capital for each accelerator [USD]
    years: life [yr], above 0
    availability: share of time in working order [1], above 0 up to 1
    returns: [USD/h]
    source: identity, capital_cost = depreciation_cost + return_cost
    """
    return depreciation(capital_usd, years) / available_hours(availability)


@formula
def return_cost(capital_usd: float, rate: float, years: float, availability: float) -> float:
    """Part of the capital charge that is a normal return to lenders and owners.

    capital_usd: capital for each accelerator [USD]
    rate: cost of capital [1/yr], above -1
    years: life [yr], above 0
    availability: share of time in working order [1], above 0 up to 1
    returns: [USD/h]
    source: identity, capital_cost = depreciation_cost + return_cost
    """
    return normal_return(capital_usd, rate, years) / available_hours(availability)


@formula
def operation_cost(it_usd: float, om_share: float, availability: float) -> float:
    """Staff, spares and software in one available accelerator-hour.

    it_usd: servers and network for each accelerator [USD]
    om_share: yearly operation over it_usd [1/yr]
    availability: share of time in working order [1], above 0 up to 1
    returns: [USD/h]
    source: identity
    """
    return om_share * it_usd / available_hours(availability)


@formula
def facility_kw(kw: float, load: float, pue: float) -> float:
    """Mean power that a facility draws for an accelerator.

    kw: rated power for each accelerator [kW], 0 or more
    load: mean draw over rated power [1], 0 to 1
    pue: facility over IT energy [1], 1 or more; 1 where kw is already utility power
    returns: [kW]
    source: identity
    """
    return kw * load * pue if kw >= 0 and 0 <= load <= 1 and pue >= 1 else nan


@formula
def energy_cost(kw: float, load: float, pue: float, usd_per_kwh: float) -> float:
    """Electricity in one accelerator-hour.

    kw: rated power for each accelerator [kW], 0 or more
    load: mean draw over rated power [1], 0 to 1
    pue: facility over IT energy [1], 1 or more; 1 where kw is already utility power
    usd_per_kwh: price of electricity [USD/kWh]
    returns: [USD/h]
    source: identity
    """
    return facility_kw(kw, load, pue) * usd_per_kwh


@formula
def owner_cost(
    it_usd: float,
    it_rate: float,
    it_years: float,
    site_usd: float,
    site_rate: float,
    site_years: float,
    om_share: float,
    availability: float,
    kw: float,
    load: float,
    pue: float,
    usd_per_kwh: float,
) -> float:
    """Total cost to its owner of one available accelerator-hour.

    it_usd, site_usd: servers and network, building and power plant, per accelerator [USD]
    it_rate, site_rate: cost of capital [1/yr]
    it_years, site_years: life [yr]
    om_share: yearly operation over it_usd [1/yr]
    availability: share of time in working order [1], above 0 up to 1
    kw, load, pue: rated power [kW], mean draw over it [1], facility over IT energy [1]
    usd_per_kwh: price of electricity [USD/kWh]
    returns: [USD/h]
    source: sum of capital_cost (servers, site), operation_cost and energy_cost
    """
    usd_per_year = it_usd * (annuity(it_rate, it_years) + om_share)
    usd_per_year += site_usd * annuity(site_rate, site_years)
    return usd_per_year / available_hours(availability) + energy_cost(kw, load, pue, usd_per_kwh)


@formula
def energy_used(kw: float, load: float, pue: float, hours: float) -> float:
    """Electricity that a facility takes over a time for an accelerator, or for a fleet.

    kw: rated power [kW], 0 or more
    load: mean draw over rated power [1], 0 to 1
    pue: facility over IT energy [1], 1 or more; 1 where kw is already utility power
    hours: time [h], 0 or more
    returns: [kWh]
    source: identity, power x time
    """
    return facility_kw(kw, load, pue) * hours if hours >= 0 else nan


@formula
def colocation_cost(usd_per_kw_month: float, kw: float) -> float:
    """Rent of the site in an accelerator-hour, where the owner of the servers leases it.

    usd_per_kw_month: a month's rent for each kilowatt leased [USD/kW], without electricity
    kw: power leased for each accelerator, IT power in most leases [kW], 0 or more
    returns: [USD/h]
    source: identity
    """
    return usd_per_kw_month * 12 * kw / HOURS_PER_YEAR if kw >= 0 else nan


@formula
def used_cost(usd_per_hour: float, utilization: float) -> float:
    """Cost of an hour in use, where idle hours must be paid as well.

    usd_per_hour: cost of an available accelerator-hour [USD/h]
    utilization: used over available hours [1], above 0 up to 1
    returns: [USD/h]
    source: identity
    """
    return usd_per_hour / utilization if 0 < utilization <= 1 else nan


@formula
def pue_from_overhead(overhead_share: float) -> float:
    """Power usage effectiveness from the share of facility energy that is not IT.

    overhead_share: cooling and conversion over facility energy [1], 0 up to below 1
    returns: [1]
    source: definition of PUE, ISO/IEC 30134-2
    """
    return 1 / (1 - overhead_share) if 0 <= overhead_share < 1 else nan


@formula
def joules_per_token(watt: float, tokens_per_second: float) -> float:
    """Energy of a token.

    watt: utility power of the machines that serve [W]
    tokens_per_second: their throughput [1/s], above 0
    returns: [J]
    source: identity
    """
    return watt / tokens_per_second if tokens_per_second > 0 else nan


@formula
def embodied_carbon(
    die_mm2: float,
    g_per_kwh: float,
    fab_kwh_per_cm2: float,
    gas_g_per_cm2: float,
    material_g_per_cm2: float,
    die_yield: float,
) -> float:
    """Carbon emitted in making one good logic die.

    die_mm2: die area [mm2]
    g_per_kwh: carbon intensity of the fab's electricity [gCO2/kWh]
    fab_kwh_per_cm2: fab energy [kWh/cm2]
    gas_g_per_cm2, material_g_per_cm2: process gases, materials [gCO2/cm2]
    die_yield: share of good dies [1], above 0 up to 1
    returns: [gCO2]
    source: Gupta et al. 2022 (ACT), embodied carbon of logic
    """
    if not (die_mm2 >= 0 and 0 < die_yield <= 1):
        return nan
    g_per_cm2 = g_per_kwh * fab_kwh_per_cm2 + gas_g_per_cm2 + material_g_per_cm2
    return die_mm2 / 100 * g_per_cm2 / die_yield


@formula
def embodied_memory_carbon(gb: float, g_per_gb: float, die_yield: float) -> float:
    """Carbon emitted in making good memory.

    gb: capacity [GB], 0 or more
    g_per_gb: carbon of a gigabyte of dies at a yield of one [gCO2/GB]
    die_yield: share of good dies [1], above 0 up to 1
    returns: [gCO2]
    source: Gupta et al. 2022 (ACT), embodied carbon of DRAM
    """
    return gb * g_per_gb / die_yield if gb >= 0 and 0 < die_yield <= 1 else nan


@formula
def carbon_per_hour(
    kw: float,
    load: float,
    pue: float,
    g_per_kwh: float,
    embodied_g: float,
    years: float,
    availability: float,
) -> float:
    """Carbon of one available accelerator-hour: electricity, and making spread over life.

    kw, load, pue: rated power [kW], mean draw over it [1], facility over IT energy [1]
    g_per_kwh: carbon intensity of the site's electricity [gCO2/kWh]
    embodied_g: carbon emitted in making the accelerator [gCO2]
    years: life [yr], above 0
    availability: share of time in working order [1], above 0 up to 1
    returns: [gCO2/h]
    source: Gupta et al. 2022 (ACT), operational plus embodied carbon
    """
    if not years > 0:
        return nan
    made = embodied_g / (years * available_hours(availability))
    return facility_kw(kw, load, pue) * g_per_kwh + made


@formula
def early_power_value(
    revenue_usd_per_year: float,
    cost_usd_per_year: float,
    rate: float,
    years: float,
    lead_years: float,
    premium_usd: float,
) -> float:
    """Gain from power that comes earlier: the whole net flow moves forward, at a premium.

    revenue_usd_per_year, cost_usd_per_year: constant over life, paid at year's end [USD/yr]
    rate: discount rate [1/yr], above -1
    years: life of the flow [yr], above 0
    lead_years: time won [yr], 0 or more
    premium_usd: what the earlier power costs more, paid when it comes [USD]
    returns: [USD], at the date of the earlier start
    source: identity, sum of net flow x (discount at t - discount at t + lead)
    """
    if not lead_years >= 0:
        return nan
    moved = -expm1(-lead_years * log1p(rate))
    net = revenue_usd_per_year - cost_usd_per_year
    return present_value(net, rate, years) * moved - premium_usd


@formula
def capex_per_gw(it_usd: float, site_usd: float, kw: float) -> float:
    """Capital for a gigawatt of facility power.

    it_usd, site_usd: servers and network, building and power plant, per rack [USD]
    kw: facility power of the rack [kW], above 0
    returns: [USD/GW]
    source: identity
    """
    return (it_usd + site_usd) / kw * KW_PER_GW if kw > 0 else nan


@formula
def racks_per_gw(usd_per_gw: float, rack_usd: float) -> float:
    """Racks that the capital for a gigawatt buys.

    usd_per_gw: capital for a gigawatt [USD/GW]
    rack_usd: capital for a rack with its share of the site [USD], above 0
    returns: [1/GW]
    source: identity
    """
    return usd_per_gw / rack_usd if rack_usd > 0 else nan


@formula
def kw_per_rack(usd_per_gw: float, rack_usd: float) -> float:
    """Facility power of a rack that two capital figures imply.

    usd_per_gw: capital for a gigawatt [USD/GW], above 0
    rack_usd: capital for a rack with its share of the site [USD]
    returns: [kW]
    source: identity
    """
    return rack_usd / usd_per_gw * KW_PER_GW if usd_per_gw > 0 else nan


@formula
def gw_year_revenue(usd_per_hour: float, utilization: float, kw: float) -> float:
    """What a gigawatt of facility power earns in a year when its accelerators are rented out.

    usd_per_hour: rent of an accelerator [USD/h]
    utilization: hours sold over all hours [1], 0 to 1
    kw: facility power for each accelerator [kW], above 0
    returns: [USD/(GW yr)]
    source: identity
    """
    if not (0 <= utilization <= 1 and kw > 0):
        return nan
    return usd_per_hour * utilization * HOURS_PER_YEAR / kw * KW_PER_GW


@formula
def per_gw_year(usd: float, years: float, gw: float) -> float:
    """Money of a period over the power in use: how revenue or cost of a gigawatt compare.

    usd: revenue or cost of the period [USD]
    years: length of the period [yr], above 0
    gw: power in use [GW], above 0
    returns: [USD/(GW yr)]
    source: identity
    """
    return usd / (years * gw) if years > 0 and gw > 0 else nan
