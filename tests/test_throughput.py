"""Measured training throughput: how rows are read, what is told of them, and the fitted tables."""

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stackbook import StackbookError, facts, inputs
from stackbook.kernels import training
from stackbook.validation import calibrate, reading, throughput
from stackbook.validation.reading import Unread
from stackbook.validation.throughput import Measurement

USUAL = {
    "model": "Llama 3.1 8B",
    "accelerator": "H100 SXM",
    "accelerators": "64",
    "seq_len": "8192",
    "tokens_per_s_per_accelerator": "9000",
    "source": "ours 2025",
}


def read(**cells: Any) -> Measurement:
    return throughput.measurement(2, USUAL | cells)


# How a row is read.


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("h100_80gb", "H100 SXM"),
        ("H100", "H100 SXM"),
        ("DGX-H100", "H100 SXM"),
        ("H100 PCIe", "H100 PCIe"),
        ("NVIDIA H100 80GB HBM3", "H100 SXM"),
        ("DGX-GB300", "GB300"),
        ("DGX B200", "B200"),
        ("GB200", "GB200"),
        ("a100_40gb", "A100 SXM 40GB"),
        ("a100_80g", "A100 SXM 80GB"),
        ("A100", "A100 SXM 80GB"),
        ("NVIDIA A100 80GB PCIe", "A100 PCIe 80GB"),
        ("TPU v5p", "TPU v5p"),
        ("v5p", "TPU v5p"),
        ("v5e", "TPU v5e"),
        ("tpu-v4", "TPU v4"),
        ("Trillium", "TPU v6e"),
        ("Ironwood", "TPU v7"),
        ("V100", "V100 SXM2 16GB"),
        ("v100-32gb", "V100 SXM2 32GB"),
        ("b200_sxm", "B200"),
        ("8xH100", "H100 SXM"),
        ("h100_pcie", "H100 PCIe"),
        ("NVIDIA H200-NVL-141GB", "H200 NVL"),
        ("Virtualized NVIDIA H200-SXM-141GB", "H200 SXM"),
        ("AMD Instinct MI325X 256GB HBM3e", "MI325X"),
        ("rtx_pro_6000", "RTX Pro 6000 Blackwell"),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", "RTX Pro 6000 Blackwell Server"),
        ("H800", "H800 SXM"),
        ("Gaudi3", "Gaudi 3"),
        ("tpu7x", "TPU v7"),
    ],
)
def test_spellings_of_accelerators(said: str, meant: str) -> None:
    assert reading.accelerator(said) == meant


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("LLAMA3.1_405B", "Llama 3.1 405B"),
        ("LLAMA3_8B", "Llama 3.1 8B"),
        ("llama-3-70b", "Llama 3.1 70B"),
        ("meta-llama/Llama-3.1-8B", "Llama 3.1 8B"),
        ("llama2-70b", "Llama 2 70B"),
        ("Qwen3_30B_a3B", "Qwen3 30B A3B"),
        ("gpt3-175B", "GPT-3"),
        ("turing-530B", "MT-NLG 530B"),
        ("mpt-760m", "MPT 760M"),
        ("DeepSeekV3 (w/o MTP)", "DeepSeek V3"),
        ("mixtral 8x22b", "Mixtral 8x22B"),
        ("Qwen/Qwen3.5-397B-A17B-FP8", "Qwen3.5 397B A17B"),
        ("Qwen/Qwen3-Next-80B-A3B-Instruct", "Qwen3 Next 80B A3B"),
        ("Qwen/Qwen3-235B-A22B-Thinking-2507", "Qwen3 235B A22B"),
        ("Qwen3-32B", "Qwen3 32B"),
        ("llama2-70b-99.9", "Llama 2 70B"),
        ("LLaMA 70B", "Llama 2 70B"),
        ("llama3_1-405b-fp8", "Llama 3.1 405B"),
        ("nvidia/Llama-3.3-70B-Instruct-FP4", "Llama 3.1 70B"),
        ("nvidia/DeepSeek-R1-NVFP4", "DeepSeek V3"),
        ("deepseek-ai/DeepSeek-R1-0528", "DeepSeek V3"),
        ("DeepSeek-V3/R1", "DeepSeek V3"),
        ("DeepSeek-V3.1", "DeepSeek V3"),
        ("openai/gpt-oss-120b", "gpt-oss 120B"),
        ("gptj-99", "GPT-J 6B"),
        ("google/gemma-3-27b-it", "Gemma 3 27B"),
        ("Mistral-Large-Instruct-2407", "Mistral Large 2"),
        ("nvidia/Kimi-K2.5-NVFP4", "Kimi K2"),
        ("MiniMaxAI/MiniMax-M2.5", "MiniMax-M2"),
        ("zai-org/GLM-4.7-FP8", "GLM-4.5"),
    ],
)
def test_spellings_of_models(said: str, meant: str) -> None:
    assert reading.architecture(USUAL | {"model": said}) == inputs.architecture(meant)


@pytest.mark.parametrize(
    "said", ["Qwen3.5-35B-A3B", "GLM-4.7-Flash-30B-A3B", "Mixtral-8x3B", "Qwen3-VL-30B-A3B"]
)
def test_a_sparse_model_of_another_shape_is_not_taken_for_one_that_is_known(said: str) -> None:
    with pytest.raises(StackbookError, match="is sparse and not in table transformers"):
        reading.architecture(USUAL | {"model": said})


@pytest.mark.parametrize("said", ["DeepSeek-V3.2", "GLM-5", "Mistral Large", "DeepSeek-R1-Distill"])
def test_a_model_that_may_have_another_shape_is_not_taken_for_its_namesake(said: str) -> None:
    with pytest.raises(StackbookError, match="is not in table transformers; give its layers"):
        reading.architecture(USUAL | {"model": said})


def test_a_model_is_built_from_its_numbers() -> None:
    numbers = {"model": "mine", "layers": "40", "hidden": "5120", "heads": "40"}
    found = reading.architecture(numbers)
    assert (found.layers, found.width, found.heads, found.head_size) == (40, 5120, 40, 128)
    assert found.ffn == 4 * 5120
    wide = reading.architecture(numbers | {"params_b": "20"})
    assert wide.parameters == pytest.approx(20e9, rel=0.01)


@pytest.mark.parametrize("billions", [0.125, 1.3, 22, 175, 1000])
def test_a_model_is_built_from_its_size(billions: float) -> None:
    by_cell = reading.architecture({"model": "mine", "params_b": str(billions)})
    assert by_cell.parameters == pytest.approx(billions * 1e9, rel=0.1)
    assert reading.architecture({"model": f"mine-{billions:g}B"}) == by_cell


def test_blank_cells_are_no_numbers() -> None:
    blanks = ("", "n/a", "NA", "-", "nan", " ", None)
    known = read(global_batch="128", micro_batch="2")
    for blank in blanks:
        row = {name: blank for name in ("tp", "pp", "vp", "cp", "ep", "dp", "recompute", "mfu")}
        assert read(global_batch="128", micro_batch="2", **row).given == known.given


def test_what_a_row_says_of_its_plan_is_given() -> None:
    told = read(tp="4", pp="2", global_batch="1,024", micro_batch="2", recompute="Selective")
    expected = {"tp": 4, "pp": 2, "cp": 1, "ep": 1, "dp": 8, "micro_batch": 2, "recompute": 1}
    assert told.given.items() >= expected.items()
    assert told.batch == 1024
    assert "tp" not in read().given


def test_a_batch_that_is_not_told_is_about_four_million_tokens() -> None:
    found = read(accelerators="8")
    assert found.batch % 8 == 0
    assert found.batch * 8192 == pytest.approx(throughput.BATCH_TOKENS, rel=0.02)


def test_speeds_of_any_kind_are_tokens_per_second() -> None:
    """One speed, said in four ways, percent or not."""
    base = {"global_batch": "128", "tokens_per_s_per_accelerator": ""}
    model = inputs.architecture("Llama 3.1 8B")
    tokens = 9000.0
    seconds = 128 * 8192 / 64 / tokens
    causal = model.training_flop_per_token(8192)
    attention = causal - 6 * model.matmul_parameters
    whole = 6 * model.matmul_parameters + attention * 2 * 8192 / 8193
    peak = inputs.cluster("H100 SXM").flops
    for cells in (
        {"tokens_per_s_per_accelerator": "9,000"},
        {"step_s": str(seconds)},
        {"tflops_per_accelerator": str(tokens * whole / 1e12)},
        {"tflops_per_accelerator": str(tokens * causal / 1e12), "flop_counted": "model_causal"},
        {
            "tflops_per_accelerator": str(tokens * 6 * model.active_parameters / 1e12),
            "flop_counted": "6N",
        },
        {"mfu": str(tokens * whole / peak)},
        {"mfu": str(100 * tokens * whole / peak)},
    ):
        found = read(**base | cells)
        assert found.tokens_per_s == pytest.approx(tokens), cells
        assert found.seconds == pytest.approx(seconds)


def test_before_mfu_recomputed_work_counted() -> None:
    told = {
        "tokens_per_s_per_accelerator": "",
        "tflops_per_accelerator": "400",
        "recompute": "full",
    }
    before, after = read(source="x 2021", **told), read(source="x 2024", **told)
    assert 1.25 < after.tokens_per_s / before.tokens_per_s < 4 / 3
    assert before.given["fused"] == 0 and "fused" not in after.given


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ({"seq_len": ""}, "seq_len is empty"),
        ({"accelerators": "n/a"}, "accelerators is empty"),
        ({"accelerators": "8.5"}, "accelerators is '8.5', no whole number"),
        ({"seq_len": "long"}, "seq_len is 'long', no number"),
        ({"tp": "-1"}, "tp is '-1'; give 0 or more"),
        ({"accelerator": "abacus"}, "accelerator 'abacus' is not in table accelerators"),
        ({"accelerator": "Arc Pro B60 Dual 48G"}, "'Arc Pro B60 Dual 48G' is not in table acc"),
        ({"accelerator": "MI325X (x16), MI300X (x8)"}, "is of several kinds; give rows of one"),
        ({"model": "Qwen3.5-397B-A17B"}, "45 layers with linear attention is not modelled; take"),
        ({"precision": "int3"}, "precision is 'int3'; give BF16, FP8, MXFP8 or NVFP4"),
        ({"precision": "fp8", "accelerator": "A100"}, "has no fp8_flops in table accelerators"),
        ({"model": "nobody's"}, "not in table transformers; give its layers and hidden, or params"),
        ({"model": "X 9B", "params_b": "9", "active_params_b": "1"}, "sparse and not in table"),
        ({"tp": "8", "pp": "3"}, "tp x pp x cp x dp is 24, not 64 accelerators"),
        ({"tp": "8", "pp": "2", "dp": "2"}, "tp x pp x cp x dp is 32, not 64 accelerators"),
        ({"recompute": "some"}, "recompute is 'some'; give none, selective or full"),
        ({"tokens_per_s_per_accelerator": ""}, "nothing is measured; give one of tokens_per_s"),
    ],
)
def test_a_row_that_cannot_be_read_says_why(cells: dict[str, str], reason: str) -> None:
    rows = [USUAL, USUAL | cells]
    found, unread = throughput.measurements(rows)
    assert [one.line for one in found] == [2]
    (bad,) = unread
    assert bad.line == 3 and reason in bad.reason


def test_a_row_without_a_plan_is_unread() -> None:
    odd = read(global_batch="63", tp="1", pp="1")
    predictions, unread = throughput.predictions([odd, read()], [Unread(1, "earlier", "why")])
    assert len(predictions) == 1
    assert [one.line for one in unread] == [1, 2]
    assert unread[1].reason.startswith("no plan for a batch of 63 on 64 accelerators has tp 1,")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model,accelerator\nx,y\n", "lacks accelerators, seq_len; its columns are model, accel"),
        ("model,accelerator,accelerators,seq_len\n", "lacks any of tokens_per_s_per_"),
        ("a,b\n1,2,3\n", "is no UTF-8 CSV"),
    ],
)
def test_a_file_that_is_no_table_of_rows(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(text)
    with pytest.raises(StackbookError, match=message):
        throughput.read(str(path))


def test_the_plan_agrees_with_the_row_and_is_the_fastest() -> None:
    one = read(global_batch="256", tp="2", accelerators="64", recompute="none")
    found = throughput.predict(one)
    assert one.given.items() <= found.plan._asdict().items()
    roomy = one.cluster._replace(memory_bytes=throughput.ROOM * one.cluster.memory_bytes)
    efficiency = inputs.efficiency("Hopper")
    best = training.plans(one.layout, roomy, efficiency, 256, 64, 1, **one.given)
    assert found.plan == best.plans[0]
    assert found.tokens_per_s == pytest.approx(256 * 8192 / 64 / found.step.seconds)
    assert found.low < found.tokens_per_s < found.high


# The command line, end to end.

ROWS = [
    USUAL | {"global_batch": "128", "mine": "kept"},
    USUAL | {"model": "Llama 3 70B", "tokens_per_s_per_accelerator": "", "mfu": "41%"},
    USUAL
    | {"model": "LLAMA3_70B", "accelerator": "a100_80gb", "tokens_per_s_per_accelerator": "500"},
    USUAL | {"source": "another", "accelerator": "TPU v5p", "tokens_per_s_per_accelerator": "7000"},
    USUAL | {"accelerator": "abacus"},
    USUAL | {"model": "a, quoted"},
]


def validate(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "stackbook.cli", "validate", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rows")
    columns = list(dict.fromkeys(name for row in ROWS for name in row))
    with (folder / "rows.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(ROWS)
    return folder


def test_rows_of_ones_own_as_json(folder: Path) -> None:
    done = validate("training", "--rows", "rows.csv", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert [row["line"] for row in told["unread"]] == [3, 6, 7]
    assert "mfu is '41%', no number" in told["unread"][0]["reason"]
    rows = told["rows"]
    assert len(rows) == 3 and rows[0]["mine"] == "kept"
    for row in rows:
        predicted = row["predicted_tokens_per_s_per_accelerator"]
        measured = row["measured_tokens_per_s_per_accelerator"]
        assert row["error"] == pytest.approx(predicted / measured - 1)
        assert row["covered"] == (row["low"] <= measured <= row["high"])
        assert row["predicted_step_s"] / row["measured_step_s"] == pytest.approx(
            measured / predicted
        )
    for summary in told["summary"]:
        of_group = [r for r in rows if summary["group"] in ("all", r["source"])]
        errors = np.array([row["error"] for row in of_group])
        assert summary == pytest.approx(
            {
                "group": summary["group"],
                "rows": len(of_group),
                "median_error": np.median(abs(errors)),
                "mean_error": abs(errors).mean(),
                "p90_error": np.quantile(abs(errors), 0.9),
                "bias": np.median(errors),
                "coverage": np.mean([row["covered"] for row in of_group]),
            }
        )
    assert [one["group"] for one in told["summary"]] == ["another", "ours 2025", "all"]


def test_rows_of_ones_own_as_text(folder: Path) -> None:
    done = validate("training", "--rows", "rows.csv", cwd=folder)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[-1] == "3 rows computed, 3 could not be read"
    assert lines[-3] == "row 6, Llama 3.1 8B: accelerator 'abacus' is not in table accelerators"
    assert lines[-2].startswith("row 7, a, quoted: model 'a, quoted' is not in table transformers")


def test_rows_go_with_measurements_alone(folder: Path) -> None:
    done = validate("D", "--rows", "rows.csv", cwd=folder)
    assert done.returncode == 1
    told = "give it with `stackbook validate training` or `stackbook validate serving`"
    assert done.stderr == f"error: --rows rows.csv: {told}\n"
    absent = validate("training", "--rows", "absent.csv", cwd=folder)
    assert absent.returncode == 1 and absent.stderr.count("\n") == 1


# The committed tables.


def accuracy(method: str, group: str) -> dict[str, Any]:
    rows = facts.table("training_accuracy").filter(method=method, group=group).collect()
    return rows.row(0, named=True)


@pytest.fixture(scope="module")
def runs() -> calibrate.Runs:
    return calibrate.Runs(throughput.published())


@pytest.fixture(scope="module")
def fitted(runs: calibrate.Runs) -> Any:
    """Plans and constants in turn, as the script finds them."""
    x, everything = runs.start, np.arange(len(runs.runs))
    for _ in range(3):
        runs.complete(x)
        x = runs.fit(everything)
    return x


def test_the_fit_gives_the_committed_constants(runs: calibrate.Runs, fitted: Any) -> None:
    rows = facts.table("training_efficiency").collect().rows(named=True)
    table = {(r["symbol"], r["family"] or "", r["precision"] or ""): r["value"] for r in rows}
    found = dict(zip(runs.keys, runs.values(fitted), strict=True))
    assert found == pytest.approx(table, rel=0.01)


def test_the_fit_is_the_best_nearby(runs: calibrate.Runs, fitted: Any) -> None:
    """Of the robust loss with its priors, written plainly."""
    everything = np.arange(len(runs.runs))

    def loss(x: Any) -> float:
        off = runs.errors(x, everything) * runs.weights / calibrate.NOISE
        priors = (x - runs.start) / runs.spread
        return float(2 * np.sum(np.sqrt(1 + off**2) - 1) + np.sum(priors**2))

    least = loss(fitted)
    for slot, spread in enumerate(runs.spread):
        for sign in (-0.05, 0.05):
            x = fitted.copy()
            x[slot] += sign * spread
            assert loss(x) > least - 1e-3


def test_errors_of_the_fit_are_as_committed(runs: calibrate.Runs, fitted: Any) -> None:
    errors = runs.errors(fitted, np.arange(len(runs.runs)))
    off = np.abs(np.expm1(errors))
    row = accuracy("in sample", "all")
    assert row["runs"] == len(off)
    assert np.median(off) == pytest.approx(row["median_error"], rel=0.01)
    assert off.mean() == pytest.approx(row["mean_error"], rel=0.01)


def test_a_model_left_out_is_predicted_without_its_runs(runs: calibrate.Runs, fitted: Any) -> None:
    """Of the eight iteration times of Korthikanti et al. 2022, one model after another."""
    source = "korthikanti-recomputation-2022"
    models = np.array([one.group[1] for one in runs.runs])
    eight = np.array([one.group[0] == source for one in runs.runs])
    off = []
    for model in sorted(set(models[eight])):
        x = runs.fit(np.flatnonzero(models != model))
        off += np.expm1(runs.errors(x, np.flatnonzero(eight & (models == model)))).tolist()
    assert len(off) == 8
    row = accuracy("leave one model out", source)
    assert np.mean(np.abs(off)) == pytest.approx(row["mean_error"], rel=0.01)


BARS = [
    ("in sample", "korthikanti-recomputation-2022", "mean_error", 0, 0.03),
    ("leave one model out", "16 bits, A100 and H100", "median_error", 0, 0.08),
    ("leave one model out", "all", "median_error", 0, 0.12),
    ("leave one model out", "all", "covered", 0.85, 0.95),
    ("leave one model out", "16 bits, A100 and H100", "covered", 0.85, 0.95),
    ("leave one system out", "16 bits, A100 and H100", "median_error", 0, 0.08),
    ("leave one system out", "all", "median_error", 0, 0.12),
    ("leave one system out", "all", "covered", 0.85, 0.95),
]


@pytest.mark.parametrize(("method", "group", "column", "low", "high"), BARS)
def test_bars(method: str, group: str, column: str, low: float, high: float) -> None:
    assert low <= accuracy(method, group)[column] <= high


def test_iteration_times_are_met_by_the_command_too() -> None:
    """As it predicts them: within 3% of the eight on average."""
    found = [
        throughput.predict(one)
        for one in throughput.published()
        if one.group[0] == "korthikanti-recomputation-2022"
    ]
    assert len(found) == 8
    assert np.mean([abs(p.step.seconds / p.measured.seconds - 1) for p in found]) <= 0.03
