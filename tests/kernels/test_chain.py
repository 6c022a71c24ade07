"""Dollars along the chain: conserved, neutral, never dearer by a merger, and a plain version."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plain import dollars_plainly

from stackbook.kernels import capital, chain
from stackbook.kernels.chain import Chain, Layer, Link
from stackbook.kernels.jit import threads
from stackbook.kernels.shapley import shapley

COUNT = 8
MANY = settings(max_examples=1000, deadline=None)
LINKS = (  # silicon and memory into a chip, chips into servers, power and servers into a cloud
    *(Link(0, 2, 1.0), Link(1, 2, 192.0), Link(2, 3, 1.0), Link(3, 5, 1.2e-4, True)),
    *(Link(4, 5, 2.3), Link(5, 6, 1.0), Link(6, 7, 1.0)),
)
SELLER = 6
positive, some, usual = st.floats(0.01, 100), st.floats(0, 0.8), st.floats(0, 0.4)


@st.composite
def layers(draw, margins=some, rates=usual):
    return Layer(
        usd=draw(positive),
        programme_usd=draw(st.sampled_from([0.0, 3.0])),
        capital_usd=draw(st.sampled_from([0.0, 20.0])),
        rate=draw(rates),
        years=draw(st.floats(1, 20)),
        utilization=draw(st.floats(0.3, 1)),
        margin=draw(margins),
    )


@st.composite
def chains(draw, names="ABCD", **more):
    """Random numbers, owners and borders over the same links."""
    parts = tuple(draw(layers(**more)) for _ in range(COUNT))
    return Chain(parts, LINKS, tuple(draw(st.sampled_from(names)) for _ in range(COUNT)))


def price(any_chain):
    return chain.anatomy(any_chain).price_usd.item()


@MANY
@given(chains(), st.floats(0.1, 1e6), st.booleans())
def test_invariant_1_dollars_by_layer_and_by_owner_sum_to_the_price(any_chain, billed, is_billed):
    found = chain.anatomy(any_chain, *((billed, SELLER) if is_billed else ()))
    total = found.price_usd.item()
    assert found.usd.sum() == pytest.approx(total, rel=1e-9)
    owned = found.by_owner(any_chain.owners)
    assert sum(part.sum() for part in owned.values()) == pytest.approx(total, rel=1e-9)
    assert set(owned) == set(any_chain.owners)


@settings(max_examples=300, deadline=None)
@given(chains(), st.floats(0.1, 1e6), st.booleans())
def test_dollars_are_those_paid_from_hand_to_hand(any_chain, billed, is_billed):
    how = (billed, SELLER) if is_billed else ()
    found, plain = chain.anatomy(any_chain, *how).usd, dollars_plainly(any_chain, *how)
    assert found == pytest.approx(plain, rel=1e-9, abs=1e-9 * abs(plain).max())


@MANY
@given(chains(), st.lists(st.floats(0, 1e3), min_size=COUNT, max_size=COUNT), st.integers(0, 7))
def test_invariant_2_more_demand_takes_more_of_everything(any_chain, demand, layer):
    matrix = chain.coefficients(any_chain)
    inverse = np.linalg.inv(np.eye(COUNT) - matrix)
    assert (inverse >= -1e-12).all()  # of an M-matrix
    before = chain.gross_outputs(matrix, demand)
    demand[layer] += 1.0
    after = chain.gross_outputs(matrix, demand)
    assert (before >= 0).all()
    assert (after >= before - 1e-9 * (1 + abs(before))).all()


@MANY
@given(chains(), st.lists(st.sampled_from("ABCD"), min_size=COUNT, max_size=COUNT))
def test_invariant_7_without_margins_owners_do_not_matter(any_chain, others):
    bare = tuple(layer._replace(margin=0.0) for layer in any_chain.layers)
    one = price(any_chain._replace(layers=bare))
    assert one == pytest.approx(price(any_chain._replace(layers=bare, owners=tuple(others))))
    assert one == pytest.approx(price(any_chain._replace(layers=bare, owners=("A",) * COUNT)))


@MANY
@given(chains(names="ABCDEFGH"), st.sampled_from(LINKS))
def test_invariant_8_a_merger_of_neighbours_never_raises_the_price(any_chain, link):
    owners = list(any_chain.owners)
    taken, by = owners[link.source], owners[link.target]
    merged = tuple(by if owner == taken else owner for owner in owners)
    assert price(any_chain._replace(owners=merged)) <= price(any_chain) * (1 + 1e-12)


@MANY
@given(chains(), st.floats(0.01, 100))
def test_invariant_9_doubling_all_dollars_doubles_all_dollars(any_chain, factor):
    scaled = tuple(
        layer._replace(
            usd=factor * layer.usd,
            programme_usd=factor * layer.programme_usd,
            capital_usd=factor * layer.capital_usd,
        )
        for layer in any_chain.layers
    )
    before, after = chain.anatomy(any_chain), chain.anatomy(any_chain._replace(layers=scaled))
    least = 1e-12 * factor * before.price_usd.item()
    assert after.usd == pytest.approx(factor * before.usd, rel=1e-9, abs=least)


@MANY
@given(chains(names="A", margins=st.just(0.0)))
def test_invariant_6_depreciation_and_return_are_the_annuity(any_chain):
    found = chain.anatomy(any_chain).usd[:, :, 0]
    for number, layer in enumerate(any_chain.layers):
        if layer.capital_usd and number not in {link.target for link in LINKS if link.durable}:
            over = found[number, 1] * layer.years / layer.capital_usd  # units made, over use
            charge = layer.capital_usd * capital.annuity(layer.rate, layer.years)
            assert found[number, 1:3].sum() == pytest.approx(over * charge)


@MANY
@given(chains(names="A", rates=st.just(0.0)))
def test_without_interest_nothing_is_a_return(any_chain):
    found = chain.anatomy(any_chain).usd
    assert found[:, 2] == pytest.approx(0.0, abs=1e-9 * found.sum())


@given(chains(), chains())
@settings(max_examples=200, deadline=None)
def test_savings_sum_to_the_difference_of_prices(apart, together):
    found = chain.integration(apart, together, 0.25)
    gap = price(apart) - price(together)
    scale = max(price(apart), price(together))
    assert found.total.item() == pytest.approx(gap - 0.25, abs=1e-8 * scale)


def test_a_merger_alone_saves_margins_alone():
    parts = tuple(Layer(1.0, margin=0.2) for _ in range(COUNT))
    apart = Chain(parts, LINKS, tuple("ABCDEFGH"))
    found = chain.integration(apart, apart._replace(owners=("A",) * COUNT))
    assert found.margins.item() == pytest.approx(found.total.item())
    assert found.margins.item() > 0
    assert found.capital == found.scale == found.performance == found.utilization == 0


def test_terms_of_no_capital_save_nothing():
    alike = tuple(Layer(1.0) for _ in range(COUNT))
    rich = (Layer(1.0, capital_usd=10.0, rate=0.2, years=20.0), *alike[1:])
    for pair in ((alike, rich), (rich, alike)):
        found = chain.integration(*(Chain(layers, LINKS, ("A",) * COUNT) for layers in pair))
        assert found.capital == pytest.approx(0.0, abs=1e-12)
        assert found.performance.item() == pytest.approx(found.total.item())


def test_two_layers_by_hand():
    """A chip of 60 and a margin of 0.4 costs 100; in a cloud 10% a year and 5 years."""
    parts = Layer(60.0, margin=0.4), Layer(0.5, rate=0.1, years=5.0, utilization=0.5, margin=0.2)
    pair = Chain(parts, (Link(0, 1, 0.01, True),), ("Nvidia", "CoreWeave"))
    found = chain.anatomy(pair)
    cost = (0.5 + 0.01 * 100 * capital.annuity(0.1, 5.0)) / 0.5
    assert found.price_usd.item() == pytest.approx(cost / 0.8)
    sold = 0.01 / 5 / 0.5  # chips that wear out for an hour that is sold
    assert found.usd[0, :, 0] == pytest.approx([60 * sold, 0, 0, 40 * sold])
    back = (capital.annuity(0.1, 5.0) - 0.2) * 0.01 * 100 / 0.5
    assert found.usd[1, :, 0] == pytest.approx([1.0, 0, back, 0.25 * cost])


def test_a_royalty_comes_off_the_billed_price_before_the_seller():
    parts = Layer(2.0, margin=0.5), Layer(0.0), Layer(0.1, margin=0.2)
    links = Link(0, 1, 1.0), Link(1, 2, 1.0)
    found = chain.anatomy(Chain(parts, links, ("cloud", "lab", "channel")), 10.0, 1)
    assert found.usd[:, 3, 0] == pytest.approx([2.0, 8.0 - 0.1 - 4.0, 2.0])
    lost = chain.anatomy(Chain(parts, links, ("cloud", "lab", "channel")), 4.0, 1)
    assert lost.usd[1, 3, 0] == pytest.approx(3.2 - 0.1 - 4.0)  # a loss is a negative rent


def test_a_billed_price_that_costs_and_margins_make_changes_nothing():
    parts = tuple(Layer(1.0, capital_usd=3.0, margin=0.2) for _ in range(COUNT))
    apart = Chain(parts, LINKS, tuple("ABCDEFGH"))
    free = chain.anatomy(apart)
    assert chain.anatomy(apart, free.price_usd, SELLER).usd == pytest.approx(free.usd)


def test_draws_are_the_same_on_any_number_of_threads_and_one_by_one():
    rng = np.random.default_rng(1)
    draws = 30_000

    def drawn():
        return rng.uniform(0.5, 2.0, draws)

    parts = tuple(Layer(drawn(), capital_usd=drawn(), rate=0.1 * drawn()) for _ in range(COUNT))
    many = Chain(parts, LINKS, tuple("AABBCCDE"))
    one = chain.anatomy(many, drawn(), SELLER)
    rng = np.random.default_rng(1)
    parts = tuple(Layer(drawn(), capital_usd=drawn(), rate=0.1 * drawn()) for _ in range(COUNT))
    with threads(2):
        two = chain.anatomy(Chain(parts, LINKS, tuple("AABBCCDE")), drawn(), SELLER)
    assert (one.usd == two.usd).all()
    last = Chain(
        tuple(layer._make(float(np.broadcast_to(f, draws)[-1]) for f in layer) for layer in parts),
        *(LINKS, tuple("AABBCCDE")),
    )
    alone = chain.anatomy(last, float(one.price_usd[-1]), SELLER)
    assert (alone.usd[:, :, 0] == one.usd[:, :, -1]).all()


def test_a_chain_that_eats_itself_is_no_chain():
    with pytest.raises(ValueError, match="eigenvalue"):
        chain.gross_outputs([[0.0, 1.2], [1.0, 0.0]], [1.0, 0.0])
    assert chain.gross_outputs([[0.0, 0.5], [0.5, 0.0]], [1.0, 0.0]) == pytest.approx(
        [4 / 3, 2 / 3]
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"layers": (Layer(1.0, margin=1.0), Layer(1.0))}, r"Layer 0.margin = 1: give a number be"),
        ({"layers": (Layer(1.0), Layer(np.array([1, np.nan])))}, r"Layer 1.usd = nan"),
        ({"layers": (Layer(1.0), Layer(1.0, utilization=0.0))}, r"utilization = 0: give a share"),
        ({"owners": ("A",)}, r"Chain.owners has 1 names: give 2"),
        ({"links": (Link(1, 0, 1.0),)}, r"Link\(1, 0\): give a source above its target"),
    ],
)
def test_bad_numbers_are_named(change, said):
    good = Chain((Layer(1.0), Layer(1.0)), (Link(0, 1, 1.0),), ("A", "B"))
    with pytest.raises(ValueError, match=said):
        chain.anatomy(good._replace(**change))


@pytest.mark.parametrize(
    ("change", "billed", "said"),
    [
        ({"layers": (Layer(1.0, utilization=0.0), Layer(1.0))}, 5.0, "Layer 0.utilization = 0"),
        ({"layers": (Layer(1.0), Layer(1.0, utilization=2.0))}, 5.0, "Layer 1.utilization = 2"),
        ({"layers": (Layer(1.0), Layer(1.0, margin=1.5))}, 5.0, "Layer 1.margin = 1.5"),
        ({"links": (Link(0, 1, 0.0),)}, 5.0, r"Link\(0, 1\).units = 0: give a number above 0"),
        ({"links": ()}, 5.0, "Layer 1 has 0 links from above: give one"),
        ({"links": (Link(0, 1, 0.5),) * 2}, 5.0, "Layer 1 has 2 links from above: give one"),
        ({}, np.array([5.0, np.nan]), "billed_usd = nan: give a finite"),
    ],
)
def test_a_billed_price_hides_no_bad_numbers(change, billed, said):
    good = Chain((Layer(1.0), Layer(1.0)), (Link(0, 1, 1.0),), ("A", "B"))
    with pytest.raises(ValueError, match=said):
        chain.anatomy(good._replace(**change), billed, 0)


@pytest.mark.parametrize("usd", [np.ones(4), np.ones((3, 1)), np.ones(0)])
def test_arrays_of_other_lengths_are_named(usd):
    pair = Chain((Layer(np.ones(3)), Layer(usd)), (Link(0, 1, 1.0),), ("A", "B"))
    with pytest.raises(ValueError, match=r"Layer 1.usd of shape"):
        chain.anatomy(pair)


def test_coefficients_and_integration_name_what_is_wrong():
    pair = Chain((Layer(1.0), Layer(1.0)), (Link(0, 1, 1.0),), ("A", "B"))
    idle = pair._replace(layers=(Layer(1.0), Layer(1.0, utilization=0.0)))
    with pytest.raises(ValueError, match=r"Layer 1.utilization = 0"):
        chain.coefficients(idle)
    longer = Chain((Layer(1.0),) * 3, pair.links, ("A", "B", "C"))
    with pytest.raises(ValueError, match="other layers or links"):
        chain.integration(pair, longer)


def test_a_bill_below_nothing_is_refused():
    good = Chain((Layer(1.0), Layer(1.0)), (Link(0, 1, 1.0),), ("A", "B"))
    with pytest.raises(ValueError, match="billed_usd = -1: give a finite number, 0 or more"):
        chain.anatomy(good, -1.0)


def test_shapley_gives_the_glove_game_of_the_textbooks():
    """One left glove, two right ones: 2/3, 1/6, 1/6."""
    value = lambda who: float("left" in who and len(who) > 1)  # noqa: E731
    assert shapley(["left", "right", "other"], value) == pytest.approx([2 / 3, 1 / 6, 1 / 6])
