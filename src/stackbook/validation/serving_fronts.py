"""Measured fronts of DeepSeek R1, table `serving_fronts`: lower bounds, as few loads were run."""

from math import nan

import numpy as np
import polars as pl

from stackbook import facts

Front = list[tuple[float, float]]  # tokens/s of each user, rising; output/s of an accelerator

SPEED, RATE = "tokens_per_s_per_user", "output_tokens_per_s_per_accelerator"
ALIKE = (
    *("accelerator", "precision", "speculation", "engine", "input_tokens", "output_tokens"),
    *("concurrency", "accelerators", "tp", "ep", "attention_dp"),
)
LONG = 90  # days between runs that tell what software gained


def front(accelerator: str, input_tokens: int, output_tokens: int, *only: pl.Expr) -> Front:
    """The runs that no other beats in both speed and output."""
    rows = (
        facts.table("serving_fronts")
        .filter(*only, accelerator=accelerator)
        .filter(input_tokens=input_tokens, output_tokens=output_tokens)
        .select(SPEED, RATE)
        .drop_nulls()
        .sort(SPEED, RATE, descending=True)
        .collect()
    )
    best = rows.filter(pl.col(RATE) > pl.col(RATE).cum_max().shift(1, fill_value=0.0))
    return best.reverse().rows()


def rate(line: Front, speed: float) -> float:
    """On the line through a front; the slowest run's below it, NaN above the fastest."""
    if not line or speed > line[-1][0]:
        return nan
    x, y = np.log(np.array(line)).T
    return float(np.exp(np.interp(np.log(speed), x, y)))


def gains() -> pl.DataFrame:
    """Gain a year of each configuration that was run again after months, prompts not apart."""
    return (
        facts.table("serving_fronts")
        .filter(pl.col("date").str.len_chars() == 10, mode="aggregated")
        .with_columns(day=pl.col("date").str.to_date("%Y-%m-%d"))
        .collect()
        .sort("day", "run")
        .group_by(ALIKE, maintain_order=True)
        .agg(
            days=(pl.col("day").last() - pl.col("day").first()).dt.total_days(),
            gain=pl.col(RATE).last() / pl.col(RATE).first(),
        )
        .filter(pl.col("days") >= LONG)
        .with_columns(year=pl.col("gain") ** (365 / pl.col("days")))
    )
