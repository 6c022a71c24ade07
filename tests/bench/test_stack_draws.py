"""A million draws of the joined stack: every profile, its real uncertain terms, one thread and two.

Run with `pytest tests/bench --benchmark-only`. A round is a profile; the seconds of all of them
are under `extra_info`, and how long processors worked for it, in all their threads. Draws are made
before, a few thousand of them over and over. The plain version is NumPy that follows each dollar
from hand to hand, on fewer draws.
"""

from time import process_time

import numpy as np
import pytest
from plain import dollars_plainly

from stackbook import kernels, profiles
from stackbook.kernels.chain import Chain, Layer, anatomy

NAMES = profiles.names()
MANY, FEWER = 1_000_000, 100_000


def repeated(name, draws):
    """The chain of a profile and what customers pay, of so many draws."""

    def of(x):
        return np.resize(x, draws) if np.size(x) > 1 else x

    whole = profiles.chain(name)
    layers = tuple(Layer._make(map(of, layer)) for layer in whole.layers)
    links = tuple(link._replace(units=of(link.units)) for link in whole.links)
    return Chain(layers, links, whole.owners), of(profiles.billed()), profiles.SELLER


@pytest.mark.parametrize("way", ["one thread", "two threads", "plain"])
def test_all_profiles(benchmark, way):
    benchmark.group = "the joined stack, all profiles"
    draws = FEWER if way == "plain" else MANY
    anatomy(*repeated(NAMES[0], 10))  # compiles
    names = iter(NAMES)

    worked = []

    def divided(*arguments):
        start = process_time()
        dollars_plainly(*arguments, draws) if way == "plain" else anatomy(*arguments)
        worked.append(process_time() - start)

    with kernels.threads(2 if way == "two threads" else 1):
        benchmark.pedantic(
            divided, setup=lambda: (repeated(next(names), draws), {}), rounds=len(NAMES)
        )
    seconds = benchmark.stats["total"]
    benchmark.extra_info["seconds for all"] = round(seconds, 3)
    benchmark.extra_info["seconds of processors"] = round(sum(worked), 3)
    benchmark.extra_info["draws a second"] = round(len(NAMES) * draws / seconds)


def test_both_agree(benchmark):
    chain = repeated(NAMES[0], 1000)
    plain = dollars_plainly(*chain, 1000)
    ours = benchmark(anatomy, *chain)
    np.testing.assert_allclose(ours.usd, plain, rtol=1e-9, atol=1e-9 * abs(plain).max())
