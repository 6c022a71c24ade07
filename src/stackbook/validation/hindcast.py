"""Section H: what the outlook's model says of years that are past, from what was known before."""

from collections.abc import Callable
from functools import partial

from stackbook import outlook


def stock(year: int) -> float:
    found = outlook.hindcast(1)
    return float(found.run.stock[0, found.years.index(year)])


def rent(year: int) -> float:
    found = outlook.hindcast(1)
    return float(found.run.rent_usd_per_hour[0, found.years.index(year)])


def rent_at_stock(year: int) -> float:
    found = outlook.hindcast(1)
    return float(found.rent_at_stock[0, found.years.index(year)])


def rent_2026() -> float:
    """Of the trend, from the end of 2025."""
    return float(outlook.outlook(draws=1).run.rent_usd_per_hour[0, 0])


CASES: dict[tuple[str, str], Callable[[], float]] = {
    **{("H07", f"stock_{year}"): partial(stock, year) for year in (2024, 2025)},
    **{("H07", f"rent_{year}"): partial(rent, year) for year in (2024, 2025)},
    ("H07", "rent_at_stock_2025"): partial(rent_at_stock, 2025),
    ("H08", "rent_2026"): rent_2026,
}
