"""Anybody's measured serving: how rows are read, and what the fitted model makes of them."""

import json
from math import isnan
from pathlib import Path

import numpy as np
import pytest

from stackbook import StackbookError, facts, inputs
from stackbook.kernels.serving import CLOSED, DECODE, MOST_LOAD, STATIC, Efficiency, Plan
from stackbook.validation import calibrate_serving, serving
from stackbook.validation.reading import Unread
from stackbook.validation.serving import Measurement

USUAL = {
    "model": "meta-llama/Llama-3.1-70B-Instruct",
    "accelerator": "h200_sxm",
    "accelerators": "8",
    "tp": "8",
    "precision": "fp8",
    "engine": "vllm 0.12.0",
    "mode": "aggregated",
    "concurrency": "64",
    "input_tokens": "1000",
    "output_tokens": "500",
    "ttft_ms": "200",
    "tpot_ms": "12.5",
    "source": "mine",
}


OFFLINE = {"tpot_ms": "", "output_tokens_per_s_per_accelerator": "1000"}


def read(**cells: str) -> Measurement:
    return serving.measurement(2, USUAL | cells)


def test_a_row_is_read_with_its_plan_and_units() -> None:
    one = read()
    assert one.model == inputs.architecture("Llama 3.1 70B")
    assert (one.group, one.family) == (("mine", USUAL["model"], "H200 SXM"), "Hopper")
    assert (one.plan, one.drive, one.engine) == (Plan(tp=8), CLOSED, "vLLM")
    assert one.seen[:2] == (0.0125, 0.2)
    assert one.layout.routed_bytes == one.layout.other_bytes == 1


def test_the_rate_of_a_closed_loop_follows_from_its_times() -> None:
    """Little's law: 64 requests, each 200 ms and 499 further tokens of 12.5 ms."""
    assert read().seen[2] == pytest.approx(64 * 500 / (0.2 + 499 * 0.0125) / 8)


def test_a_total_rate_is_shared_by_the_accelerators() -> None:
    one = read(mode="offline", output_tokens_per_s_total="8,000", ttft_ms="", tpot_ms="")
    assert one.seen[2] == 1000
    assert isnan(one.seen[0])


@pytest.mark.parametrize(
    ("mode", "drive"),
    [
        ("InferenceX agg", CLOSED),
        ("static batch, measured", STATIC),
        ("offline max load", MOST_LOAD),
        ("MLPerf Server", MOST_LOAD),
        ("production, decode nodes", DECODE),
    ],
)
def test_usual_modes_are_understood(mode: str, drive: int) -> None:
    assert read(mode=mode, model="DeepSeek-V3/R1", ep="8").drive == drive


@pytest.mark.parametrize(
    ("cells", "plan", "accelerators"),
    [
        ({"accelerators": "64", "tp": "64", "ep": "8"}, Plan(tp=8, ep=8), 8),
        ({"accelerators": "64", "tp": "1", "ep": "8", "attention_dp": "64"}, Plan(dp=8, ep=8), 8),
        ({"accelerators": "16", "tp": "16", "ep": "4"}, Plan(tp=4, ep=4), 4),
        ({"accelerators": "8", "tp": "8", "ep": "8"}, Plan(tp=8, ep=8), 8),
        ({"accelerators": "4", "tp": "4", "ep": "1"}, Plan(tp=4), 4),
    ],
)
def test_inferencex_gives_tp_times_ep_for_accelerators(
    cells: dict[str, str], plan: Plan, accelerators: int
) -> None:
    one = read(mode="InferenceX agg", model="deepseek-ai/DeepSeek-R1", precision="fp4", **cells)
    assert (one.plan, one.accelerators) == (plan, accelerators)


def test_lengths_of_inferencex_are_drawn_from_80_to_100_percent() -> None:
    """Its three mixes alone: what others measure has the length that it says."""
    one = read(mode="InferenceX agg", input_tokens="8192", output_tokens="1024")
    assert one.traffic[:2] == pytest.approx((0.9 * 8192, 0.9 * 1024))
    assert read(mode="InferenceX agg", input_tokens="4000").traffic.input_tokens == 4000


@pytest.mark.parametrize(
    ("cells", "precision"),
    [
        ({"precision": "", "mode": "MLPerf Offline", "accelerator": "H100 SXM"}, "FP8"),
        ({"precision": "", "mode": "MLPerf Offline", "accelerator": "B200"}, "NVFP4"),
        ({"precision": "fp16", "accelerator": "a100-80gb"}, "BF16"),
        ({"precision": "fp4", "accelerator": "b200_sxm"}, "NVFP4"),
        ({"precision": "mxfp4", "model": "openai/gpt-oss-120b"}, "MXFP4"),
        ({"precision": "fp4", "model": "openai/gpt-oss-120b"}, "MXFP4"),
        ({"precision": ""}, "BF16"),
        ({"precision": "", "model": "nvidia/Llama-3.1-8B-Instruct-FP8"}, "FP8"),
        ({"precision": "", "model": "deepseek-ai/DeepSeek-R1"}, "FP8"),
    ],
)
def test_a_precision_that_is_not_told_is_the_usual(cells: dict[str, str], precision: str) -> None:
    assert read(**cells).precision == precision


def test_rules_of_mlperf_give_lengths_and_limits() -> None:
    cells = {"input_tokens": "", "output_tokens": "", "ttft_ms": "", "tpot_ms": ""}
    cells |= {"output_tokens_per_s_per_accelerator": "4000", "tp": ""}
    one = read(model="llama2-70b-99.9", mode="MLPerf Interactive", **cells)
    assert one.traffic.output_tokens == 294
    assert one.load == (0.0 if not one.load[0] else one.load[0], 0.04, 0.45)
    assert one.plan is None


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ({"mode": "InferenceX disagg"}, "mode is 'InferenceX disagg'"),
        ({"mode": ""}, "mode is ''"),
        ({"accelerators": ""}, "accelerators is empty"),
        ({"concurrency": ""}, "concurrency is empty"),
        ({"output_tokens": ""}, "output_tokens is empty"),
        ({"ttft_ms": "", "tpot_ms": ""}, "nothing is measured"),
        ({"tpot_ms": "fast"}, "tpot_ms is 'fast'"),
        ({"tp": "16"}, "above 8 accelerators"),
        ({"precision": "int3"}, "precision is 'int3'"),
        (
            {"model": "Llama 3.1 405B", "precision": "bf16", "accelerators": "1", "tp": "1"},
            "fill 5.8 times the memory",
        ),
        ({"accelerator": "abacus"}, "'abacus' is not in table accelerators"),
    ],
)
def test_a_row_that_cannot_be_computed_says_why(cells: dict[str, str], said: str) -> None:
    found, unread = serving.measurements([USUAL | cells])
    assert not found
    assert said in unread[0].reason


def test_rows_that_no_plan_can_serve_stand_beside_the_unread() -> None:
    """Nothing that a replica of one holds answers in 40 ms a token, as MLPerf's limit asks."""
    cells = {"tp": "1", "accelerators": "1", "output_tokens_per_s_per_accelerator": "9"}
    slow = read(mode="offline", **cells)._replace(load=(0.0, 1e-4, 1.0))
    found, unread = serving.predictions([slow, read()], [Unread(1, "earlier", "why")])
    assert [one.measured.seen[0] for one in found] == [0.0125]
    assert [one.line for one in unread] == [1, 2]


def test_what_a_row_leaves_open_is_the_plan_of_most_throughput() -> None:
    cells = {"mode": "offline", "tp": "", "output_tokens_per_s_per_accelerator": "1000"}
    one = read(**cells)
    constants = np.array([inputs.serving_efficiency("Hopper", "FP8", "vLLM")])
    best = serving.completed([one], constants)[0]
    rates = [serving.expected([one], [plan], constants)[0, 2] for plan in serving.candidates(one)]
    assert serving.expected([one], [best], constants)[0, 2] == max(rates)
    assert len(rates) == 4


def test_requests_that_are_told_are_of_one_replica() -> None:
    """Else 64 requests on each of eight replicas of one would count as 64 on all."""
    assert serving.candidates(read(tp="")) == [Plan(tp=8)]
    sparse = serving.candidates(read(tp="", model="Qwen3-30B-A3B"))
    assert sparse == [Plan(tp=8), Plan(tp=8, ep=8), Plan(dp=8, ep=8)]


def test_what_is_told_of_a_row_is_plain_json() -> None:
    found, _ = serving.predictions([read(), read(mode="offline", ttft_ms="", **OFFLINE)], [])
    for one in found:
        assert json.loads(json.dumps(one.told())) == one.told()
    assert found[0].told()["covered_tpot_ms"] in (True, False)
    assert found[1].told()["measured_tpot_ms"] is None


def test_a_file_without_its_columns_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("model,accelerator,accelerators\nLlama 3.1 8B,H100,8\n")
    with pytest.raises(StackbookError, match="lacks mode"):
        serving.read(str(path))


def test_every_published_point_is_computed() -> None:
    published = serving.published()
    found, unread = serving.predictions(published, [])
    reasons = {one.reason for one in unread}
    assert len(found) + len(unread) == len(published)
    assert len(unread) <= 20, reasons


# The fit.


@pytest.fixture(scope="module")
def points() -> calibrate_serving.Points:
    return calibrate_serving.Points([one for one in serving.published() if one.fit])


@pytest.fixture(scope="module")
def fitted(points: calibrate_serving.Points) -> np.ndarray:
    """The departures that the committed constants stand for."""
    table = facts.table("serving_efficiency").collect()
    value = {
        (row["symbol"], (row["family"] or "", row["precision"] or "", row["engine"] or "")): row
        for row in table.iter_rows(named=True)
    }
    symbols = list(calibrate_serving.PRIORS)
    x = np.zeros(len(points.keys))
    for slot, (symbol, owner) in enumerate(points.keys):
        column = symbols.index(symbol)
        if symbol == "host" and owner == calibrate_serving.FOR_ALL:
            continue
        number = value[symbol, owner]["value"]
        z = np.log(number / (1 - number)) if points.shares[column] else np.log(number)
        base = points.keys.index((symbol, calibrate_serving.FOR_ALL))
        x[slot] = z - points.centre[column] - (x[base] if slot != base else 0.0)
    points.complete(x)
    return x


def test_the_table_holds_every_constant_of_the_fit(points: calibrate_serving.Points) -> None:
    table = facts.table("serving_efficiency").collect()
    assert table.height == len(points.keys)
    assert set(table["symbol"]) == set(Efficiency._fields)


def test_the_fit_is_the_best_nearby(points: calibrate_serving.Points, fitted: np.ndarray) -> None:
    """No step of a constant for all lowers by a thousandth the loss that the fit makes least."""
    rows = np.arange(len(points.several))

    def loss(x: np.ndarray) -> float:
        off = points.all_errors(x, rows) * points.weights[:, None] / points.noise
        huber = 2 * (np.sqrt(1 + np.nan_to_num(off) ** 2) - 1)
        return float(huber.sum() + ((x / points.spread) ** 2).sum())

    least = loss(fitted)
    for slot, (symbol, owner) in enumerate(points.keys):
        if owner == calibrate_serving.FOR_ALL and symbol != "host":
            for step in (-0.2, 0.2):
                x = fitted.copy()
                x[slot] += step
                assert loss(x) > 0.999 * least, symbol


def accuracy(method: str, quantity: str, group: str) -> dict[str, float]:
    table = facts.table("serving_accuracy").filter(method=method, quantity=quantity, group=group)
    return table.collect().row(0, named=True)


@pytest.mark.parametrize("quantity", serving.QUANTITIES)
def test_errors_of_the_fit_are_as_committed(
    points: calibrate_serving.Points, fitted: np.ndarray, quantity: str
) -> None:
    off = points.all_errors(fitted, np.arange(len(points.several)))
    size = np.abs(np.expm1(off[:, serving.QUANTITIES.index(quantity)]))
    row = accuracy("in sample", quantity, "all")
    assert row["points"] == np.isfinite(size).sum()
    assert np.nanmedian(size) == pytest.approx(row["median_error"], rel=0.02)


@pytest.mark.parametrize("word", ["offline", "server"])
def test_mlperf_is_met_within_15_percent(
    points: calibrate_serving.Points, fitted: np.ndarray, word: str
) -> None:
    rows = np.flatnonzero([one.row["mode"] == word for one in points.several])
    assert np.median(np.abs(np.expm1(points.all_errors(fitted, rows)[:, 2]))) < 0.15


def test_splitwise_is_met_within_15_percent(
    points: calibrate_serving.Points, fitted: np.ndarray
) -> None:
    """Patel et al. 2024, Llama 2 70B on A100: mean error of decode and of prompts."""
    own = ("patel-splitwise-2024", "Llama 2 70B")
    rows = np.flatnonzero([one.group[:2] == own for one in points.several])
    decode, prompt, _ = np.abs(np.expm1(points.all_errors(fitted, rows))).T
    assert decode.mean() < 0.15
    assert prompt.mean() < 0.15


INFERENCEX = "nvidia-aiconfigurator-sample-2026"
BARS = [
    ("in sample", "tpot", 0.10),
    ("in sample", "rate", 0.10),
    ("in sample", "ttft", 0.35),
    ("leave one accelerator out", "tpot", 0.20),
    ("leave one accelerator out", "rate", 0.20),
    ("leave one accelerator out", "ttft", 0.42),
]


@pytest.mark.parametrize(("method", "quantity", "most"), BARS)
def test_inferencex_is_foreseen(method: str, quantity: str, most: float) -> None:
    assert accuracy(method, quantity, INFERENCEX)["median_error"] < most


@pytest.mark.parametrize("quantity", serving.QUANTITIES)
def test_intervals_hold_what_was_left_out(quantity: str) -> None:
    assert 0.85 <= accuracy("leave a tenth out", quantity, "all")["covered"] <= 0.95


def test_multi_token_prediction_follows_from_the_roofline() -> None:
    """DeepSeek's own acceptance and one draft, without a constant fitted to drafted runs."""
    drafted = [one for one in serving.published() if one.row["speculation"] == "MTP"]
    found, _ = serving.predictions(drafted, [])
    assert np.median([abs(one.error(0)) for one in found]) < 0.15
    plain = [one._replace(plan=one.plan._replace(drafts=0)) for one in drafted if one.plan]
    without, _ = serving.predictions(plain, [])
    assert np.median([one.error(0) for one in without]) > 0.4
