"""Section D: how large a run can be, by the inputs of those who published a limit."""

from math import ceil, log2, pow

from stackbook.kernels import fabric, limits

# Erdil and Schneider-Joseph 2024: their H100, their shape of models, their months.
H100 = limits.Machine(
    flop_per_s=989.4e12,
    matmul_share=0.7,
    memory=80e9,
    memory_bandwidth=3.352e12,
    domain=8,
    inner_bandwidth=450e9,
    outer_bandwidth=50e9,
    network_seconds=5e-6,
    kernel_seconds=4.5e-6,
)
DEPTH, DEPTH_EXPONENT = 0.10056, 0.3751  # layers by width x inner width
_LAYERS = DEPTH_EXPONENT / (1 + DEPTH_EXPONENT)  # and so by parameters
_SCALE = float(DEPTH ** (1 - _LAYERS) / 2**_LAYERS)
SEQUENCE = 2048
DENSE = limits.Recipe(20, _SCALE, _LAYERS, 2048 * SEQUENCE, 3e23, 1 / 6)
MONTH = 3.154e7 / 12
# Six products of matrices, and all-reduces of two messages along both sides, both ways.
ERDIL_LAYER = limits.layer_latency(6, H100.kernel_seconds, 4, 2 * H100.network_seconds)

# Sevilla et al. 2024
HOFFMANN = limits.Recipe(20, 0.088, 0.27, 60e6, 1, 0)
SEVILLA_MONTH = 2.33e7 / 9
PRODUCTS = 8


def erdil_mfu(params: float, layers: float, batch: float, accelerators: int) -> float:
    return limits.fastest_step(params, layers, batch, accelerators, H100).mfu


def rounded(number: float) -> float:
    """The nearest of small odd numbers times powers of two, as layers and batches are chosen."""
    return min(
        (odd * 2.0**i for odd in range(1, 11, 2) for i in range(30)), key=lambda x: abs(x - number)
    )


def end_of_linear_scaling(months: float) -> float:
    """The first of a list of models whose MFU is below 80% of the best, each on the fewest
    accelerators, a power of two, that end it in time."""
    widths = sorted(odd * 2.0**i for odd in range(1, 17, 2) for i in range(11, 22))
    for width in widths[widths.index(12_288) :]:
        layers = rounded(DEPTH * pow(4 * width * width, DEPTH_EXPONENT))
        params = 8 * width * width * layers
        tokens = DENSE.tokens_per_param * params
        flop = 6 * params * tokens
        batch = limits.grown_batch(flop, DENSE.batch, DENSE.batch_flop, DENSE.batch_exponent)
        batch = SEQUENCE * rounded(batch / SEQUENCE)
        peak = H100.flop_per_s * months * MONTH
        accelerators, plan = 2 ** ceil(log2(flop / peak)), None
        while plan is None or plan.seconds * tokens / batch >= months * MONTH:
            plan = limits.fastest_step(params, layers, batch, accelerators, H100)
            accelerators *= 2
        if plan.mfu <= 0.8 * H100.matmul_share:
            return flop
    raise AssertionError("every model scales")


def all_reduce(ranks: float, servers: float) -> float:
    """Shortest, by the constants of protocol LL."""
    return fabric.nccl_latency(ranks, servers, 6.8e-6, 0.6e-6, 5e-6, 2)


def sevilla_layer() -> float:
    """Of three accelerators in a server."""
    return limits.layer_latency(PRODUCTS, 4.5e-6, PRODUCTS, all_reduce(3, 1))


def sevilla_wall(layer_seconds: float) -> float:
    """In nine months, with 60 million tokens a step."""
    return limits.latency_wall(9 * SEVILLA_MONTH, layer_seconds, *HOFFMANN)


def accelerators_for(flop: float) -> float:
    """H100s in FP8 at 40% of their peak, for three months."""
    return flop / limits.fleet_flop(1, 2e15, 0.4, 3 * SEVILLA_MONTH)


CASES = {
    ("D33", "mfu_1e28"): lambda: erdil_mfu(1.11e13, 576, 2.52e7, 2**21),
    ("D33", "mfu_2e26"): lambda: erdil_mfu(1.30e12, 320, 1.26e7, 2**15),
    ("D33", "mfu_2e29"): lambda: erdil_mfu(4.12e13, 768, 3.77e7, 2**25),
    ("D33", "mfu_4e28"): lambda: erdil_mfu(1.93e13, 640, 2.94e7, 2**23),
    ("D33", "mfu_6e27"): lambda: erdil_mfu(6.87e12, 512, 2.10e7, 2**20),
    ("D33", "mfu_6e30"): lambda: erdil_mfu(2.23e14, 1280, 6.71e7, 2**32),
    ("D34", "linear_scaling_ends"): lambda: end_of_linear_scaling(3),
    ("D34", "linear_scaling_ends_6_months"): lambda: end_of_linear_scaling(6),
    ("D34", "wall"): lambda: limits.latency_wall(3 * MONTH, ERDIL_LAYER, *DENSE),
    ("D34", "wall_article"): lambda: limits.latency_wall(3 * MONTH, ERDIL_LAYER, *DENSE),
    ("D35", "all_reduce"): lambda: all_reduce(3, 1),
    ("D35", "layer"): sevilla_layer,
    ("D35", "params"): lambda: (sevilla_wall(sevilla_layer()) / 120) ** 0.5,
    ("D35", "wall"): lambda: sevilla_wall(sevilla_layer()),
    ("D35", "wall_between_servers"): lambda: sevilla_wall(400e-6),
    ("D36", "accelerators"): lambda: accelerators_for(2e29),
}
