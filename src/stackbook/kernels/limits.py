"""How large a training run can be: what power, money, time, latency and moving data allow.

A run grows by a `Recipe`: tokens with parameters, layers with parameters, the batch with compute.
In plans, layers are pairs of matrices from a width to four widths and back, which stand for
attention as well: a layer of a transformer counts as one and a half to two of them.
"""

from math import inf, nan, sqrt
from typing import NamedTuple

from stackbook.kernels.elementary import exp, log
from stackbook.kernels.jit import formula, search
from stackbook.kernels.scaling import usd_per_flop


class Recipe(NamedTuple):
    """How the parts of a run grow with its compute."""

    tokens_per_param: float
    layer_scale: float
    layer_exponent: float
    """Layers are layer_scale params^layer_exponent."""
    batch: float
    batch_flop: float
    batch_exponent: float
    """Tokens of a step are batch (FLOP / batch_flop)^batch_exponent."""


class Machine(NamedTuple):
    """An accelerator and its links; bandwidths are one way, in bytes per second."""

    flop_per_s: float
    matmul_share: float
    """Share of the peak that large products of matrices reach."""
    memory: float
    """Bytes."""
    memory_bandwidth: float
    domain: float
    """Accelerators that share the fast network, a power of two."""
    inner_bandwidth: float
    outer_bandwidth: float
    network_seconds: float
    """Of any message; an all-reduce is two."""
    kernel_seconds: float
    """Of any product of matrices."""


class Plan(NamedTuple):
    """The fastest step that accelerators can make, and how."""

    seconds: float
    mfu: float
    data: float
    pipeline: float
    tensor: float
    latency: float
    """Share of the time that is latency of the network."""


class Limit(NamedTuple):
    """The largest run of some accelerators, and the step with which they do it."""

    flop: float
    params: float
    plan: Plan


@formula
def fleet_flop(accelerators: float, flop_per_s: float, mfu: float, seconds: float) -> float:
    """Compute that a fleet puts into a model.

    accelerators: at work [1], 0 or more
    flop_per_s: dense peak of one [1/s], above 0
    mfu: share of the peak that a model's FLOP reach, failures included [1], above 0
    seconds: length of the run [s], 0 or more
    returns: [1]
    source: definition
    """
    if not (accelerators >= 0 and flop_per_s > 0 and mfu > 0 and seconds >= 0):
        return nan
    return accelerators * flop_per_s * mfu * seconds


@formula
def power_limited_flop(
    site_power: float, accelerator_power: float, flop_per_s: float, mfu: float, seconds: float
) -> float:
    """Largest run that a site's power allows.

    site_power: for the run, at the meter [W], 0 or more
    accelerator_power: of one, its share of servers, network and cooling with it [W], above 0
    flop_per_s: dense peak of one [1/s], above 0
    mfu: share of the peak that a model's FLOP reach, failures included [1], above 0
    seconds: length of the run [s], 0 or more
    returns: [1]
    source: Sevilla et al. 2024, power: accelerators are power over power of one
    """
    if not accelerator_power > 0:
        return nan
    return fleet_flop(site_power / accelerator_power, flop_per_s, mfu, seconds)


@formula
def budget_limited_flop(usd: float, usd_per_hour: float, flop_per_s: float, mfu: float) -> float:
    """Largest run that a budget pays for, however long it takes.

    usd: for the accelerators of the run [USD], 0 or more
    usd_per_hour: of one [USD/h], above 0
    flop_per_s: dense peak of one [1/s], above 0
    mfu: share of the peak that a model's FLOP reach, failures included [1], above 0
    returns: [1]
    source: definition
    """
    price = usd_per_flop(usd_per_hour, flop_per_s, mfu)
    return usd / price if usd >= 0 and price > 0 else nan


@formula
def failure_wall(failures_per_hour: float, restart: float) -> float:
    """Accelerators beyond which one more lowers the work that counts: all stop for each failure.

    failures_per_hour: of one accelerator [1/h], above 0
    restart: time from a failure until work goes on [h], above 0
    returns: [1], where checkpoints stop nothing; fewer where they do
    source: Daly 2006, complete model: n exp(-n lambda R) is highest at 1 / (lambda R)
    """
    if not (failures_per_hour > 0 and restart > 0):
        return nan
    return 1 / (failures_per_hour * restart)


@formula
def critical_batch(loss: float, scale: float, exponent: float) -> float:
    """Batch at which a run takes twice the fewest steps and twice the fewest tokens, by its loss.

    loss: to reach [1], nats per token, above 0
    scale: batch at a loss of 1 [1], above 0; 2e8 tokens
    exponent: alpha_B [1], above 0; 0.21
    returns: tokens [1]
    source: Kaplan et al. 2020, (1.4): B_crit = B* / L^(1 / alpha_B)
    """
    if not (loss > 0 and scale > 0 and exponent > 0):
        return nan
    return scale * exp(-log(loss) / exponent)


@formula
def grown_batch(size: float, batch: float, batch_size: float, batch_exponent: float) -> float:
    """Batch that grows as a power of a run's tokens, or of its FLOP.

    size: tokens or FLOP of the run [1], above 0
    batch, batch_size: a batch, and the size of the run that has it, above 0 [1]
    batch_exponent: of tokens 0.46 to 0.47 [1]; of FLOP 1/6 (Erdil), 0.327 (DeepSeek)
    returns: tokens or sequences, as batch [1]
    source: Zhang et al. 2024, Bergsma et al. 2025: B_crit ~ D^0.47, D^0.46, whatever the parameters
    """
    if not (size > 0 and batch > 0 and batch_size > 0):
        return nan
    return batch * exp(batch_exponent * log(size / batch_size))


@formula
def tokens_at_batch(fewest_tokens: float, batch: float, critical: float) -> float:
    """Tokens that a loss takes where steps are made with a large batch.

    fewest_tokens: that the loss takes with a small batch [1], above 0
    batch: tokens of a step [1], above 0
    critical: critical_batch, in tokens [1], above 0
    returns: [1]; over batch, the steps, never fewer than fewest_tokens / critical
    source: McCandlish et al. 2018: (E / E_min - 1) (S / S_min - 1) = 1
    """
    if not (fewest_tokens > 0 and batch > 0 and critical > 0):
        return nan
    return fewest_tokens * (1 + batch / critical)


@formula
def layer_latency(
    products: float, kernel_seconds: float, collectives: float, collective_seconds: float
) -> float:
    """Least time in which a layer can learn from a batch, however many accelerators share it.

    products: products of matrices that wait for each other, both ways [1], 0 or more
    kernel_seconds: of the shortest product [s], 0 or more; 4.5 us
    collectives: collectives between them, both ways [1], 0 or more
    collective_seconds: of the shortest, as fabric.nccl_latency [s], 0 or more
    returns: [s]
    source: Sevilla et al. 2024, latency wall: 8 x (4.5 us + 9.2 us) = 110 us
    """
    if not (products >= 0 and kernel_seconds >= 0 and collectives >= 0 and collective_seconds >= 0):
        return nan
    return products * kernel_seconds + collectives * collective_seconds


@formula
def serial_seconds(tokens: float, batch: float, layers: float, layer_seconds: float) -> float:
    """Least time of a run: step after step, layer after layer.

    tokens: of the run [1], above 0
    batch: tokens of a step [1], above 0
    layers: that a token passes [1], above 0
    layer_seconds: layer_latency, both ways [s], 0 or more
    returns: [s]
    source: Erdil and Schneider-Joseph 2024: T >= (D / B) L t_L
    """
    if not (tokens > 0 and batch > 0 and layers > 0 and layer_seconds >= 0):
        return nan
    return tokens / batch * layers * layer_seconds


@formula
def latency_wall(
    seconds: float,
    layer_seconds: float,
    tokens_per_param: float,
    layer_scale: float,
    layer_exponent: float,
    batch: float,
    batch_flop: float,
    batch_exponent: float,
) -> float:
    """Largest run that ends in time on limitless accelerators: serial_seconds solved for the FLOP.

    seconds, layer_seconds: length of the run, above 0 [s]; layer_latency [s], above 0
    tokens_per_param, batch, batch_flop, batch_exponent: of Recipe, above 0 but the last [1]
    layer_scale, layer_exponent: of Recipe, above 0 and 0 or more [1]
    returns: FLOP [1]; infinite where the batch grows as fast as steps and layers
    source: Sevilla et al. 2024: N < (T B / (20 t_L 0.088))^(1 / 1.27), with a batch that grows
    """
    if not (seconds > 0 and layer_seconds > 0 and tokens_per_param > 0 and layer_scale > 0):
        return nan
    if not (layer_exponent >= 0 and batch > 0 and batch_flop > 0 and batch_exponent >= 0):
        return nan
    serial = (1 + layer_exponent) / 2  # exponent of FLOP in tokens x layers
    if serial <= batch_exponent:
        return inf
    steps = log(seconds / layer_seconds / tokens_per_param / layer_scale * batch)
    one = serial * log(6 * tokens_per_param) - batch_exponent * log(batch_flop)
    return exp((steps + one) / (serial - batch_exponent))


def fastest_step(
    params: float, layers: float, batch: float, accelerators: int, machine: Machine
) -> Plan:
    """The fastest step over all ways to split it: by data, by layers and by both sides of matrices.

    params, layers, batch: parameters, layers, tokens of a step, above 0 [1]
    accelerators: a power of two [1]
    machine: as Machine, above 0 [1]
    returns: [1]; NaN where no way fits into memory
    source: Erdil and Schneider-Joseph 2024, communication hidden behind arithmetic, 1F1B
    """
    doublings = _doublings(accelerators)
    return Plan(*_fastest(params, layers, batch, doublings, _floats(machine)))


def largest_run(accelerators: int, seconds: float, machine: Machine, recipe: Recipe) -> Limit:
    """The largest run that accelerators end in time.

    accelerators: a power of two [1]
    seconds: length of the run [s], above 0
    machine, recipe: as Machine and Recipe, above 0 [1], [1]
    returns: [1]; NaN where the smallest does not fit
    source: Erdil and Schneider-Joseph 2024, seen from the accelerators
    """
    doublings = _doublings(accelerators)
    flop = _largest(doublings, float(seconds), _floats(machine), Recipe(*map(float, recipe)))
    params = sqrt(flop / (6 * recipe.tokens_per_param))
    layers, batch = _layers(params, recipe), _batch(flop, recipe)
    return Limit(flop, params, fastest_step(params, layers, batch, accelerators, machine))


def utilization_limit(share: float, seconds: float, machine: Machine, recipe: Recipe) -> float:
    """Compute of the run beyond which MFU is below a share of the best that the machine reaches.

    share: of the MFU of large products on few accelerators [1], between 0 and 1
    seconds: length of the run [s], above 0
    machine, recipe: as Machine and Recipe, above 0 [1], [1]
    returns: FLOP [1]; NaN where MFU is below it already on one domain
    source: Erdil and Schneider-Joseph 2024, end of linear scaling: a share of 0.8
    """
    wanted, before = share * machine.matmul_share, Limit(nan, nan, Plan(*[nan] * 6))
    for doublings in range(_doublings(machine.domain), 50):
        limit = largest_run(2**doublings, seconds, machine, recipe)
        if limit.plan.mfu < wanted:
            part = (before.plan.mfu - wanted) / (before.plan.mfu - limit.plan.mfu)
            return float(before.flop * (limit.flop / before.flop) ** part)
        if limit.plan.mfu >= wanted:
            before = limit
    return nan


def _doublings(accelerators: float) -> int:
    doublings = int(accelerators).bit_length() - 1
    if accelerators < 1 or 2**doublings != accelerators:
        raise ValueError(f"{accelerators} accelerators: give a power of two")
    return doublings


def _floats(machine: Machine) -> Machine:
    """As the search takes it: a domain is how often it doubles."""
    domain = float(_doublings(machine.domain))
    return Machine(*map(float, machine))._replace(domain=domain)


@search
def _layers(params: float, recipe: Recipe) -> float:
    return recipe.layer_scale * exp(recipe.layer_exponent * log(params))


@search
def _batch(flop: float, recipe: Recipe) -> float:
    grown = exp(recipe.batch_exponent * log(flop / recipe.batch_flop))
    return recipe.batch * grown


@search
def _largest(doublings: int, seconds: float, machine: Machine, recipe: Recipe) -> float:
    """Bisects the logarithm of the FLOP, from what the peak allows down."""
    high = log(seconds * machine.flop_per_s * 2.0**doublings)
    lowest = low = high - 30.0
    for _ in range(24):
        middle = (low + high) / 2
        flop = exp(middle)
        params = sqrt(flop / (6 * recipe.tokens_per_param))
        batch = _batch(flop, recipe)
        step = _fastest(params, _layers(params, recipe), batch, doublings, machine)[0]
        if step * recipe.tokens_per_param * params / batch <= seconds:
            low = middle
        else:
            high = middle
    return exp(low) if low > lowest else nan


@search
def _fastest(
    params: float, layers: float, batch: float, doublings: int, machine: Machine
) -> tuple[float, float, float, float, float, float]:
    """The Plan of the least time, over powers of two.

    Every stage of a pipeline holds single layers in turns, and has as many micro-batches as there
    are stages. Numbers have two bytes, the optimizer's state eight for each parameter.
    """
    width = sqrt(params / (8 * layers))
    accelerators = 2.0**doublings
    peak, domain = machine.flop_per_s, int(machine.domain)
    best = (nan, nan, nan, nan, nan, nan)
    least = inf
    for p in range(doublings + 1):
        stages = 2.0**p
        if stages > layers:
            break
        bubble = (stages - 1) / (stages - 1 + layers)
        for d in range(doublings - p + 1):
            data, t = 2.0**d, doublings - p - d
            tensor = 2.0**t
            state = 2 * params / (tensor * stages) + 8 * params / accelerators
            tokens = batch / data  # of a step, on accelerators that share it
            if state > machine.memory or tokens < stages:
                continue
            # Products of matrices: each micro-batch reads the weights, and their gradient twice.
            weights = 4 * width * width / tensor
            arithmetic = 2 * tokens / stages * weights / (peak * machine.matmul_share)
            reading = 2 * weights / machine.memory_bandwidth
            product = max(arithmetic, reading), max(arithmetic, 2 * reading)
            layer = 4 * product[0] + 2 * product[1] + 6 * machine.kernel_seconds
            computing = layers * layer
            if computing / (1 - bubble) > least:
                continue
            message, gradient = 2 * tokens * width, 2 * params / (tensor * stages)
            hops = 4 * layers * width * batch / accelerators / machine.outer_bandwidth
            hops = hops if p > 0 else 0.0
            for rows in range(t // 2 + 1):
                if t - 2 * rows > 6:  # far from square tiles
                    continue
                columns = t - rows
                # The fast network holds part of each split.
                for inner_rows in range(min(rows, domain) + 1):
                    free = domain - inner_rows
                    for inner_columns in range(min(columns, free) + 1):
                        inner_data = min(d, free - inner_columns)
                        sides = _all_reduce(message / 2.0**rows, columns, inner_columns, machine)
                        sides += _all_reduce(4 * message / 2.0**columns, rows, inner_rows, machine)
                        moving = hops + 2 * layers / stages * sides
                        moving += _all_reduce(gradient, d, inner_data, machine)
                        levels = (
                            (inner_rows > 0)
                            + (rows > inner_rows)
                            + (inner_columns > 0)
                            + (columns > inner_columns)
                        )
                        messages = 4 * layers * levels
                        messages += 2.0 if d > 0 else 0.0
                        messages += 2 * (layers - 1) if p > 0 else 0.0
                        latency = messages * machine.network_seconds
                        seconds = latency + max(computing, moving) / (1 - bubble)
                        if seconds < least:
                            least = seconds
                            mfu = 6 * params * batch / (accelerators * peak * seconds)
                            best = (seconds, mfu, data, stages, tensor, latency / seconds)
    return best


@search
def _all_reduce(message: float, doublings: int, inner: int, machine: Machine) -> float:
    """Time of an all-reduce of so many bytes: rings in the fast network, and rings across."""
    within, across = 2.0**inner, 2.0 ** (doublings - inner)
    fast = (within - 1) / within / machine.inner_bandwidth
    slow = (across - 1) / (across * within) / machine.outer_bandwidth
    return 2 * message * (fast + slow)
