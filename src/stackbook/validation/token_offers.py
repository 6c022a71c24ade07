"""List offers of the same open weights side by side, and changes of list prices."""

import polars as pl

from stackbook import facts
from stackbook.kernels import token_prices

SELLERS = 5  # of the same weights, to be compared
LISTS = 4  # sets of weights that a seller must offer, to be found dear or cheap


def brought(transformer: str, per_output: float, hits: float) -> pl.DataFrame:
    """Offers of a model, and what a million output tokens bring in with their prompts [USD].

    per_output: input tokens for each output token; hits: share of them read from a cache, which
    an offer without a price for it bills as fresh.
    """
    offers = facts.table("token_offers").filter(transformer=transformer).collect()
    fresh, out = offers["input_usd_per_mtok"], offers["output_usd_per_mtok"]
    read = offers["cache_read_usd_per_mtok"].fill_null(fresh)
    share = 1 / (1 + per_output)
    prices = (each.to_numpy() for each in (fresh, out, read))
    mean = token_prices.billed_price(*prices, 0.0, share, hits, 0.0, 0.0, 0.0, 0.0)
    return offers.with_columns(usd=pl.Series(mean / share)).filter(pl.col("usd") > 0)


def _asked() -> pl.DataFrame:
    """A seller's price of weights, three input tokens to one of output, the least of its offers."""
    blend = 0.75 * pl.col("input_usd_per_mtok") + 0.25 * pl.col("output_usd_per_mtok")
    return (
        facts.table("token_offers")
        .with_columns(usd=blend)
        .filter(pl.col("usd") > 0)
        .group_by("weights", "provider", maintain_order=True)
        .agg(pl.col("usd").min(), pl.col("released").min())
        .sort("weights", "provider")
        .collect()
    )


def same_weights() -> pl.DataFrame:
    """Sets of offers of the same weights, most sellers first."""
    usd = pl.col("usd")
    return (
        _asked()
        .group_by("weights", maintain_order=True)
        .agg(
            sellers=pl.len(),
            released=pl.col("released").min(),
            scatter=usd.log().std(),
            median=usd.median(),
            low=usd.min(),
            high=usd.max(),
            middle=usd.quantile(0.75, "linear") / usd.quantile(0.25, "linear"),
        )
        .filter(pl.col("sellers") >= SELLERS)
        .with_columns(extreme=pl.col("high") / pl.col("low"))
        .sort("sellers", "weights", descending=[True, False])
    )


def age_rank() -> float:
    """Spearman's correlation of a set's age with its spread."""
    known = same_weights().drop_nulls("released").with_columns(age=-pl.col("released").rank())
    return float(known.select(pl.corr("age", "scatter", method="spearman")).item())


def seller_share() -> float:
    """Share of the variance within weights that goes with the seller, for those of many sets."""
    sets = same_weights()["weights"].to_list()
    log = pl.col("usd").log()
    asked = _asked().filter(pl.col("weights").is_in(sets))
    asked = asked.with_columns(off=log - log.mean().over("weights"))
    asked = asked.filter(pl.len().over("provider") >= LISTS)
    left = pl.col("off") - pl.col("off").mean().over("provider")
    return float(asked.select(1 - left.var() / pl.col("off").var()).item())


def changes() -> pl.Series:
    """New over old price of a model that stayed the same, three input tokens to one of output.

    Of prices that came into force; of several classes of prompt length, the shortest that changed.
    """
    usd = 3 * pl.col("input_usd_per_mtok") + pl.col("output_usd_per_mtok")
    series = ["provider", "model", "prompt_over_tokens"]
    return (
        facts.table("api_prices")
        .sort(*series, "from_date")
        .with_columns(factor=usd / usd.shift().over(series))
        .filter(pl.col("step") == "changed", pl.col("dated") != "announced", pl.col("factor") != 1)
        .unique(["provider", "model", "from_date"], keep="first", maintain_order=True)
        .select("factor")
        .collect()["factor"]
    )
