"""Section B: servers and the networks between them."""

from stackbook import facts
from stackbook.kernels import fabric

NON_BLOCKING = 1


def switches(ports: int) -> float:
    """Of 64 ports, on eight rails that are trees of their own."""
    return fabric.clos_switches(ports, 64, 8, NON_BLOCKING)


def cluster_per_gpu() -> float:
    """Eight-GPU nodes with their share of a facility, and the network between 16,384 GPUs."""
    gpus, node, facility, cables = 16_384, 310_000, 50_000, 41.94e6
    network = fabric.network_cost(gpus, switches(gpus), 36_000, 1, cables, 0, 0)
    return fabric.server_cost(1, (node + facility) / 8, network)


def bus_bandwidth(wire: float, efficiency: float, *, in_network: bool = False) -> float:
    """Of a long all-reduce on eight accelerators in a server."""
    message, ranks = 1e10, 8
    bandwidth = fabric.effective_bandwidth(wire, efficiency, NON_BLOCKING)
    if in_network:
        seconds = fabric.in_network_all_reduce(message, ranks, 0, bandwidth)
    else:
        seconds = fabric.all_reduce(message, ranks, 0, bandwidth, 0)
    return fabric.bus_bandwidth(message, ranks, seconds)


def h100_bus_bandwidth(*, in_network: bool) -> float:
    return bus_bandwidth(450e9, facts.parameter("eta_NVL").central, in_network=in_network)


def rack_network() -> float:
    rack = facts.parameter("C_rack_IT").central + facts.parameter("C_rack_DC").central
    return facts.parameter("s_net").central * rack


CASES = {
    ("B01", "server_cost"): lambda: fabric.server_cost(8, 5875, 32_010),
    ("B01", "gross_profit"): lambda: 270_000 - fabric.server_cost(8, 5875, 32_010),
    ("B02", "switches"): lambda: switches(16_384),
    ("B03", "switches"): lambda: switches(65_536),
    ("B04", "usd_per_gpu"): cluster_per_gpu,
    ("B05", "latency"): lambda: fabric.nccl_latency(8, 1, 6.8e-6, 0.6e-6, 5e-6, 2),
    ("B06", "bus_bandwidth"): lambda: bus_bandwidth(300e9, 0.78),
    ("B07", "network_usd"): rack_network,
    ("B08", "switches"): lambda: fabric.optical_circuit_switches(64, 4, 128),
    ("B09", "bus_bandwidth"): lambda: h100_bus_bandwidth(in_network=False),
    ("B10", "bus_bandwidth"): lambda: h100_bus_bandwidth(in_network=True),
}
