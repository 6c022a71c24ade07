"""Fit the efficiency of serving: `python -m stackbook.validation.calibrate_serving`.

Writes tables `serving_efficiency` and `serving_accuracy`. A constant is one number for all points
and departures from it by family, precision or engine, each of which starts at none and goes as far
as points ask for. So what was never measured has the number for all. The loss is Huber's kind.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from stackbook.kernels.serving import CLOSED, Plan, measured
from stackbook.validation import calibration, serving
from stackbook.validation.calibration import OURS, Array, Whole, log_odds, share
from stackbook.validation.serving import EAGER, Measurement

NOISE = (0.08, 0.3, 0.1)  # of log tpot, ttft and rate, where the loss turns linear
STATIC_NOISE = (0.08, 0.1, 0.1)
TAILS = {  # errors differ by model, so that quantiles wider than 5 and 95% hold 90% of another's
    "in sample": 0.05,
    "leave a tenth out": 0.03,
    "leave one accelerator out": 0.02,
    "leave one model out": 0.005,
}
LEAST = 1e-9  # rate of a point that does not fit
Owner = tuple[str, str, str]  # family, precision, engine
FOR_ALL: Owner = ("", "", "")


class Prior(NamedTuple):
    """A constant before points are seen, and what it may depart by."""

    value: float
    spread: float  # of the logarithm, or of the odds' logarithm for a share
    share: bool
    by: Callable[[Measurement], Owner]
    departs: float = 0.4  # spread of a departure


def _all(one: Measurement) -> Owner:
    return FOR_ALL


def _family(one: Measurement) -> Owner:
    return one.family, "", ""


def _both(one: Measurement) -> Owner:
    return one.family, one.precision, ""


def _engine(one: Measurement) -> Owner:
    return "", "", one.engine


def _eager(one: Measurement) -> Owner:
    return _engine(one) if one.engine == EAGER else FOR_ALL


PRIORS = {
    "matmul": Prior(0.6, 0.4, True, _both, 0.8),
    "experts": Prior(0.5, 0.7, True, _family),
    "weights": Prior(0.8, 0.5, True, _both),
    "cache": Prior(0.7, 0.5, True, _family),
    "attention": Prior(0.4, 0.5, True, _family),
    "layer": Prior(3e-5, 0.7, False, _engine, 0.7),
    "latent_layer": Prior(5e-5, 0.7, False, _engine, 0.7),
    "expert_layer": Prior(3e-5, 0.7, False, _engine, 0.7),
    "host": Prior(3e-4, 0.7, False, _eager),
    "iteration": Prior(1e-3, 0.7, False, _engine, 0.7),
    "request": Prior(1e-5, 0.7, False, _engine, 0.7),
    "latency": Prior(8e-6, 0.5, False, _family),
    "up": Prior(0.6, 0.5, True, _family, 0.8),
    "out": Prior(0.8, 0.3, True, _all),
    "skew": Prior(0.3, 0.7, False, _all),
    "first": Prior(0.05, 0.7, False, _engine, 0.7),
    "burst": Prior(0.05, 0.5, False, _engine, 0.4),
}


NUMBERS = {*(symbol for symbol, prior in PRIORS.items() if prior.share), "skew", "burst"}


class Points:
    """Measured points with their plans, and the constants that their predictions depend on."""

    def __init__(self, several: list[Measurement]) -> None:
        self.several = several
        self.stacked = serving.stacked(several)
        self.measured = np.log([one.seen for one in several])
        # What a publisher measures often is one experience, not many.
        groups = [(*one.group, one.precision, one.engine, one.drive) for one in several]
        often = Counter(groups)
        self.weights = np.array([often[group] ** -0.25 for group in groups])
        # Means of the time to first token hold a closed loop's start; static batches have none.
        closed = np.array([one.drive == CLOSED for one in several])
        self.noise = np.where(closed[:, None], NOISE, STATIC_NOISE)
        self.keys: list[tuple[str, Owner]] = []  # of a departure; of all where its owner is empty
        self.slots = np.empty((len(several), len(PRIORS), 2), int)
        spread = []
        for column, (symbol, prior) in enumerate(PRIORS.items()):
            owners = [prior.by(one) for one in several]
            names = sorted({FOR_ALL, *owners})
            first = len(self.keys)
            self.slots[:, column, 0] = first
            self.slots[:, column, 1] = [first + names.index(owner) for owner in owners]
            self.keys += [(symbol, owner) for owner in names]
            spread += [prior.spread] + [prior.departs] * (len(names) - 1)
        self.spread = np.array(spread)
        self.shares = np.array([prior.share for prior in PRIORS.values()])
        value = np.array([prior.value for prior in PRIORS.values()])
        self.centre = np.where(self.shares, log_odds(np.minimum(value, 0.99)), np.log(value))
        self.eager = np.array([one.engine == EAGER for one in several])
        self.start = np.zeros(len(self.keys))
        self.plans = np.empty((len(several), len(Plan._fields)), np.int64)

    def values(self, x: Array) -> Array:
        """Constants of each point: the number for all, and its owner's departure from it."""
        same = self.slots[..., 0] == self.slots[..., 1]
        z = self.centre + x[self.slots[..., 0]] + np.where(same, 0.0, x[self.slots[..., 1]])
        found = np.where(self.shares, share(z), np.exp(z))
        found[~self.eager, list(PRIORS).index("host")] = 0.0
        return np.asarray(found)

    def complete(self, x: Array) -> None:
        """Choose what the points leave open of their plans."""
        self.plans[:] = serving.completed(self.several, self.values(x))

    def all_errors(self, x: Array, rows: Whole) -> Array:
        """Log of expected over measured: of tpot, ttft and rate; NaN where not measured."""
        layouts, clusters, traffics, loads = (each[rows] for each in self.stacked)
        constants = self.values(x)[rows]
        found = measured(layouts, clusters, constants, self.plans[rows], traffics, loads)
        return np.asarray(np.log(np.maximum(found, LEAST)) - self.measured[rows])

    def fit(self, rows: Whole) -> Array:
        """The departures that explain `rows` best."""

        def errors(x: Array) -> Array:
            return np.asarray(
                self.all_errors(x, rows) * self.weights[rows, None] / self.noise[rows]
            )

        return calibration.settle(errors, self.start, self.spread)


def accuracy(
    method: str, several: list[Measurement], off: Array, models: list[str]
) -> list[dict[str, Any]]:
    """Errors of a method by quantity: of each source, each kind of point, and of all."""
    found, tail = [], TAILS[method]
    kinds = np.array([one.kind for one in several])
    sources = np.array([one.group[0] for one in several])
    for column, quantity in enumerate(serving.QUANTITIES):
        seen = np.isfinite(off[:, column])
        inside = np.full(len(several), False)
        inside[seen] = calibration.covered(
            off[seen, column], kinds[seen], np.array(models)[seen], tail
        )
        groups = {name: sources == name for name in sorted(set(sources))}
        groups |= {name: kinds == name for name in sorted(set(kinds))}
        groups["all"] = np.full(len(several), True)
        for name, rows in groups.items():
            rows = rows & seen
            if rows.any():
                told = calibration.summary(off[rows, column], inside[rows], tail)
                key = {"method": method, "quantity": quantity, "group": name}
                found.append(key | {"points": int(rows.sum())} | told | {"source": OURS})
    return found


def main() -> None:
    several = [one for one in serving.published() if one.fit]
    points = Points(several)
    everything, x = np.arange(len(several)), points.start
    for _ in range(3):
        points.complete(x)
        x = points.fit(everything)
    models, accelerators = ([one.group[at] for one in several] for at in (1, 2))
    by_model, without = calibration.left_out(points.fit, points.all_errors, models)
    by_accelerator, _ = calibration.left_out(points.fit, points.all_errors, accelerators)
    by_tenth, _ = calibration.left_out(points.fit, points.all_errors, everything % 10)
    # Jackknife over models, in the numbers that the fit moves.
    jackknife = np.sqrt((len(without) - 1) * ((without - x) ** 2).mean(axis=0))
    calibration.write("serving_efficiency", constants(points, x, jackknife))
    methods = {
        "in sample": points.all_errors(x, everything),
        "leave a tenth out": by_tenth,
        "leave one model out": by_model,
        "leave one accelerator out": by_accelerator,
    }
    told = [row for m, off in methods.items() for row in accuracy(m, several, off, models)]
    calibration.write("serving_accuracy", told)


def constants(points: Points, x: Array, jackknife: Array) -> list[dict[str, Any]]:
    """Rows of table `serving_efficiency`: for all, and for each owner of a departure."""
    found = []
    columns = list(PRIORS)
    for slot, (symbol, owner) in enumerate(points.keys):
        column = columns.index(symbol)
        base = points.keys.index((symbol, FOR_ALL))
        z = points.centre[column] + x[base] + (x[slot] if slot != base else 0.0)
        off = np.hypot(jackknife[base], jackknife[slot] if slot != base else 0.0)
        ends = z + np.array([0.0, -1.645, 1.645]) * off
        value, low, high = share(ends) if points.shares[column] else np.exp(ends)
        if symbol == "host" and owner == FOR_ALL:
            value = low = high = 0.0
        uses = int((points.slots[:, column, 1 if slot != base else 0] == slot).sum())
        family, precision, engine = owner
        key = {"symbol": symbol, "family": family, "precision": precision, "engine": engine}
        rounded = {"value": f"{value:.4g}", "low": f"{low:.4g}", "high": f"{high:.4g}"}
        unit = "1" if symbol in NUMBERS else "s"
        found.append(key | rounded | {"unit": unit, "points": uses, "source": OURS})
    return found


if __name__ == "__main__":
    main()
