"""What a chip costs, what it sells for, and when an own one pays."""

from math import inf, log, nan, pi, sqrt

from stackbook.kernels.binomial import binomial_tail
from stackbook.kernels.elementary import exp, expm1, log1p
from stackbook.kernels.jit import formula


@formula
def gross_dies(wafer_mm: float, edge_mm: float, die_mm2: float) -> float:
    """Whole dies on a wafer, an approximation that need not be an integer.

    wafer_mm: wafer diameter [mm]
    edge_mm: ring at the rim that carries no die [mm]
    die_mm2: die area with scribe line [mm2]; above 400 mm2 the count is some percent low
    returns: [1], NaN where the approximation finds no die
    source: de Vries 2005
    """
    usable = wafer_mm - 2 * edge_mm
    if not (edge_mm >= 0 and usable > 0 and die_mm2 > 0):
        return nan
    dies = pi * usable**2 / (4 * die_mm2) - pi * usable / sqrt(2 * die_mm2)
    return dies if dies > 0 else nan


@formula
def defects_per_die(die_mm2: float, defects_per_cm2: float) -> float:
    """Expected number of fatal defects on a die.

    die_mm2: die area [mm2], 0 or more
    defects_per_cm2: density of fatal defects [1/cm2], 0 or more
    returns: [1]
    source: Stapper 1989
    """
    return die_mm2 / 100 * defects_per_cm2 if die_mm2 >= 0 and defects_per_cm2 >= 0 else nan


@formula
def poisson_yield(die_mm2: float, defects_per_cm2: float) -> float:
    """Share of dies without a defect where defects fall independently.

    die_mm2: die area [mm2]
    defects_per_cm2: density of fatal defects [1/cm2]
    returns: [1]
    source: Stapper 1989, Poisson model
    """
    return exp(-defects_per_die(die_mm2, defects_per_cm2))


@formula
def murphy_yield(die_mm2: float, defects_per_cm2: float) -> float:
    """Share of dies without a defect where density varies over a triangular distribution.

    die_mm2: die area [mm2]
    defects_per_cm2: mean density of fatal defects [1/cm2]
    returns: [1]
    source: Murphy 1964, in the form ((1 - exp(-x)) / x)^2
    """
    x = defects_per_die(die_mm2, defects_per_cm2)
    return (expm1(-x) / x) ** 2 if x != 0 else 1.0


@formula
def seeds_yield(die_mm2: float, defects_per_cm2: float) -> float:
    """Share of dies without a defect where density varies exponentially.

    die_mm2: die area [mm2]
    defects_per_cm2: mean density of fatal defects [1/cm2]
    returns: [1]
    source: Seeds 1967, in the form 1 / (1 + x)
    """
    return 1 / (1 + defects_per_die(die_mm2, defects_per_cm2))


@formula
def negative_binomial_yield(die_mm2: float, defects_per_cm2: float, clustering: float) -> float:
    """Share of dies without a defect where defects cluster (gamma-distributed density).

    die_mm2: die area [mm2]
    defects_per_cm2: mean density of fatal defects [1/cm2]
    clustering: alpha [1], above 0; 1 gives the Seeds model, large values the Poisson model
    returns: [1]
    source: Stapper 1989, negative binomial model
    """
    if not clustering > 0:
        return nan
    return exp(-clustering * log1p(defects_per_die(die_mm2, defects_per_cm2) / clustering))


@formula
def harvested_yield(
    die_mm2: float, defects_per_cm2: float, redundant: float, blocks: float, spares: float
) -> float:
    """Share of sellable dies where some of many equal blocks may fail (Poisson defects).

    die_mm2: die area [mm2]
    defects_per_cm2: density of fatal defects [1/cm2]
    redundant: share of the area that the blocks cover [1], 0 to 1
    blocks: number of equal blocks [1], a whole number up to a million
    spares: blocks that may fail [1], a whole number up to blocks
    returns: [1]
    source: Koren and Koren 1998, M-of-N redundancy
    """
    if not (0 <= redundant <= 1 and blocks >= 1):
        return nan
    x = defects_per_die(die_mm2, defects_per_cm2)
    enough = binomial_tail(blocks, spares, expm1(redundant * x / blocks))
    return enough * exp(-(1 - redundant) * x)


@formula
def die_cost(wafer_usd: float, gross_dies: float, die_yield: float) -> float:
    """Silicon cost of one good die.

    wafer_usd: price of a processed wafer [USD]
    gross_dies: dies on a wafer [1], above 0
    die_yield: share of them that can be sold [1], above 0 up to 1
    returns: [USD]
    source: identity
    """
    return wafer_usd / (gross_dies * die_yield) if gross_dies > 0 and 0 < die_yield <= 1 else nan


@formula
def unit_cost(
    silicon_usd: float,
    hbm_gb: float,
    hbm_usd_per_gb: float,
    packaging_usd: float,
    package_yield: float,
    test_usd: float,
    aux_usd: float,
) -> float:
    """Manufacturing cost of one good package; a bad one loses its dies and memory too.

    silicon_usd: good dies in a package [USD]
    hbm_gb: memory in a package [GB]
    hbm_usd_per_gb: price of memory [USD/GB]
    packaging_usd, test_usd, aux_usd: packaging, test, other parts [USD]
    package_yield: share of good packages [1], above 0 up to 1
    returns: [USD]
    source: identity
    """
    if not 0 < package_yield <= 1:
        return nan
    parts = silicon_usd + hbm_gb * hbm_usd_per_gb + packaging_usd
    return parts / package_yield + test_usd + aux_usd


@formula
def full_cost(unit_usd: float, nre_usd: float, volume: float) -> float:
    """Unit cost with a share of the one-time cost of design, masks and software.

    unit_usd: manufacturing cost [USD]
    nre_usd: one-time cost [USD]
    volume: units over which it is spread [1], above 0
    returns: [USD]
    source: identity
    """
    return unit_usd + nre_usd / volume if volume > 0 else nan


@formula
def price(cost_usd: float, margin: float) -> float:
    """Price at which a cost leaves a gross margin.

    cost_usd: unit cost [USD]
    margin: gross margin over price [1], below 1
    returns: [USD]
    source: identity
    """
    return cost_usd / (1 - margin) if margin < 1 else nan


@formula
def margin(price_usd: float, cost_usd: float) -> float:
    """Gross margin over price.

    price_usd: unit price [USD], above 0
    cost_usd: unit cost [USD]
    returns: [1]
    source: identity
    """
    return 1 - cost_usd / price_usd if price_usd > 0 else nan


@formula
def discount_advantage(share: float, discount: float) -> float:
    """Chips per dollar of buyers with a discount over chips per dollar of the whole market.

    share: share of chips that go to these buyers [1], 0 to 1
    discount: their discount on the price that others pay [1], below 1
    returns: [1]
    source: Epoch AI 2026, ai-chip-counts
    """
    if not (0 <= share <= 1 and discount < 1):
        return nan
    return (1 - share * discount) / (1 - discount)


@formula
def break_even_volume(
    programme_usd: float,
    flexibility_usd: float,
    merchant_usd: float,
    merchant_system_usd: float,
    own_usd: float,
    own_system_usd: float,
    relative_output: float,
) -> float:
    """Merchant chips that an own chip must replace each year before it pays.

    programme_usd: yearly cost of designing and supporting the own chip [USD/yr]
    flexibility_usd: yearly value of staying free to switch vendor [USD/yr]
    merchant_usd, own_usd: price of a merchant chip, cost of an own one [USD]
    merchant_system_usd, own_system_usd: other capital for each chip [USD]
    relative_output: useful work of an own chip over a merchant one [1], above 0
    returns: [1/yr], infinite where the own chip saves nothing at any volume
    source: identity, saving x volume = programme + flexibility
    """
    if not relative_output > 0:
        return nan
    saving = merchant_usd + merchant_system_usd - (own_usd + own_system_usd) / relative_output
    return inf if saving <= 0 else (programme_usd + flexibility_usd) / saving


@formula
def old_chip_value(price_usd: float, oom_per_year: float, years: float) -> float:
    """Value of a chip whose price follows the performance per dollar of new ones.

    price_usd: price when new [USD]
    oom_per_year: progress in performance per dollar, orders of magnitude [1/yr]
    years: age [yr]
    returns: [USD]
    source: Cottier et al. 2024, hardware acquisition cost
    """
    return price_usd * exp(-oom_per_year * years * log(10))


@formula
def supply_limit(capacity: float, per_chip: float) -> float:
    """Chips that the supply of one input allows; the least over all inputs can be built.

    capacity: input available in a year, e.g. wafers, interposers, GB of memory [1/yr]
    per_chip: input in one chip, above 0, infinite supply where it is none [1]
    returns: [1/yr]
    source: Leontief production, Q = min(K / a)
    """
    return capacity / per_chip if capacity >= 0 and per_chip >= 0 else nan


@formula
def scarcity_rent(price_usd: float, cost_usd: float, per_chip: float) -> float:
    """What one more unit of the input that limits supply would earn: its shadow price.

    price_usd: price of a chip that finds a buyer [USD]
    cost_usd: cost of a chip with that input at its current price [USD]
    per_chip: input in one chip, above 0 [1]
    returns: [USD], 0 where the chip earns nothing
    source: linear programming dual of Leontief production
    """
    return max(price_usd - cost_usd, 0.0) / per_chip if per_chip > 0 else nan


@formula
def installed(stock: float, retired: float, shipped: float) -> float:
    """Chips in use at the end of a year.

    stock: chips in use at its beginning [1]
    retired: share of them that leaves in the year [1], 0 to 1
    shipped: chips added in the year [1]
    returns: [1]
    source: perpetual inventory
    """
    return (1 - retired) * stock + shipped if 0 <= retired <= 1 else nan


@formula
def memory_indifference(usd_per_gb: float, trade_ratio: float, extra_usd_per_gb: float) -> float:
    """Price of stacked memory at which its maker would as soon make ordinary memory.

    usd_per_gb: price of the ordinary memory [USD/GB]
    trade_ratio: wafer area of a GB of stacked memory over one of ordinary memory [1], above 0
    extra_usd_per_gb: cost of stacking and testing beyond the wafer [USD/GB]
    returns: [USD/GB]
    source: opportunity cost
    """
    return usd_per_gb * trade_ratio + extra_usd_per_gb if trade_ratio > 0 else nan
