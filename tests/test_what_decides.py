"""Indices of the whole chain: the same bits on a cluster, in threads, and block by block."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from distributed import Client, LocalCluster

from stackbook.kernels.sampling import BLOCK
from stackbook.kernels.sensitivity import Indices, sobol
from stackbook.token_cost import TokenCost

COST = TokenCost(integrated="Enterprise through an API")
FACTORS = tuple(each.factor for each in COST.inputs.values())


def indices(**map_) -> Indices:
    return sobol(COST, len(FACTORS), 2 * BLOCK, 7, groups=FACTORS, **map_)


@pytest.fixture(scope="module")
def here() -> Indices:
    return indices()


def same(one: Indices, other: Indices) -> bool:
    return one.groups == other.groups and all(map(np.array_equal, one[1:], other[1:]))


def test_a_cluster_gives_the_same_bits(here: Indices) -> None:
    two = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
    with two as cluster, Client(cluster) as client:
        there = indices(map=lambda f, starts: client.gather(client.map(f, starts)))
    assert same(here, there)


def test_threads_give_the_same_bits(here: Indices) -> None:
    with ThreadPoolExecutor(2) as pool:
        assert same(here, indices(map=pool.map))


def test_invariant_19_first_order_adds_up_to_less_than_all_and_totals_to_more(
    here: Indices,
) -> None:
    error = np.maximum(here.first_high - here.first, here.total_high - here.total).sum(axis=1)
    assert (here.first.sum(axis=1) <= 1 + error).all()
    assert (here.total.sum(axis=1) >= 1 - error).all()
    assert (here.first <= here.total + error[:, None]).all()


def test_layers_hold_all_that_their_factors_do(here: Indices) -> None:
    """A group's first order is at least that of its parts, and its total at most theirs."""
    layers = tuple(each.layer for each in COST.inputs.values())
    grouped = sobol(COST, len(layers), 2 * BLOCK, 7, groups=layers)
    layer_of = dict(zip(FACTORS, layers, strict=True))
    for at, layer in enumerate(grouped.groups):
        of = [i for i, factor in enumerate(here.groups) if layer_of[factor] == layer]
        assert (grouped.first[:, at] >= here.first[:, of].sum(axis=1) - 0.01).all(), layer
        assert (grouped.total[:, at] <= here.total[:, of].sum(axis=1) + 0.01).all(), layer
