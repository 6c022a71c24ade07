"""Measured fronts and list offers, which chapters hold beside the model."""

import math

import polars as pl
import pytest

from stackbook import facts
from stackbook.validation import serving_fronts, token_offers


def test_no_run_beats_one_of_the_front() -> None:
    line = serving_fronts.front("B200", 8192, 1024)
    table = facts.table("serving_fronts").filter(accelerator="B200")
    table = table.filter(input_tokens=8192, output_tokens=1024)
    runs = table.select(serving_fronts.SPEED, serving_fronts.RATE).drop_nulls().collect()
    for speed, rate in line:
        beats = (pl.col(serving_fronts.SPEED) > speed) & (pl.col(serving_fronts.RATE) > rate)
        assert not runs.filter(beats).height
    kept = set(line)
    for speed, rate in set(runs.rows()) - kept:
        assert any(v >= speed and r >= rate for v, r in line)


def test_rate_is_a_run_s_at_its_speed_and_none_beyond() -> None:
    line = [(10.0, 400.0), (40.0, 100.0)]
    assert serving_fronts.rate(line, 40.0) == pytest.approx(100.0)
    assert serving_fronts.rate(line, 20.0) == pytest.approx(200.0)  # straight in logarithms
    assert serving_fronts.rate(line, 5.0) == pytest.approx(400.0)
    assert math.isnan(serving_fronts.rate(line, 41.0))
    assert math.isnan(serving_fronts.rate([], 1.0))


def test_offers_bring_their_prompts_in() -> None:
    offers = token_offers.brought("DeepSeek V3", 8.0, 0.0)
    prompts = 8.0 * offers["input_usd_per_mtok"]
    assert offers["usd"].to_list() == pytest.approx(
        (offers["output_usd_per_mtok"] + prompts).to_list()
    )
    kept = token_offers.brought("DeepSeek V3", 8.0, 0.5)["usd"]
    assert (kept <= offers["usd"] + 1e-9).all()
