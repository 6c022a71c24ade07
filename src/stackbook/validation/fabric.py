"""Section B: servers, the networks between them, and how much of their time failures leave."""

import polars as pl

from stackbook import facts
from stackbook.kernels import fabric, reliability

from .datacenter import rack

NON_BLOCKING = 1


def dgx_cost() -> float:
    """Of an eight-GPU server, whose bill has a dearer H100 than the chip's own."""
    return fabric.server_cost(8, 5875, facts.central("c_srv_nonGPU"))


def switches(ports: int) -> float:
    """Of 64 ports, on eight rails that are trees of their own."""
    return fabric.clos_switches(ports, 64, 8, NON_BLOCKING)


def cluster_per_gpu() -> float:
    """Eight-GPU nodes with their share of a facility, and the network between 16,384 GPUs."""
    gpus, node, facility, cables = 16_384, facts.central("p_node_H100"), 50_000, 41.94e6
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
    return bus_bandwidth(450e9, facts.central("eta_NVL"), in_network=in_network)


def rack_network() -> float:
    """No formula: that our rows of the share and of the rack are those of the published sum."""
    return facts.central("s_net") * sum(rack().values())


def tpu_v4_bisection() -> float:
    """Of a pod of 16 x 16 x 16 chips with links in three dimensions, at wire speed one way."""
    chip = facts.table("accelerators").filter(pl.col("name") == "TPU v4").collect()
    link = chip["scaleup_bytes_per_s"].item() / 6
    return float(link * fabric.torus_bisection(16**3, 16))


def tpu_v4_goodput(slice_cubes: int) -> float:
    """Of a pod of 64 cubes with 16 hosts each, which work 99.0% of the time."""
    return reliability.slice_goodput(64, slice_cubes, reliability.series_availability(16, 0.990))


def daly_minutes(mtbf_hours: float) -> float:
    """The best interval between checkpoints of five minutes."""
    return 60 * reliability.daly_interval(5 / 60, mtbf_hours)


CASES = {
    ("B01", "server_cost"): dgx_cost,
    ("B01", "gross_profit"): lambda: facts.central("p_DGX") - dgx_cost(),
    ("B02", "switches"): lambda: switches(16_384),
    ("B03", "switches"): lambda: switches(65_536),
    ("B04", "usd_per_gpu"): cluster_per_gpu,
    ("B05", "latency"): lambda: fabric.nccl_latency(8, 1, 6.8e-6, 0.6e-6, 5e-6, 2),
    ("B06", "bus_bandwidth"): lambda: bus_bandwidth(300e9, 0.78),
    ("B07", "network_usd"): rack_network,
    ("B08", "fibers_per_cube"): lambda: fabric.cube_fibers(1, 4),
    ("B08", "switches"): lambda: fabric.optical_circuit_switches(64, 4, 128),
    ("B09", "bus_bandwidth"): lambda: h100_bus_bandwidth(in_network=False),
    ("B10", "bus_bandwidth"): lambda: h100_bus_bandwidth(in_network=True),
    ("B11", "bisection_bandwidth"): tpu_v4_bisection,
    ("B12", "goodput_1k"): lambda: tpu_v4_goodput(16),
    ("B12", "goodput_2k"): lambda: tpu_v4_goodput(32),
    ("B12", "goodput_3k"): lambda: tpu_v4_goodput(48),
    ("B13", "nodes"): lambda: fabric.dragonfly_ports(64),
    ("B14", "interval_at_15_min"): lambda: daly_minutes(0.25),
    ("B14", "interval_at_24_h"): lambda: daly_minutes(24),
    ("B14", "interval_at_6_h"): lambda: daly_minutes(6),
}
