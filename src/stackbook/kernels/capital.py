"""What capital costs: discounting, annuities, user cost, depreciation."""

from math import inf, log, nan

from stackbook.kernels.elementary import exp, expm1, log1p
from stackbook.kernels.jit import formula


@formula
def discount_factor(rate: float, years: float) -> float:
    """Value today of one dollar at a later date.

    rate: discount rate [1/yr], above -1
    years: time until payment [yr]
    returns: [1]
    source: Short et al. 1995 (NREL/TP-462-5173), present worth factor
    """
    if not rate > -1:
        return nan
    return exp(-years * log1p(rate))


@formula
def annuity(rate: float, years: float) -> float:
    """Capital recovery factor: yearly payment, at each year's end, that repays one dollar.

    rate: discount rate [1/yr], above -1; at 0 the factor is 1 / years
    years: life [yr], above 0
    returns: [1/yr]
    source: Short et al. 1995 (NREL/TP-462-5173), uniform capital recovery factor
    """
    # No branch, so that LLVM makes SIMD of it: both are computed, one is selected. A rate next to
    # the smallest of all numbers has few digits left in the product.
    factor = -rate / expm1(-years * log1p(rate))
    factor = factor if abs(rate) > 1e-290 else 1 / years
    return factor if rate > -1 and years > 0 else nan


@formula
def annuity_with_residual(rate: float, years: float, residual: float) -> float:
    """Capital recovery factor of an asset that is sold at the end of its life.

    rate: discount rate [1/yr], above -1
    years: life [yr], above 0
    residual: resale value over purchase price [1]
    returns: [1/yr]
    source: Short et al. 1995 (NREL/TP-462-5173)
    """
    return (1 - residual * discount_factor(rate, years)) * annuity(rate, years)


@formula
def user_cost(price_usd: float, rate: float, depreciation: float, price_growth: float) -> float:
    """User cost of capital: what holding an asset for a year costs.

    price_usd: price of the asset [USD]
    rate: cost of capital [1/yr]
    depreciation: loss of value by wear and age [1/yr]
    price_growth: expected change in the price of a new asset [1/yr]
    returns: [USD/yr]
    source: Jorgenson 1963, user cost without taxes
    """
    return price_usd * (rate + depreciation - price_growth)


@formula
def depreciation(capital_usd: float, years: float) -> float:
    """Straight-line depreciation: the return of capital.

    capital_usd: purchase price [USD]
    years: life [yr], above 0
    returns: [USD/yr]
    source: accounting identity
    """
    return capital_usd / years if years > 0 else nan


@formula
def normal_return(capital_usd: float, rate: float, years: float) -> float:
    """What an annuity pays above straight-line depreciation: the return on capital.

    capital_usd: purchase price [USD]
    rate: cost of capital [1/yr], above -1
    years: life [yr], above 0
    returns: [USD/yr]
    source: identity, annuity = depreciation + normal return
    """
    return capital_usd * (annuity(rate, years) - 1 / years)


@formula
def present_value(usd_per_year: float, rate: float, years: float) -> float:
    """Value today of a constant flow, paid at each year's end.

    usd_per_year: flow [USD/yr]
    rate: discount rate [1/yr], above -1
    years: duration [yr], above 0
    returns: [USD]
    source: Short et al. 1995 (NREL/TP-462-5173), uniform present worth
    """
    return usd_per_year / annuity(rate, years)


@formula
def net_present_value(capital_usd: float, usd_per_year: float, rate: float, years: float) -> float:
    """Present value of a constant flow, less the capital that it takes.

    capital_usd: paid today [USD]
    usd_per_year: net flow, paid at each year's end [USD/yr]
    rate: discount rate [1/yr], above -1
    years: duration [yr], above 0
    returns: [USD]
    source: Short et al. 1995 (NREL/TP-462-5173), net present value
    """
    return present_value(usd_per_year, rate, years) - capital_usd


@formula
def economic_depreciation(oom_per_year: float) -> float:
    """Continuous rate at which progress in new hardware takes value from old.

    oom_per_year: progress in performance per dollar, orders of magnitude [1/yr]
    returns: [1/yr]
    source: Cottier et al. 2024, hardware price-performance depreciation
    """
    return oom_per_year * log(10)


@formula
def book_life(rate: float, book_over_depreciation: float) -> float:
    """Life at which an annuity pays depreciation and the rate on capital as accounts state them.

    rate: cost of capital [1/yr], 1e-9 or more
    book_over_depreciation: net capital in the books over a year's depreciation [yr], 1 or more
    returns: [yr], about twice the latter less one, as the mean asset is half written off
    source: identity, years x annuity = 1 + rate x book_over_depreciation; by Newton's method
    """
    if not (rate >= 1e-9 and 1 <= book_over_depreciation < inf):
        return nan
    force = log1p(rate)
    wanted = (1 + rate * book_over_depreciation) * force / rate  # x / (1 - exp(-x)), x = force n
    x = min(2 * (wanted - 1), wanted)  # above the root, and the function is convex
    for _ in range(6):
        gone = -expm1(-x)
        x -= (x / gone - wanted) * gone * gone / (gone - x * (1 - gone))
    return x / force
