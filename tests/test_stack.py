"""The joined stack over its real profiles: what is conserved, and what a merger does to others."""

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from stackbook import facts, profiles
from stackbook.inputs import DRAWS
from stackbook.kernels import (
    chain,
    datacenter,
    fleet,
    market,
    ownership,
    token_prices,
    uncertainty,
)
from stackbook.kernels.chain import Chain, Layer, Link
from stackbook.validation import stack

NAMES = profiles.names()
FEW = settings(max_examples=60, deadline=None)
FIRMS = ["Nvidia", "Google", "Microsoft", "Amazon", "OpenAI", "Anthropic", "someone else"]


def central(name: str) -> Chain:
    """The chain of a profile in numbers alone."""

    def one(x: object) -> float:
        return float(np.atleast_1d(np.asarray(x, float))[0])

    whole = profiles.chain(name, draws=1)
    layers = tuple(Layer._make(one(field) for field in layer) for layer in whole.layers)
    links = tuple(link._replace(units=one(link.units)) for link in whole.links)
    return whole._replace(layers=layers, links=links)


every_profile = pytest.mark.parametrize("name", NAMES)


def test_there_are_eight_profiles_or_more_and_thousands_of_draws() -> None:
    assert len(NAMES) >= 8
    assert DRAWS >= 4000


# --- Dollars ---


@every_profile
@pytest.mark.parametrize("loaded", [False, True])
def test_invariant_1_dollars_of_every_draw_sum_to_the_price(name: str, loaded: bool) -> None:
    """By layer, by owner and by who holds the owners in the end."""
    price = stack.divided(name, loaded).price_usd
    assert price.size == DRAWS + 1 and (price > 0).all()
    for part in (stack.by_layer, stack.by_owner, stack.by_holder):
        np.testing.assert_allclose(part(name, loaded), price, rtol=1e-9)


@FEW
@given(
    st.sampled_from(NAMES),
    st.dictionaries(st.sampled_from(list(profiles.LAYERS)), st.sampled_from(FIRMS)),
    st.dictionaries(
        st.sampled_from(["cloud_margin", "royalty", "discount", "lab_utilization", "eta"]),
        st.floats(0.05, 0.9),
    ),
    st.floats(0, 3),
    st.floats(0.1, 100),
    st.booleans(),
)
def test_invariant_1_whoever_owns_what_on_whatever_terms(
    name: str,
    owners: dict[str, str],
    terms: dict[str, float],
    research: float,
    billed: float,
    is_billed: bool,
) -> None:
    whole = profiles.chain(name, owners=owners, terms=terms, research=research, draws=50)
    found = chain.anatomy(whole, *((billed, profiles.SELLER) if is_billed else ()))
    np.testing.assert_allclose(found.usd.sum(axis=(0, 1)), found.price_usd, rtol=1e-9)
    owned = found.by_owner(whole.owners)
    firms, held = stack.holdings(tuple(owned))
    usd = np.array([owned.get(firm, 0 * found.usd[0]).sum(axis=0) for firm in firms])
    scale = 1e-9 * abs(usd).max()
    np.testing.assert_allclose(
        ownership.outside_income(held, usd).sum(axis=0), found.price_usd, rtol=1e-9, atol=scale
    )


@every_profile
def test_invariant_2_a_unit_more_takes_no_less_of_anything(name: str) -> None:
    whole = profiles.chain(name, draws=20)
    for draw in range(21):
        matrix = chain.coefficients(whole, draw)
        assert (np.linalg.inv(np.eye(len(matrix)) - matrix) >= -1e-12).all()


@every_profile
def test_invariant_7_without_margins_and_at_one_rate_owners_do_not_matter(name: str) -> None:
    whole = profiles.chain(name, draws=200)
    bare = tuple(layer._replace(margin=0.0, rate=0.1) for layer in whole.layers)
    prices = [
        chain.anatomy(Chain(bare, whole.links, owners)).price_usd
        for owners in (whole.owners, ("one",) * len(bare), tuple(profiles.LAYERS))
    ]
    np.testing.assert_allclose(prices[0], prices[1], rtol=1e-12)
    np.testing.assert_allclose(prices[0], prices[2], rtol=1e-12)


@every_profile
def test_invariant_8_a_merger_along_a_real_chain_never_raises_its_price(name: str) -> None:
    """In draws in which nobody sells at a loss, which is nearly all."""
    whole = profiles.chain(name)
    before = chain.anatomy(whole).price_usd
    margins = np.array([np.broadcast_to(layer.margin, before.shape) for layer in whole.layers])
    gain = (margins >= 0).all(axis=0)
    assert gain[0] and gain.mean() > 0.97
    for link in whole.links:
        owners = list(whole.owners)
        gone, by = owners[link.source], owners[link.target]
        merged = tuple(by if owner == gone else owner for owner in owners)
        after = chain.anatomy(whole._replace(owners=merged)).price_usd
        assert (after <= before * (1 + 1e-12))[gain].all()


@settings(max_examples=300, deadline=None)
@given(st.floats(0.05, 0.95), st.floats(0, 0.9), st.floats(0, 3), st.floats(0, 3))
def test_invariant_8_it_raises_what_a_rival_pays(
    sameness: float, weight: float, own: float, cost: float
) -> None:
    """Of two equal buyers of one supplier: what it withholds from one, the other now gains."""
    for_both = (10.0, 1.0, sameness, [own, own], cost, [0, 0])
    apart = market.bargained_inputs(*for_both, [False, False], weight)
    joined = market.bargained_inputs(*for_both, [True, False], weight)
    assert joined.input_prices[1] > apart.input_prices[1] - 1e-9
    assert joined.input_prices[0] == pytest.approx(cost)
    assert joined.profits[1] < apart.profits[1]


def test_invariant_8_pressure_on_a_rivals_input_is_what_its_loss_brings() -> None:
    assert market.vguppi_upstream(0.0, 0.6, 10.0, 3.0) == 0
    assert market.vguppi_upstream(0.3, 0.6, 10.0, 3.0) == pytest.approx(0.6)


@every_profile
def test_invariant_9_doubled_dollars_leave_shares_as_they_are(name: str) -> None:
    whole = profiles.chain(name, draws=200)
    doubled = tuple(
        layer._replace(
            usd=2 * layer.usd,
            programme_usd=2 * layer.programme_usd,
            capital_usd=2 * layer.capital_usd,
        )
        for layer in whole.layers
    )
    one, two = chain.anatomy(whole), chain.anatomy(whole._replace(layers=doubled))
    np.testing.assert_allclose(two.price_usd, 2 * one.price_usd, rtol=1e-12)
    np.testing.assert_allclose(two.usd, 2 * one.usd, rtol=1e-9, atol=1e-12)


# --- Hours, energy and tokens ---


machines = st.lists(
    st.tuples(
        st.floats(0.1, 20),  # accelerators
        st.floats(0.1, 1),  # output over that of the newest
        st.floats(0.05, 3),  # energy and operation [USD/h]
        st.floats(0.3, 3),  # rated power [kW]
    ),
    min_size=1,
    max_size=5,
)
wishes = st.lists(
    st.tuples(st.floats(1e2, 1e6), st.floats(0.2, 4)), min_size=3, max_size=3
)  # hours for serving, training and research, and how they give way to the rent


@settings(max_examples=500, deadline=None)
@given(wishes, machines, st.floats(0.5, 1), st.floats(1, 2), st.floats(0.3, 1))
def test_invariant_3_a_fleet_draws_no_more_than_its_capacity(
    uses: list[tuple[float, float]],
    fleets: list[tuple[float, float, float, float]],
    availability: float,
    pue: float,
    load: float,
) -> None:
    """Energy is power by time: of hours in use, of tokens by their joules, and at most of all."""
    count, eta, cost, kw = np.transpose(fleets)
    found = fleet.cleared(
        fleet.Uses(*np.transpose(uses)), fleet.Generations(count, eta, cost), 2.0, availability
    )
    hours = datacenter.available_hours(availability) * found.utilization * count
    energy = (datacenter.facility_kw(kw, load, pue) * hours).sum()
    most = datacenter.energy_used(kw, 1.0, pue, datacenter.HOURS_PER_YEAR)
    assert energy <= (most * count).sum() * (1 + 1e-12)
    used = hours > 0
    per_second = 1000 * eta[used]  # tokens
    joules = datacenter.joules_per_token(
        1000 * datacenter.facility_kw(kw[used], load, pue), per_second
    )
    tokens = per_second * hours[used] * 3600
    assert (joules * tokens).sum() == pytest.approx(3.6e6 * energy)


@every_profile
def test_invariant_3_a_chain_buys_the_energy_that_its_machines_draw(name: str) -> None:
    whole = profiles.chain(name, draws=20)
    terms = {s: row.central for s, row in profiles.profile(name).terms.items()}
    outputs = chain.gross_outputs(chain.coefficients(whole), np.eye(len(profiles.LAYERS))[-1])
    energy, hours = outputs[profiles.AT["energy"]], outputs[profiles.AT["cloud"]]
    held = hours / terms["cloud_utilization"]
    drawn = datacenter.energy_used(terms["kw"], facts.central("u_P"), 1.0, held)
    assert energy == pytest.approx(float(drawn))
    assert energy < datacenter.energy_used(terms["kw"], 1.0, 1.0, held)


def test_invariant_4_tokens_of_a_day_of_deepseek_are_those_of_its_pools() -> None:
    """Input is hits and fresh tokens; rates of nodes by their time are the tokens of each pool."""
    day = {
        row["symbol"]: row["central"]
        for row in facts.table("observations")
        .filter(source="deepseek-inference-day-2025")
        .collect()
        .to_dicts()
    }
    seconds, hits = 86_400.0, day["T_day_cached"]
    fresh = day["T_day_input"] - hits
    assert hits / day["T_day_input"] == pytest.approx(facts.central("h_c"), abs=5e-4)
    nodes = 0.0
    for tokens, rate in ((hits + fresh, day["X_pre"]), (day["T_day_output"], day["X_dec"])):
        pool = token_prices.nodes_for_flow(tokens / seconds, rate, 1.0)
        assert pool * rate * seconds == pytest.approx(tokens)
        nodes += pool
    assert nodes == pytest.approx(226.75, rel=3e-3)


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.floats(0.01, 100))
def test_invariant_4_a_bill_counts_every_token_once(
    output: float, read: float, written: float, usd: float
) -> None:
    """At one price for all kinds the mean price is that price, whatever is hit or fresh."""
    written *= 1 - read
    mean = token_prices.billed_price(usd, usd, usd, usd, output, read, written, 0.0, 0.0, 0.0)
    assert mean == pytest.approx(usd)


@settings(max_examples=500, deadline=None)
@given(wishes, machines, st.floats(0.5, 1))
def test_invariant_5_hours_are_served_trained_researched_or_idle(
    uses: list[tuple[float, float]],
    fleets: list[tuple[float, float, float, float]],
    availability: float,
) -> None:
    """In hours of the newest accelerator."""
    count, eta, cost, _ = np.transpose(fleets)
    found = fleet.cleared(
        fleet.Uses(*np.transpose(uses)), fleet.Generations(count, eta, cost), 2.0, availability
    )
    available = datacenter.available_hours(availability) * count * eta
    serving_hours, training_hours, research_hours = found.hours
    idle = (available * (1 - found.utilization)).sum()
    spent = serving_hours + training_hours + research_hours
    assert spent + idle == pytest.approx(available.sum(), rel=1e-9)
    assert idle >= -1e-9 * available.sum()


@every_profile
def test_invariant_5_a_loaded_chain_takes_hours_for_research_as_well(name: str) -> None:
    """Per hour that serves: research over it, and what stands still at the cloud and the lab."""
    terms = {s: row.central for s, row in profiles.profile(name).terms.items()}
    whole = profiles.chain(name, research=1.3, draws=1)
    outputs = chain.gross_outputs(chain.coefficients(whole), np.eye(len(profiles.LAYERS))[-1])
    used = outputs[profiles.AT["cloud"]] * terms["eta"] * terms["lab_utilization"]
    assert used == pytest.approx(2.3)


# --- Closure, and what decides the price ---


def test_invariant_21_one_stack_of_capital_meets_two_costs_and_the_margin_between() -> None:
    """Two owners of the same machines, whose terms of capital alone differ."""
    cloud, neocloud = (profiles.profile(f"OpenAI on {name}").terms for name in ("Azure", "Oracle"))
    for symbol in ("chip_usd", "network_usd", "server_usd", "site_usd", "kw"):
        assert cloud[symbol].central == neocloud[symbol].central
    owned, rented = stack.hour("OpenAI on Azure"), stack.hour("OpenAI on Oracle")
    assert owned == pytest.approx(facts.central("tco_GB200_h"), rel=0.05)
    assert rented == pytest.approx(facts.central("tco_GB200_n"), rel=0.05)
    lab = profiles.cost(profiles.chain("OpenAI on Oracle"))[0]
    assert lab == pytest.approx(facts.central("p_r3_GB200"), rel=0.05)
    assert 1 - rented / lab == pytest.approx(1 - 2.75 / 3.30, abs=0.003)


@every_profile
@pytest.mark.parametrize("width", [0.1, 0.01, 0.0])
def test_invariant_22_the_median_price_meets_the_central_one(name: str, width: float) -> None:
    """Every dollar and margin of the chain drawn, in ranges that shrink."""
    whole, stream = central(name), np.random.default_rng(0)

    def around(value: float) -> object:
        if value == 0 or width == 0:
            return value
        scores = np.concatenate([[0.0], stream.standard_normal(2000)])
        ends = value * (1 - width), value, value * (1 + width)
        return uncertainty.two_piece_lognormal(*ends, scores)

    layers = tuple(
        layer._replace(usd=around(layer.usd), margin=around(layer.margin)) for layer in whole.layers
    )
    expected = chain.anatomy(whole).price_usd.item()
    prices = chain.anatomy(whole._replace(layers=layers)).price_usd
    assert prices[0] == pytest.approx(expected, rel=1e-12)
    assert abs(np.median(prices) / expected - 1) <= 0.1 * width + 1e-12


CUT = 4  # layers of a short chain, whose numbers are drawn


def short(x: np.ndarray, margin: float) -> np.ndarray:
    """Price of a chain, each layer's dollars a row of x, margins the same for all."""
    layers = tuple(Layer(usd, margin=margin) for usd in x)
    links = tuple(Link(at, at + 1, 1.0) for at in range(CUT - 1))
    return chain.anatomy(Chain(layers, links, tuple("ABCD"))).price_usd


def indices(price: object, ends: list[tuple[float, float]]) -> tuple[float, float]:
    """Sums of first and of total indices (Saltelli), of inputs drawn evenly between ends."""
    dists = [stats.uniform(low, high - low) for low, high in ends]
    found = stats.sobol_indices(func=price, n=2**12, dists=dists, rng=np.random.default_rng(3))
    return float(found.first_order.sum()), float(found.total_order.sum())


def test_invariant_19_indices_of_a_sum_add_up_to_one() -> None:
    """Dollars that only add up: a chain with margins that are known."""
    first, total = indices(lambda x: short(x, 0.3), [(1, 2), (2, 5), (0, 4), (1, 9)])
    assert first == pytest.approx(1, abs=0.01)
    assert total == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("name", ["OpenAI on Oracle", "Google on TPU", "Startup on a neocloud"])
def test_invariant_19_first_indices_of_a_price_are_at_most_one_and_total_ones_at_least(
    name: str,
) -> None:
    """What a unit costs the lab, by margin, rate, life and use of its cloud, and its output."""
    whole = central(name)
    at = profiles.AT["cloud"]

    def price(x: np.ndarray) -> np.ndarray:
        margin, rate, years, utilization, units = x
        layers = list(whole.layers)
        layers[at] = layers[at]._replace(
            margin=margin, rate=rate, years=years, utilization=utilization
        )
        links = tuple(
            link._replace(units=units) if link.source == at else link for link in whole.links
        )
        apart = Chain(tuple(layers), links, tuple(profiles.LAYERS))
        return profiles.cost(apart)

    ends = [(0.0, 0.6), (0.03, 0.2), (3, 8), (0.4, 1.0), (0.6, 2.0)]
    first, total = indices(price, ends)
    assert first < 1 - 0.02, "numbers of a price multiply"
    assert total > 1 + 0.02


# --- All of them ---


def test_every_invariant_has_a_test_that_carries_its_number() -> None:
    tests = Path(__file__).parent
    names = [
        number
        for path in tests.rglob("test_*.py")
        for number in re.findall(r"^def test_invariant_(\d+)_", path.read_text(), re.M)
    ]
    assert {int(number) for number in names} == set(range(1, 23))
