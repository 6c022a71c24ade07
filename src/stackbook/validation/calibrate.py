"""Fit the efficiency of training to the measured runs: `python -m stackbook.validation.calibrate`.

Writes tables `training_efficiency` and `training_accuracy`. Each constant starts from a value that
is plausible before any run is seen, and departs from it as far as runs ask for: a family without
runs of a kind keeps it. The loss is that of Huber's kind, so that a run gone wrong pulls little.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from stackbook import inputs
from stackbook.kernels.training import Efficiency, Plan, step_seconds
from stackbook.validation import calibration
from stackbook.validation.calibration import OURS, Array, Whole
from stackbook.validation.throughput import Measurement, completed, published

NOISE = 0.08  # of log time between a run and the model at its best, where the loss turns linear


class Prior(NamedTuple):
    """A constant before runs are seen, and what it may depend on."""

    value: float
    spread: float  # of the logarithm, or of the odds' logarithm for a share
    share: bool
    of: Callable[[Measurement], tuple[str, str]]  # family and precision, empty where for all


def _precision(one: Measurement) -> tuple[str, str]:
    return one.family, one.precision


def _family(one: Measurement) -> tuple[str, str]:
    return one.family, ""


def _all(one: Measurement) -> tuple[str, str]:
    return "", ""


PRIORS = {
    "matmul": Prior(0.7, 0.4, True, _precision),
    "attention": Prior(0.5, 0.6, True, _family),
    "edge": Prior(1.0, 0.7, False, _all),
    "passes": Prior(4.0, 0.5, False, _all),
    "launch": Prior(1e-4, 0.7, False, _all),
    "up": Prior(0.8, 0.25, True, _all),
    "out": Prior(0.8, 0.3, True, _all),
    "tensor_hidden": Prior(0.3, 1.0, True, _all),
    "expert_hidden": Prior(0.3, 1.0, True, _all),
    "data_hidden": Prior(0.6, 1.0, True, _all),
    "skew": Prior(0.1, 1.0, False, _all),
    "jitter": Prior(0.004, 0.7, False, _all),
}


class Runs:
    """Measured runs with their plans, and the constants that their predictions depend on."""

    def __init__(self, runs: list[Measurement]) -> None:
        self.runs = runs
        self.layouts = np.array([one.layout for one in runs])
        self.clusters = np.array([one.cluster for one in runs], float)
        self.batches = np.array([one.batch for one in runs], float)
        self.plans = np.empty((len(runs), len(Plan._fields)), np.int64)
        self.measured = np.log([one.seconds for one in runs])
        # What a publisher measures often is one experience, not many.
        often = Counter((*one.group, one.precision) for one in runs)
        self.weights = np.array([often[*one.group, one.precision] ** -0.25 for one in runs])
        self.keys: list[tuple[str, str, str]] = []
        self.slots = np.empty((len(runs), len(PRIORS)), int)
        for column, (symbol, prior) in enumerate(PRIORS.items()):
            owners = [(symbol, *prior.of(one)) for one in runs]
            self.keys += sorted(set(owners))
            self.slots[:, column] = [self.keys.index(owner) for owner in owners]
        self.shares = np.array([PRIORS[symbol].share for symbol, *_ in self.keys])
        start = [PRIORS[symbol].value for symbol, *_ in self.keys]
        self.start = np.log(
            [v / (1 - v) if s else v for v, s in zip(start, self.shares, strict=True)]
        )
        self.spread = np.array([PRIORS[symbol].spread for symbol, *_ in self.keys])

    def complete(self, x: Array) -> None:
        """Choose what the runs leave open of their plans."""
        efficiencies = self.values(x)[self.slots]
        for row, one in enumerate(self.runs):
            self.plans[row] = completed(one, Efficiency(*map(float, efficiencies[row])))

    def values(self, x: Array) -> Array:
        """Constants of the unbounded numbers that the fit moves."""
        return np.asarray(np.where(self.shares, calibration.share(x), np.exp(x)))

    def errors(self, x: Array, rows: Whole) -> Array:
        """Log of expected over measured throughput."""
        efficiencies = self.values(x)[self.slots[rows]]
        seconds = step_seconds(
            *(self.layouts[rows], self.clusters[rows], efficiencies),
            *(self.batches[rows], self.plans[rows]),
        )
        return np.asarray(self.measured[rows] - np.log(seconds))

    def fit(self, rows: Whole) -> Array:
        """The constants that explain `rows` best."""

        def errors(x: Array) -> Array:
            return np.asarray(self.errors(x, rows) * self.weights[rows] / NOISE)

        return calibration.settle(errors, self.start, self.spread)


def _kind(one: Measurement) -> str:
    return one.kind


def _model(one: Measurement) -> str:
    return one.group[1]


USUAL = "16 bits, A100 and H100"


def accuracy(method: str, runs: list[Measurement], errors: Array) -> list[dict[str, Any]]:
    """Errors of a method by source, by kind, for the usual, and of all."""
    inside = calibration.covered(
        errors, [_kind(one) for one in runs], [_model(one) for one in runs]
    )
    groups: dict[str, Array] = {}
    for get in (lambda one: one.group[0], _kind):
        names = np.array([get(one) for one in runs])
        groups |= {name: names == name for name in sorted(set(names))}
    usual = [inputs.usual(one.family, one.precision) for one in runs]
    groups |= {USUAL: np.array(usual), "all": np.full(len(runs), True)}
    found = []
    for name, rows in groups.items():
        told = calibration.summary(errors[rows], inside[rows])
        found.append(
            {"method": method, "group": name, "runs": int(rows.sum())} | told | {"source": OURS}
        )
    return found


def main() -> None:
    measured = published()
    runs = Runs(measured)
    everything, x = np.arange(len(measured)), runs.start
    for _ in range(3):
        runs.complete(x)
        x = runs.fit(everything)
    by_model, without = calibration.left_out(
        runs.fit, runs.errors, [_model(one) for one in measured]
    )
    by_system, _ = calibration.left_out(runs.fit, runs.errors, [one.group[2] for one in measured])
    by_tenth, _ = calibration.left_out(runs.fit, runs.errors, [row % 10 for row in everything])
    # Jackknife over models, in the numbers that the fit moves.
    error = np.sqrt((len(without) - 1) * ((without - x) ** 2).mean(axis=0))
    low, high = (runs.values(x + sign * 1.645 * error) for sign in (-1, 1))
    constants: list[dict[str, Any]] = [
        {"symbol": symbol, "family": family, "precision": precision}
        | {"value": f"{value:.4g}", "low": f"{below:.4g}", "high": f"{above:.4g}"}
        | {"unit": "s" if symbol == "launch" else "1", "runs": int((runs.slots == slot).sum())}
        | {"source": OURS}
        for slot, ((symbol, family, precision), value, below, above) in enumerate(
            zip(runs.keys, runs.values(x), low, high, strict=True)
        )
    ]
    calibration.write("training_efficiency", constants)
    errors = {
        "in sample": runs.errors(x, everything),
        "leave a tenth out": by_tenth,
        "leave one model out": by_model,
        "leave one system out": by_system,
    }
    calibration.write(
        "training_accuracy", [r for m, e in errors.items() for r in accuracy(m, measured, e)]
    )


if __name__ == "__main__":
    main()
