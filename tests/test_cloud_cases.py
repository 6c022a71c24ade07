"""Cases of the cloud against plain arithmetic that shares nothing with the kernels."""

from math import exp, sqrt

import pytest
from scipy import stats

from stackbook import facts
from stackbook.validation import cloud


def test_coreweaves_quarters_are_those_of_table_observations() -> None:
    """Its releases stand in two tables: dollars in one, revenue and shares in the other."""
    table = facts.table("observations").filter(subject="CoreWeave").collect()
    row = {
        (measure, period): x
        for measure, period, x in zip(
            table["measure"], table["period"], table["central"], strict=True
        )
    }
    for name in ("2025Q2", "2025Q3"):
        assert cloud.quarter(cloud.COREWEAVE, name)["revenue_usd"] == row["revenue", name]
    for name in ("2024Q3", "2025Q2", "2025Q3"):
        margin = row["operating_margin", name]
        assert cloud.operating_margin(cloud.COREWEAVE, name) == pytest.approx(margin, abs=5e-5)
    interest = row["interest_over_revenue", "2025Q3"]
    assert cloud.over_revenue(cloud.INTEREST, "2025Q3") == pytest.approx(interest, abs=5e-4)


def test_what_is_committed_is_a_quantile_of_the_lognormal() -> None:
    reserved, discount = cloud.committed()
    assert reserved == pytest.approx(stats.lognorm.ppf(discount, 0.5), rel=2e-3)  # of 1,000 levels
    assert cloud.levels().mean() == pytest.approx(exp(0.5**2 / 2), rel=2e-3)


def test_a_published_option_is_an_integral_over_the_ratio_of_two_prices() -> None:
    """E max(A - B, 0) = B E max(A/B - 1, 0), with B as the money of account."""
    years, sigma = 0.5, sqrt(0.2**2 + 0.15**2 - 2 * 0.5 * 0.2 * 0.15)
    given = 20 * exp(-0.04 * years)
    ratio = 22 * exp(-0.06 * years) / given
    spread = sigma * sqrt(years)
    law = stats.lognorm(spread, scale=ratio * exp(-(spread**2) / 2))
    value = given * law.expect(lambda x: x - 1, lb=1, epsabs=1e-9)
    assert cloud.haug(years, 0.15, 0.5) == pytest.approx(value, rel=1e-6)


@pytest.mark.parametrize(
    ("provider", "condition", "usd"),
    [
        ("AWS", None, 9900 * 0.09),
        ("Azure", None, 9900 * 0.087),
        ("Google Cloud", "premium network", 1000 * 0.12 + 9000 * 0.11),
        ("Google Cloud", "standard network", 10_000 * 0.085),
        ("Cloudflare R2", None, 0.0),
    ],
)
def test_egress_of_ten_terabytes_is_the_sum_over_its_tiers(
    provider: str, condition: str | None, usd: float
) -> None:
    assert cloud.egress(provider, condition) == pytest.approx(usd)


def test_a_switch_is_repaid_when_the_rivals_discount_adds_up_to_it() -> None:
    (total,) = facts.table("switching_costs").filter(id="aibizhub-example-total").collect()["usd"]
    assert cloud.switching() == pytest.approx(total, abs=0.5)
    assert cloud.payback() * 0.3 * 8000 == pytest.approx(cloud.switching())
