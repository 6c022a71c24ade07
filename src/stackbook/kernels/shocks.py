"""Suppliers that fail: how often, how long and together, and what that costs who depends on them.

Outages are drawn first and then looked at from each firm, so that firms, and what a firm could do,
are compared on the same outages. A firm makes as much as its scarcest input allows.
"""

from math import inf, nan, sqrt
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stackbook.kernels.elementary import exp, expm1, log1p
from stackbook.kernels.jit import formula, on_threads, search
from stackbook.kernels.uncertainty import normal_cdf, normal_quantile

Floats = NDArray[np.float64]
_TOGETHER = 2_000  # scenarios that share a stream of random numbers
_ROUNDING = 1e-9  # shares that add up to 1 but for this


class Suppliers(NamedTuple):
    """Who can fail: numbers, or arrays of a number each. One in two layers is two of them."""

    layer: Any  # what it supplies, as a whole number from 0
    share: Any  # of the layer's supply [1]
    failures_per_year: Any  # [1/yr]
    outage_years: Any  # median length of an outage [yr]
    sigma: Any  # standard deviation of the logarithm of that length [1]
    cut: Any  # share of the supplier's capacity that an outage takes [1]


class Buyers(NamedTuple):
    """Who depends on them. What a firm has of no supplier here never fails.

    A firm whose dependency is the suppliers' shares is the market. Inventories are used up at the
    full rate, also while another layer limits output.
    """

    dependency: Any  # share of a firm's (row) input of the layer that a supplier (column) gives [1]
    substitution: Any  # of what is lost, by as much of the layer as works; by firm and layer [1]
    inventory_years: Any  # of use, by firm and layer [yr]


class Outages(NamedTuple):
    """Outages that begin within a year, one after another, scenario by scenario."""

    first: NDArray[np.int64]
    """Number of the first outage of each scenario, and of the first after the last."""
    supplier: NDArray[np.int64]
    start: Floats
    """Since the start of the year [yr]."""
    end: Floats
    """On the same clock [yr], also beyond the year."""


class Risk(NamedTuple):
    """Output lost by outages that begin within a year, over a year's output, by firm."""

    mean: Floats
    value_at_risk: Floats
    """The least loss of the worst scenarios."""
    shortfall: Floats
    """The mean loss of the worst scenarios."""
    contributions: Floats
    """To the shortfall, by firm and supplier: they add up to it.

    Of layers that are short at once only the scarcest costs output. What two of them lack is due to
    both in equal parts (the Shapley value of a maximum), and what one lacks beyond that, to it
    alone. Within a layer suppliers share by what the firm misses of each.
    """


# --- How often, how long and together ---


@formula
def median_outage(mean_years: float, deviation_years: float) -> float:
    """Median of a lognormal length of outages.

    mean_years: mean length [yr], above 0
    deviation_years: standard deviation of it [yr], 0 or more
    returns: [yr]
    source: definition of the lognormal distribution
    """
    if not (mean_years > 0 and deviation_years >= 0):
        return nan
    ratio = deviation_years / mean_years
    return mean_years / sqrt(1 + ratio * ratio)


@formula
def outage_sigma(mean_years: float, deviation_years: float) -> float:
    """Standard deviation of the logarithm of a lognormal length of outages.

    mean_years: mean length [yr], above 0
    deviation_years: standard deviation of it [yr], 0 or more
    returns: [1]
    source: definition of the lognormal distribution
    """
    if not (mean_years > 0 and deviation_years >= 0):
        return nan
    ratio = deviation_years / mean_years
    return sqrt(log1p(ratio * ratio))


def region_correlation(regions: ArrayLike, within: float, across: float) -> Floats:
    """Correlation of suppliers who share what happens to their region, and to the world.

    regions: name or number of each supplier's region [1]
    within, across: correlation of two of one region, and of two regions [1], 0 to within to 1
    returns: [1], a row and a column for each supplier
    source: one-factor Gaussian copula (Vasicek 1987; Li 2000), with a factor for each region
    """
    if not 0 <= across <= within <= 1:
        raise ValueError(
            f"across = {across:g}, within = {within:g}: give 0 <= across <= within <= 1"
        )
    names = np.asarray(regions)
    found = np.where(names[:, None] == names, within, across)
    np.fill_diagonal(found, 1.0)
    return found


def simulate_outages(
    suppliers: Suppliers,
    correlation: ArrayLike,
    scenarios: int,
    seed: int,
    freedom: float = inf,
) -> Outages:
    """Outages of a year, many times: each supplier's begin as a Poisson process.

    suppliers: who can fail [1]
    correlation: of the scores behind times between failures, and behind lengths of outages [1]
    scenarios, seed: how many [1], 1 or more, and of the draws, the same on any threads [1]
    freedom: of a t copula of the times, even [1], 2 to 200; infinite is Gaussian
    returns: Outages [1]; ValueError for bad numbers
    source: Li 2000, copula of the times; Demarta and McNeil 2005, t copula
    """
    each = _suppliers(suppliers)
    root = _root(correlation, each.layer.size)
    if scenarios < 1:
        raise ValueError(f"scenarios = {scenarios}: give 1 or more")
    if not (freedom == inf or (2 <= freedom <= 200 and freedom % 2 == 0)):
        raise ValueError(f"freedom = {freedom:g}: give an even number from 2 to 200, or infinity")
    half = 0 if freedom == inf else int(freedom) // 2
    # Scores from these on are times beyond the year, which need no more digits.
    chances = -expm1(-each.failures_per_year)
    limits = np.array([_quantile(chance, half) for chance in chances])
    starts = range(0, scenarios, _TOGETHER)
    streams = map(np.random.default_rng, np.random.SeedSequence(seed).spawn(len(starts)))

    def some(start: int, stream: np.random.Generator) -> tuple[Any, ...]:
        size = min(_TOGETHER, scenarios - start)
        given = each.failures_per_year, each.outage_years, each.sigma
        return _draw(stream, size, half, root, limits, *given)  # type: ignore[no-any-return]

    counts, *columns = zip(*on_threads(some, starts, list(streams)), strict=True)
    first = np.concatenate([[0], np.cumsum(np.concatenate(counts))])
    return Outages(first, *map(np.concatenate, columns))


def _quantile(chance: float, half: int) -> float:
    if not 0 < chance < 1:
        return inf if chance >= 1 else -inf
    if half == 0:
        return float(normal_quantile(chance))
    low, high = -1e150, 1e150
    for _ in range(1100):  # until they are neighbours
        middle = low + (high - low) / 2
        low, high = (middle, high) if _t_cdf(middle, half) < chance else (low, middle)
    return high


@search
def _t_cdf(t: float, half: int) -> float:
    """Student's t distribution of 2 half degrees of freedom: Abramowitz and Stegun 26.7.4."""
    square = 2.0 * half + t * t
    cosine, term, total = 2.0 * half / square, 1.0, 1.0
    for i in range(1, half):
        term *= cosine * (2 * i - 1) / (2 * i)
        total += term
    return 0.5 + 0.5 * total * t / sqrt(square)


@search
def _scores(stream: np.random.Generator, root: Floats, own: Floats, scores: Floats) -> None:
    """Fill in correlated standard normal scores."""
    for k in range(own.size):
        own[k] = stream.standard_normal()
        score = 0.0
        for i in range(k + 1):
            score += root[k, i] * own[i]
        scores[k] = score


@search
def _draw(
    stream: np.random.Generator,
    size: int,
    half: int,
    root: Floats,
    limits: Floats,
    rates: Floats,
    medians: Floats,
    sigmas: Floats,
) -> Any:
    """Outages by scenario, and of each the supplier, start and end.

    The first failures of all suppliers are drawn together, then the second of those that had one.
    """
    count, total, room = rates.size, 0, size + 8
    counts = np.zeros(size, np.int64)
    supplier, start, end = np.empty(room, np.int64), np.empty(room), np.empty(room)
    own, scores, clock = np.empty(count), np.empty(count), np.empty(count)
    for scenario in range(size):
        clock[:] = 0.0
        before, again = total, True
        while again:
            again, new = False, total
            _scores(stream, root, own, scores)
            scale = 1.0
            if half > 0:
                chi_square = 0.0
                for _ in range(half):
                    chi_square -= 2 * log1p(-stream.random())
                scale = sqrt(2 * half / chi_square)
            if total + count > room:
                room = 2 * room + count
                supplier, start, end = _longer(supplier, start, end, room)
            for k in range(count):
                score = scores[k] * scale
                if not (clock[k] < 1 and score < limits[k]):
                    clock[k] = 1.0
                    continue
                below = _t_cdf(score, half) if half > 0 else normal_cdf(score)
                clock[k] -= log1p(-below) / rates[k]
                if clock[k] < 1:
                    supplier[total], start[total] = k, clock[k]
                    total += 1
                    again = True
            if again:
                _scores(stream, root, own, scores)
                for i in range(new, total):
                    k = supplier[i]
                    end[i] = start[i] + medians[k] * exp(sigmas[k] * scores[k])
        counts[scenario] = total - before
    return counts, supplier[:total].copy(), start[:total].copy(), end[:total].copy()


@search
def _longer(supplier: NDArray[np.int64], start: Floats, end: Floats, room: int) -> Any:
    suppliers, starts, ends = np.empty(room, np.int64), np.empty(room), np.empty(room)
    suppliers[: supplier.size], starts[: start.size], ends[: end.size] = supplier, start, end
    return suppliers, starts, ends


# --- What it costs ---


def losses(outages: Outages, suppliers: Suppliers, buyers: Buyers) -> Floats:
    """Output that outages cost each firm in each scenario, over a year's output.

    outages: as simulated for the suppliers [1]
    suppliers: who can fail [1]
    buyers: who depends on them; whose inventories last until they are used up [1]
    returns: [1] by scenario and firm, above 1 where outages last long
    source: Leontief 1941, fixed proportions: the scarcest input limits output
    """
    given = _given(outages, suppliers, buyers)
    lost = np.zeros((outages.first.size - 1, len(given[-1])))
    nothing = np.zeros((0, 0), dtype=np.bool_), np.zeros((0, 0))

    def some(start: int) -> None:
        part = slice(start, min(start + _TOGETHER, len(lost)))
        arguments = np.arange(part.start, part.stop), outages, *given, *nothing, lost[part]
        _lose(*arguments)

    on_threads(some, range(0, len(lost), _TOGETHER))
    return lost


def risk(outages: Outages, suppliers: Suppliers, buyers: Buyers, level: float) -> Risk:
    """Value at risk and expected shortfall of each firm, and what of it is due to each supplier.

    outages, suppliers, buyers: as for losses [1]
    level: share of scenarios that are not the worst [1], 0 to below 1
    returns: Risk [1]
    source: Tasche 2007, Euler contributions; Littlechild and Owen 1973, Shapley value of a maximum
    """
    if not 0 <= level < 1:
        raise ValueError(f"level = {level:g}: give 0 to below 1")
    given = _given(outages, suppliers, buyers)
    lost = losses(outages, suppliers, buyers)
    size = max(1, int(np.ceil(len(lost) * (1 - level) - 1e-6)))
    order = np.argsort(-lost, axis=0, kind="stable")[:size]
    tail = np.take_along_axis(lost, order, axis=0)
    wanted = np.zeros(lost.shape, dtype=np.bool_)
    np.put_along_axis(wanted, order, True, axis=0)
    worst = np.flatnonzero(wanted.any(axis=1))

    def some(start: int) -> Floats:
        chosen = worst[start : start + _TOGETHER]
        parts = np.zeros((lost.shape[1], given[0].size))
        scratch = np.zeros((chosen.size, lost.shape[1]))
        _lose(*(chosen, outages, *given, wanted[chosen], parts, scratch))
        return parts

    parts = np.array(on_threads(some, range(0, worst.size, _TOGETHER))).sum(axis=0)
    return Risk(lost.mean(axis=0), tail[-1], tail.mean(axis=0), parts / size)


def diversified(suppliers: Suppliers, buyers: Buyers, supplier: int, share: float) -> Buyers:
    """The same firms, each of which takes a share of its input from one supplier more.

    suppliers: who can fail, with the one more [1]
    buyers: who depends on them [1]
    supplier: number of the one more, from 0 [1]
    share: of what a firm has from others of the layer that it takes from the one [1], 0 to 1
    returns: Buyers [1]
    source: definition, the others give up in proportion
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share = {share:g}: give 0 to 1")
    layer = _suppliers(suppliers).layer
    if not 0 <= supplier < layer.size:
        raise ValueError(f"supplier = {supplier}: give a number from 0 to {layer.size - 1}")
    dependency = _dependency(buyers, layer.size)
    others = (layer == layer[supplier]) & (np.arange(layer.size) != supplier)
    dependency[:, supplier] += share * dependency[:, others].sum(axis=1)
    dependency[:, others] *= 1 - share
    return buyers._replace(dependency=dependency)


@search
def _lose(
    chosen: NDArray[np.int64],
    outages: Outages,
    layer: NDArray[np.int64],
    share: Floats,
    cut: Floats,
    dependency: Floats,
    substitution: Floats,
    inventory: Floats,
    wanted: NDArray[np.bool_],
    parts: Floats,
    lost: Floats,
) -> None:
    """Add up what the chosen scenarios cost, and what of it is due to whom, where it is wanted.

    Between two moments at which an outage begins or ends, a firm's inputs are short at steady
    rates; one with an inventory is not short until that is used up.
    """
    firms, layers = substitution.shape
    count, sharing = layer.size, wanted.size > 0
    down, list_down = np.zeros(count, np.bool_), np.empty(count, np.int64)
    works, missed, short = np.empty(layers), np.empty(layers), np.empty(layers)
    left = np.empty((firms, layers))
    for row in range(chosen.size):
        begin, stop = outages.first[chosen[row]], outages.first[chosen[row] + 1]
        if begin == stop:
            continue
        moments = np.sort(np.append(outages.start[begin:stop], outages.end[begin:stop]))
        left[:] = inventory
        for moment in range(moments.size - 1):
            now, lasts = moments[moment], moments[moment + 1] - moments[moment]
            if not lasts > 0:
                continue
            number = 0
            works[:] = 1.0
            for i in range(begin, stop):
                k = outages.supplier[i]
                if outages.start[i] <= now < outages.end[i] and not down[k]:
                    down[k], list_down[number] = True, k
                    number += 1
                    works[layer[k]] -= share[k] * cut[k]
            for n in range(number):
                down[list_down[n]] = False
            for firm in range(firms):
                missed[:] = 0.0
                for n in range(number):
                    k = list_down[n]
                    missed[layer[k]] += dependency[firm, k] * cut[k]
                for j in range(layers):
                    short[j] = missed[j] * (1 - substitution[firm, j] * max(works[j], 0.0))
                rest = lasts
                while rest > 0:
                    span, worst = rest, 0.0
                    for j in range(layers):
                        if short[j] > 0 and left[firm, j] > 0:
                            span = min(span, left[firm, j] / short[j])
                        else:
                            worst = max(worst, short[j])
                    lost[row, firm] += span * worst
                    if sharing and wanted[row, firm]:
                        _blame(
                            *(span, worst, layer, cut, dependency[firm], list_down[:number]),
                            *(missed, short, left[firm], parts[firm]),
                        )
                    for j in range(layers):
                        if short[j] > 0 and left[firm, j] > 0:
                            after = left[firm, j] - span * short[j]
                            left[firm, j] = after if after > 1e-12 * left[firm, j] else 0.0
                    rest -= span


@search
def _blame(
    span: float,
    worst: float,
    layer: NDArray[np.int64],
    cut: Floats,
    dependency: Floats,
    list_down: NDArray[np.int64],
    missed: Floats,
    short: Floats,
    left: Floats,
    parts: Floats,
) -> None:
    """Add each supplier's part of what a firm loses while its inputs are short at steady rates.

    Layer by layer, from the least short to the most, as `Risk.contributions` says.
    """
    shared = 0.0
    while shared < worst:
        up_to, number = worst, 0
        for j in range(short.size):
            if short[j] > shared and not left[j] > 0:
                up_to = min(up_to, short[j])
                number += 1
        each = span * (up_to - shared) / number
        for k in list_down:
            j = layer[k]
            if short[j] > shared and not left[j] > 0:
                parts[k] += each * dependency[k] * cut[k] / missed[j]
        shared = up_to


# --- What is given ---


def _root(correlation: ArrayLike, count: int) -> Floats:
    """What makes correlated scores of independent ones."""
    matrix = np.asarray(correlation, float)
    if matrix.shape == (count, count) and (matrix == matrix.T).all():
        root = np.zeros((count, count))
        if (np.diag(matrix) == 1).all() and _cholesky(matrix, root):
            return root
    raise ValueError(
        f"correlation of shape {matrix.shape}: give a symmetric, positive semidefinite matrix with "
        f"ones on its diagonal, a row for each of {count} suppliers"
    )


@search
def _cholesky(matrix: Floats, root: Floats) -> bool:
    """Fill in the root, with columns of 0 for scores that others make up; whether there is one."""
    for k in range(root.shape[0]):
        for i in range(k, root.shape[0]):
            rest = matrix[i, k]
            for j in range(k):
                rest -= root[i, j] * root[k, j]
            if i == k:
                if rest < -1e-9:
                    return False
                root[k, k] = sqrt(rest) if rest > 1e-9 else 0.0
            elif root[k, k] > 0:
                root[i, k] = rest / root[k, k]
            elif abs(rest) > 1e-6:
                return False
    return True


_BOUNDS = {
    **dict.fromkeys(("share", "cut"), (1.0, "0 to 1")),
    **dict.fromkeys(("dependency", "substitution"), (1.0, "0 to 1")),
    "layer": (1e6, "whole numbers of 0 or more"),
}


def _suppliers(suppliers: Suppliers) -> Suppliers:
    """Columns of one length, and in bounds."""
    given = Suppliers(*(np.asarray(each, float) for each in suppliers))
    count = max(each.size for each in given)
    for field, each in given._asdict().items():
        if each.shape not in ((), (1,), (count,)) or not each.size:
            raise ValueError(
                f"Suppliers.{field} of shape {each.shape}: give a number, or one for each of "
                f"{count} suppliers"
            )
    found = Suppliers(*(np.ascontiguousarray(np.broadcast_to(each, count)) for each in given))
    _check(found)
    if (found.layer % 1).any():
        raise ValueError(f"Suppliers.layer = {found.layer}: give whole numbers of 0 or more")
    return found._replace(layer=found.layer.astype(np.int64))


def _given(outages: Outages, suppliers: Suppliers, buyers: Buyers) -> tuple[Any, ...]:
    """What `_lose` takes after outages."""
    each = _suppliers(suppliers)
    dependency = _dependency(buyers, each.layer.size)
    if outages.supplier.size and outages.supplier.max() >= each.layer.size:
        raise ValueError(f"outages of supplier {outages.supplier.max()}: there are fewer suppliers")
    shape = len(dependency), int(each.layer.max()) + 1
    by_layer = {}
    for name in ("substitution", "inventory_years"):
        field = np.asarray(getattr(buyers, name), float)
        padded = (1,) * (2 - field.ndim) + field.shape
        if len(padded) > 2 or not all(n in (1, m) for n, m in zip(padded, shape, strict=True)):
            raise ValueError(
                f"Buyers.{name} of shape {field.shape}: give a number, or a row for each of "
                f"{shape[0]} firms and a column for each of {shape[1]} layers"
            )
        by_layer[name] = np.ascontiguousarray(np.broadcast_to(field, shape))
    checked = Buyers(dependency, **by_layer)
    _check(checked)
    for layer in range(shape[1]):
        of_it = each.layer == layer
        for name, sums in (
            ("Suppliers.share", each.share[of_it].sum()),
            ("Buyers.dependency", dependency[:, of_it].sum(axis=1).max(initial=0.0)),
        ):
            if sums > 1 + _ROUNDING:
                raise ValueError(f"{name} of layer {layer} adds up to {sums:g}: give at most 1")
    return each.layer, each.share, each.cut, *checked


def _dependency(buyers: Buyers, suppliers: int) -> Floats:
    found = np.array(buyers.dependency, float)
    if found.ndim != 2 or found.shape[1] != suppliers or not found.size:
        raise ValueError(
            f"Buyers.dependency of shape {found.shape}: give a row for each firm and a column for "
            f"each of {suppliers} suppliers"
        )
    return found


def _check(record: Suppliers | Buyers) -> None:
    for field, column in record._asdict().items():
        high, wanted = _BOUNDS.get(field, (inf, "a finite number of 0 or more"))
        bad = column[~((column >= 0) & (column <= high) & (column < inf))]
        if bad.size:
            raise ValueError(f"{type(record).__name__}.{field} = {bad[0]:g}: give {wanted}")
