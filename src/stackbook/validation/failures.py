"""Section D: how often training runs fail, and what a simulation leaves of their time."""

from stackbook import facts
from stackbook.kernels import reliability

from .training import llama_mtbf

NODE = 8  # accelerators of a server, which fail together


def interruptions(*parts: str) -> float:
    """Of Llama 3's run, by the part that failed; planned ones apart."""
    rows = facts.table("interruptions").collect()
    wanted = parts or set(rows["part"]) - {"planned"}
    return float(rows.filter(rows["part"].is_in(list(wanted)))["interruptions"].sum())


def gpu_share() -> float:
    return interruptions("accelerator") / interruptions()


def llama_simulation() -> reliability.Simulated:
    """Its 54 days of work, 200 times, with the inputs of case D07."""
    checkpoint, restart = (facts.central(symbol) / 3600 for symbol in ("delta_ck", "R_fail"))
    interval = reliability.daly_interval(checkpoint, llama_mtbf())
    return reliability.simulated_goodput(
        interval, checkpoint, restart, llama_mtbf(), work=54 * 24, runs=200, seed=1
    )


def mtbf(accelerators: int, failures_per_node_day: float) -> float:
    """In hours, of a run on whole servers."""
    nodes = accelerators / NODE
    return reliability.mean_time_between_failures(nodes, failures_per_node_day / 24)


def two_minutes() -> float:
    """Goodput of 100,000 accelerators that fail as RSC-2's, with two minutes between checkpoints
    that stop nothing, and two to restart."""
    return reliability.goodput(2 / 60, 0, 2 / 60, mtbf(100_000, 2.34e-3))


CASES = {
    ("D30", "goodput"): lambda: llama_simulation().goodput,
    ("D31", "interruptions"): interruptions,
    ("D31", "share_of_gpus"): gpu_share,
    ("D32", "goodput_100000"): two_minutes,
    ("D32", "mtbf_1024"): lambda: mtbf(1024, 6.50e-3),
    ("D32", "mtbf_131072"): lambda: mtbf(131_072, 6.50e-3),
    ("D32", "mtbf_16384"): lambda: mtbf(16_384, 6.50e-3),
}
