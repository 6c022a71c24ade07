"""One chain from silicon to a billed token: what each layer adds, and who earns it.

A Leontief chain with owners. Between firms the market price is paid; inside a firm the input passes
at cost. Four kinds of dollars: costs, depreciation, a normal return on capital, and rent.
"""

from math import nan
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stackbook.kernels.capital import annuity
from stackbook.kernels.jit import on_threads, search
from stackbook.kernels.shapley import shapley

Floats = NDArray[np.float64]
KINDS = ("costs", "depreciation", "normal return", "rent")
_BLOCK = 512  # draws that stay in a processor's cache with all their layers


class Layer(NamedTuple):
    """What a layer adds to a unit of its output: numbers, or arrays of one number a draw."""

    usd: Any  # labour, materials, and all else that is bought outside the chain [USD]
    programme_usd: Any = 0.0  # design, masks and software, over the volume they serve [USD]
    capital_usd: Any = 0.0  # bought outside the chain, held for a unit a year [USD]
    rate: Any = 0.1  # cost of capital [1/yr]
    years: Any = 5.0  # life of its capital and of durable inputs [yr]
    utilization: Any = 1.0  # output that is sold over what all of this could give [1]
    margin: Any = 0.0  # rent over the price, where another firm buys [1]


USD, PROGRAMME, CAPITAL, RATE, YEARS, UTILIZATION, MARGIN = range(len(Layer._fields))
WIDTH = len(Layer._fields)


class Link(NamedTuple):
    """An input of a layer, both by their number in the chain."""

    source: int
    target: int
    units: Any  # of the source in a unit of the target; of a durable one, held for a unit a year
    durable: bool = False  # paid as capital of the target, at its rate and for its years


class Chain(NamedTuple):
    """Layers from upstream to downstream, of which the last sells to the customer."""

    layers: tuple[Layer, ...]
    links: tuple[Link, ...]
    owners: tuple[str, ...]


class Anatomy(NamedTuple):
    """A price, and who earns it."""

    usd: Floats
    """By layer, kind (`KINDS`) and draw, in a unit of the last layer's output."""
    price_usd: Floats
    """By draw: the sum of all of them."""

    def by_owner(self, owners: tuple[str, ...]) -> dict[str, Floats]:
        """Dollars of each owner by kind and draw, in the order of their first layers."""
        found: dict[str, Floats] = {}
        for owner, part in zip(owners, self.usd, strict=True):
            found[owner] = found[owner] + part if owner in found else part
        return found


class Saving(NamedTuple):
    """What a change of ownership saves in a unit of output [USD]; negative where it costs."""

    margins: Any  # paid at borders between firms
    capital: Any  # rates and lives of capital
    scale: Any  # programmes over their volume
    performance: Any  # what machines cost, draw and do
    utilization: Any
    flexibility: Any  # freedom to choose again that is given up, or won

    @property
    def total(self) -> Any:
        """All six [USD]."""
        return sum(self)


def anatomy(
    chain: Chain, billed_usd: ArrayLike | None = None, seller: int | None = None
) -> Anatomy:
    """Divide the price of a unit of the last layer's output among layers.

    chain: numbers, or arrays of one number a draw [1]
    billed_usd: price that customers pay [USD]; without it costs and margins make the price
    seller: number of the layer that keeps what the billed price leaves; None for the last [1]
    returns: Anatomy [USD]; ValueError for bad numbers
    source: Leontief 1936; identity, price x output - inputs = costs + depreciation + return + rent
    """
    layers, links, owners = chain
    last = len(layers) - 1
    seller = last if seller is None or billed_usd is None else seller
    _check(chain, seller)
    fields = [np.asarray(field, float) for layer in layers for field in layer]
    fields += [np.asarray(link.units, float) for link in links]
    fields.append(np.asarray(nan if billed_usd is None else billed_usd, float))
    shapes = {field.shape for field in fields if field.size != 1}
    good = billed_usd is None or bool((fields[-1] >= 0).all())
    if not good or len(shapes) > 1 or any(len(shape) != 1 or 0 in shape for shape in shapes):
        _check_numbers(chain, billed_usd, seller)
    count = shapes.pop()[0] if shapes else 1
    varied = [(row, field) for row, field in enumerate(fields) if field.size > 1]
    same = np.array([nan if field.size > 1 else field.item() for field in fields])

    sources, targets = (
        np.array([getattr(link, end) for link in links], np.int64) for end in ("source", "target")
    )
    durable = np.array([link.durable for link in links], bool)
    market = np.array([owners[link.source] != owners[link.target] for link in links], bool)
    held = np.array([np.any(fields[WIDTH * at + CAPITAL] != 0) for at in range(last + 1)], bool)
    held[targets[durable]] = True  # an annuity is slow: only who holds capital has one

    found = Anatomy(np.zeros((last + 1, len(KINDS), count)), np.empty(count))
    parts = np.linspace(0, count, min(16, 1 + count // (8 * _BLOCK)) + 1).astype(int)

    def some(start: int, end: int) -> None:
        scratch = np.empty((len(fields), _BLOCK))
        scratch[:] = same[:, None]
        work = np.empty((6 * (last + 1) + 2, _BLOCK))
        for at in range(start, end, _BLOCK):
            size = min(_BLOCK, end - at)
            for row, field in varied:
                scratch[row, :size] = field[at : at + size]
            _run(
                *(scratch, size, sources, targets, durable, market, held),
                *(billed_usd is not None, seller, work, found.usd, found.price_usd, at),
            )

    on_threads(some, list(parts[:-1]), list(parts[1:]))
    # What is not finite upstream makes the price so; below the seller it shows in what is kept.
    if not (np.isfinite(found.price_usd).all() and np.isfinite(found.usd[seller:, 3]).all()):
        _check_numbers(chain, billed_usd, seller)
        raise ValueError("the chain has no finite price: its numbers are too large")
    return found


def coefficients(chain: Chain, draw: int = 0) -> Floats:
    """Units of each layer's output that a unit of another takes, durable ones by wear.

    chain: numbers, or arrays of one number a draw [1]
    draw: which of them [1]
    returns: [1] of shape (layers, layers), row of the supplier, column of the buyer
    source: Leontief 1936, input coefficients
    """
    count = len(chain.layers)
    _check(chain, count - 1)
    _check_numbers(chain, None, count - 1)
    matrix = np.zeros((count, count))
    for link in chain.links:
        target = chain.layers[link.target]
        units = _at(link.units, draw) / _at(target.utilization, draw)
        matrix[link.source, link.target] += units / _at(target.years, draw) ** link.durable
    return matrix


def gross_outputs(coefficients: ArrayLike, demand: ArrayLike) -> Floats:
    """What each layer has to make, so that demand is met and all inputs are there.

    coefficients: units of the row's output in a unit of the column's [1], 0 or more, square
    demand: units of each output that go to customers [1], 0 or more
    returns: [1] by layer; ValueError where the chain takes more of something than it makes
    source: Leontief 1936, (I - A) q = y; Hawkins and Simon 1949
    """
    a, y = np.asarray(coefficients, float), np.asarray(demand, float)
    if a.ndim != 2 or a.shape != (y.size, y.size):
        raise ValueError(f"coefficients of shape {a.shape} for {y.size} demands: give a square")
    if not (np.isfinite(a).all() and (a >= 0).all() and np.isfinite(y).all() and (y >= 0).all()):
        raise ValueError("coefficients and demand: give finite numbers, 0 or more")
    largest = max(abs(np.linalg.eigvals(a)), default=0.0)
    if not largest < 1:
        raise ValueError(
            f"coefficients have an eigenvalue of {largest:.3g}: give less than 1, "
            "as the chain uses up more than it makes"
        )
    outputs: Floats = np.linalg.solve(np.eye(y.size) - a, y)
    return np.maximum(outputs, 0.0)  # below it by rounding only


def integration(apart: Chain, together: Chain, forgone_usd: Any = 0.0) -> Saving:
    """What a unit costs less under another chain of the same layers, part by part.

    apart, together: chains that differ in owners, numbers, or both [1]
    forgone_usd: worth of the freedom to choose again that `together` gives up [USD]
    returns: Saving [USD], exact, and the same in whatever order the changes are made
    source: Shapley 1953, the mean over all orders, of the price of `anatomy`
    """
    one, other = (
        (len(chain.layers), [link[:2] + link[3:] for link in chain.links])
        for chain in (apart, together)
    )
    if one != other:
        raise ValueError("integration of chains with other layers or links: give both the same")
    groups = {
        "margins": ("margin",),
        "capital": ("rate", "years"),
        "scale": ("programme_usd",),
        "performance": ("usd", "capital_usd"),
        "utilization": ("utilization",),
    }

    durable = {link.target for link in apart.links if link.durable}

    def lives(layers: tuple[Layer, ...], others: tuple[Layer, ...]) -> list[Layer]:
        """Who holds no capital has no terms of capital to change: those of the other chain."""
        return [
            layer
            if number in durable or np.any(np.asarray(layer.capital_usd) != 0)
            else layer._replace(rate=other.rate, years=other.years)
            for number, (layer, other) in enumerate(zip(layers, others, strict=True))
        ]

    befores = lives(apart.layers, together.layers)
    afters = lives(together.layers, apart.layers)

    def price(changed: tuple[str, ...]) -> Floats:
        fields = [field for name in changed for field in groups[name]]
        layers = tuple(
            before._replace(**{field: getattr(after, field) for field in fields})
            for before, after in zip(befores, afters, strict=True)
        )
        links = together.links if "performance" in changed else apart.links
        owners = together.owners if "margins" in changed else apart.owners
        return anatomy(Chain(layers, links, owners)).price_usd

    saved = [-part for part in shapley(list(groups), price)]
    return Saving._make([*saved, -np.asarray(forgone_usd)])


def _at(field: Any, draw: int) -> float:
    column = np.atleast_1d(np.asarray(field, float))
    return float(column[draw if column.size > 1 else 0])


def _check(chain: Chain, seller: int) -> None:
    layers, links, owners = chain
    last = len(layers) - 1
    if len(owners) != len(layers):
        raise ValueError(f"Chain.owners has {len(owners)} names: give {len(layers)}, one a layer")
    if not 0 <= seller <= last:
        raise ValueError(f"seller = {seller}: give the number of a layer, 0 to {last}")
    for link in links:
        if not 0 <= link.source < link.target <= last:
            raise ValueError(
                f"Link({link.source}, {link.target}): give a source above its target, 0 to {last}"
            )
        if link.target > seller and (link.source != link.target - 1 or link.durable):
            raise ValueError(
                f"Link({link.source}, {link.target}): layers below the seller, {seller}, "
                "pass its output on and take nothing else"
            )
    for below in range(seller + 1, last + 1):
        inputs = sum(link.target == below for link in links)
        if inputs != 1:
            raise ValueError(
                f"Layer {below} has {inputs} links from above: give one, as it is below the "
                f"seller, {seller}, and passes its output on"
            )


def _check_numbers(chain: Chain, billed_usd: Any, seller: int) -> None:
    """Name what is of another shape, no number, or outside its domain."""
    finite = np.isfinite, "a finite number"
    bounds: dict[str, tuple[Any, str]] = {
        "rate": (lambda x: x > -1, "a number above -1"),
        "years": (lambda x: x > 0, "a number above 0"),
        "utilization": (lambda x: (x > 0) & (x <= 1), "a share above 0, up to 1"),
        "margin": (lambda x: x < 1, "a number below 1"),
    }
    named = [
        (f"Layer {number}.{field}", value, *bounds.get(field, finite))
        for number, layer in enumerate(chain.layers)
        for field, value in layer._asdict().items()
    ]
    bounds["units"] = (lambda x: x > 0, "a number above 0")  # by which a price is divided
    named += [
        (
            *(f"Link({link.source}, {link.target}).units", link.units),
            *(bounds["units"] if link.target > seller else finite),
        )
        for link in chain.links
    ]
    billed = 0.0 if billed_usd is None else billed_usd
    named.append(("billed_usd", billed, lambda x: x >= 0, "a finite number, 0 or more"))
    shape: tuple[int, ...] = ()
    for name, value, good, wanted in named:
        column = np.asarray(value, float)
        shape = shape if column.size == 1 else shape or column.shape
        if column.size != 1 and not (column.size and len(shape) == 1 and column.shape == shape):
            raise ValueError(
                f"{name} of shape {column.shape}: give a number, or one for each draw, as many "
                "in all arrays"
            )
        bad = column[~(np.isfinite(column) & good(column))]
        if bad.size:
            raise ValueError(f"{name} = {bad[0]:g}: give {wanted}")


@search
def _run(
    fields: Floats,
    size: int,
    sources: NDArray[np.int64],
    targets: NDArray[np.int64],
    durable: NDArray[np.bool_],
    market: NDArray[np.bool_],
    held: NDArray[np.bool_],
    billed: bool,
    seller: int,
    work: Floats,
    usd: Floats,
    price: Floats,
    to: int,
) -> None:
    """Fill `size` draws from number `to` on. Loops over draws are innermost: they become SIMD."""
    count, edges = usd.shape[0], sources.size
    last, units = count - 1, WIDTH * count
    # By layer: its annuity, wear, cost, price to others; what is made for a unit that the customer
    # buys (then what of it is paid for, idle time with it), what of it is sold to other firms.
    factor, worn, cost = work[:count], work[count : 2 * count], work[2 * count : 3 * count]
    worth, made = work[3 * count : 4 * count], work[4 * count : 5 * count]
    sold = work[5 * count : 6 * count]
    reached, rest = work[6 * count], work[6 * count + 1]  # of the billed price, to the seller

    for layer in range(count):
        at = WIDTH * layer
        own, total, asked = fields[at : at + WIDTH], cost[layer], worth[layer]
        for i in range(size):
            total[i] = own[USD, i] + own[PROGRAMME, i]
        if held[layer]:
            times, wear = factor[layer], worn[layer]
            for i in range(size):
                times[i] = annuity(own[RATE, i], own[YEARS, i])
                wear[i] = 1 / own[YEARS, i]
                total[i] += own[CAPITAL, i] * times[i]
        for edge in range(edges):
            if targets[edge] == layer:
                needed = fields[units + edge]
                paid = worth[sources[edge]] if market[edge] else cost[sources[edge]]
                if durable[edge]:
                    for i in range(size):
                        total[i] += needed[i] * paid[i] * factor[layer, i]
                else:
                    for i in range(size):
                        total[i] += needed[i] * paid[i]
        for i in range(size):
            used, kept = own[UTILIZATION, i], 1 - own[MARGIN, i]
            right = (used > 0) & (used <= 1) & (kept > 0)
            total[i] = total[i] / used
            asked[i] = total[i] / kept if right else nan
        made[layer, :size] = 0.0
        sold[layer, :size] = 0.0
    made[last, :size] = 1.0
    sold[last, :size] = 1.0
    for i in range(size):
        paid_usd = fields[units + edges, i] if billed else worth[last, i]
        # A billed price tells nothing of numbers outside their domain; the sum of costs does.
        price[to + i] = reached[i] = paid_usd if worth[last, i] == worth[last, i] else nan

    for layer in range(last, -1, -1):
        at = WIDTH * layer
        own, output, costs = fields[at : at + WIDTH], made[layer], usd[layer, 0, to : to + size]
        rent = usd[layer, 3, to : to + size]
        if billed and layer >= seller:
            rest[:size] = reached[:size]
            if layer == seller:
                for i in range(size):
                    rent[i] = output[i] * (reached[i] - cost[layer, i])
            else:  # it keeps its margin and its costs, and passes on the rest to its one input
                outside = sold[layer, 0] > 0
                unit = fields[units]
                for edge in range(edges):
                    if targets[edge] == layer:
                        unit = fields[units + edge]
                for i in range(size):
                    kept = own[MARGIN, i] * reached[i] if outside else 0.0
                    rent[i] = output[i] * kept
                    spent = own[USD, i] + own[PROGRAMME, i]
                    if held[layer]:
                        spent += own[CAPITAL, i] * factor[layer, i]
                    rest[i] = ((reached[i] - kept) * own[UTILIZATION, i] - spent) / unit[i]
            reached[:size] = rest[:size]
        else:
            for i in range(size):
                rent[i] = sold[layer, i] * worth[layer, i] * own[MARGIN, i]
        for i in range(size):
            output[i] /= own[UTILIZATION, i]
            costs[i] = output[i] * (own[USD, i] + own[PROGRAMME, i])
        if held[layer]:
            depreciation, back = usd[layer, 1, to : to + size], usd[layer, 2, to : to + size]
            times, wear = factor[layer], worn[layer]
            for i in range(size):
                capital = output[i] * own[CAPITAL, i]
                depreciation[i] = capital * wear[i]
                back[i] = capital * (times[i] - wear[i])
        for edge in range(edges):
            if targets[edge] == layer:
                source, unit = sources[edge], fields[units + edge]
                paid = worth[source] if market[edge] else cost[source]
                supplied, outside = made[source], sold[source]
                if durable[edge]:
                    back, times, wear = usd[layer, 2, to : to + size], factor[layer], worn[layer]
                    for i in range(size):
                        stock = output[i] * unit[i]
                        back[i] += stock * paid[i] * (times[i] - wear[i])
                        supplied[i] += stock * wear[i]
                        outside[i] += stock * wear[i] if market[edge] else 0.0
                else:
                    for i in range(size):
                        supplied[i] += output[i] * unit[i]
                        outside[i] += output[i] * unit[i] if market[edge] else 0.0
