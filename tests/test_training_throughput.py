"""Measured runs: their models can be built, and the speeds of a row agree with each other."""

import pytest

from stackbook import facts, inputs

ROWS = facts.table("training_throughput").collect().rows(named=True)
MODELS = set(facts.table("transformers").collect()["name"])
PEAKS = {row["name"]: row for row in facts.table("accelerators").collect().rows(named=True)}
PEAK = {"BF16": "bf16_flops", "FP16": "bf16_flops", "FP8": "fp8_flops"}
COUNTED = [row for row in ROWS if row["model"] in MODELS and row["flop_counted"]]


def flop_per_token(row):
    """As the publisher of the row counts it."""
    model, tokens = inputs.architecture(row["model"]), row["seq_len"]
    weights, trained = 6 * model.matmul_parameters, model.training_flop_per_token(tokens)
    attention = trained - weights
    if row["source"].startswith("mosaicml-"):  # counts learned positions as weights
        weights = 6e9 * row["params_b"]
    if row["note"] and "with the module" in row["note"]:  # one layer and one output matrix more
        weights *= 1.04
    if row["flop_counted"] == "model_full_attention":
        attention *= 2 * tokens / (tokens + 1)
    return weights + attention


def test_a_model_has_a_name_or_numbers():
    numbers = ("params_b", "layers", "hidden", "heads")
    unknown = [row for row in ROWS if row["model"] not in MODELS]
    assert unknown and [row["run"] for row in unknown if None in map(row.get, numbers)] == []


def test_tokens_times_flop_are_flop_per_second():
    both = [r for r in COUNTED if r["tflops_per_accelerator"] and r["tokens_per_s_per_accelerator"]]
    ratio = {
        r["run"]: r["tflops_per_accelerator"]
        * 1e12
        / (r["tokens_per_s_per_accelerator"] * flop_per_token(r))
        for r in both
    }
    assert len(ratio) > 200
    assert {run: value for run, value in ratio.items() if abs(value - 1) > 0.025} == {}


def test_flop_per_second_are_the_share_of_the_peak():
    both = [row for row in ROWS if row["tflops_per_accelerator"] and row["mfu"]]
    for row in both:
        peak = PEAKS[row["accelerator"]][PEAK[row["precision"]]]
        share = row["tflops_per_accelerator"] * 1e12 / peak
        assert share == pytest.approx(row["mfu"], rel=0.015), row["run"]


def test_step_times_are_the_share_of_the_peak():
    both = [row for row in COUNTED if row["step_s"] and row["mfu"]]
    for row in both:
        tokens = row["global_batch"] * row["seq_len"] / row["step_s"] / row["accelerators"]
        peak = PEAKS[row["accelerator"]][PEAK[row["precision"]]]
        assert tokens * flop_per_token(row) / peak == pytest.approx(row["mfu"], rel=0.005)
    assert len(both) == 4
