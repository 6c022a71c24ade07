"""Edges of domains: counts that have to be whole, bounds, and the least and largest numbers."""

from decimal import Context, Decimal, localcontext

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stackbook.kernels import fabric, reliability

TINIEST, LARGEST = 5e-324, 1.7e308


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("kernel", "args"),
    [
        (fabric.clos_tiers, (8, 64, 9, 1)),
        (fabric.clos_switches, (8, 64, 9, 1)),
        (fabric.clos_links, (8, 64, 9, 1)),
        (fabric.clos_switches, (8, 64, 1e300, 1)),
        (fabric.torus_links, (64.5, 2)),
        (fabric.torus_bisection, (64.5, 4)),
        (fabric.cube_fibers, (64, 4.5)),
        (fabric.cube_fibers, (64, 1e9)),
        (fabric.optical_circuit_switches, (64, 1e9, 128)),
        (fabric.optical_circuit_switches, (64, 1e200, 128)),
        (fabric.domains_reached, (4.5, 8)),
        (fabric.nccl_latency, (8, 1, -1, 1, 1, 2)),
        (fabric.nccl_latency, (8, 1, 1, -1, 1, 2)),
        (fabric.nccl_latency, (8, 1, 1, 1, -1, 2)),
        (fabric.nccl_latency, (8, 1, 1, 1, 1, -1)),
        (reliability.k_of_n_availability, (1e-12, 1_000_000, 0.9)),
        (reliability.slice_goodput, (64.5, 16, 0.9)),
    ],
)
def test_nan_beyond_the_edge(kernel, args, assert_nan):
    assert_nan(kernel, args)


def test_numbers_at_the_edge():
    assert fabric.clos_switches(8, 64, 8, 1) == 8
    assert fabric.torus_bisection(4096, 4096 ** (1 / 3)) == pytest.approx(512)
    assert fabric.nccl_latency(8, 8, 0, 0, 0, 0) == 0
    side = 1e9 - 1
    assert fabric.optical_circuit_switches(1, side, 2) == pytest.approx(3 * side**2)


@pytest.mark.parametrize("ports", [1024, 2048, 2016, 4096, 65_536])
def test_clos_where_counts_divide(ports):
    """Non-blocking: 3 or 5 x ports / radix switches in two or three tiers, ports links a tier."""
    network = (ports, 32, 1, 1)
    tiers = fabric.clos_tiers(*network)
    if np.isnan(tiers):
        assert ports > 32**3 / 4
        return
    assert fabric.clos_switches(*network) == (2 * tiers - 1) * ports / 32
    assert fabric.clos_links(*network) == (tiers - 1) * ports


times = st.floats(0, LARGEST) | st.sampled_from([0.0, TINIEST, 1e-300, 1.0, 1e300, LARGEST])
positive = times.filter(lambda time: time > 0)


@given(positive, times, times, positive)
def test_goodput_of_any_times_is_a_share(interval, checkpoint, restart, mtbf):
    assert 0 <= reliability.goodput(interval, checkpoint, restart, mtbf) <= 1


@given(st.floats(1e-9, 100), st.floats(0, 100), st.floats(0, 100), st.floats(0.5, 1e9))
def test_goodput_is_the_published_formula(interval, checkpoint, restart, mtbf):
    with localcontext(Context(prec=50)):
        tau, delta, again, mean = map(Decimal, (interval, checkpoint, restart, mtbf))
        time = mean * (again / mean).exp() * (((tau + delta) / mean).exp() - 1)
        expected = float(tau / time)
    value = reliability.goodput(interval, checkpoint, restart, mtbf)
    assert value == pytest.approx(expected, rel=1e-12)


def test_goodput_without_failures_and_without_end():
    assert reliability.goodput(3, 1, 1, np.inf) == 0.75
    assert reliability.goodput(np.inf, 1, 1, 10) == 0
    assert reliability.goodput(1, 1, np.inf, 10) == 0
