"""What a million tokens cost, as a function of inputs: the chain's own prices and ranges."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from stackbook import charts, facts, profiles, token_cost
from stackbook.kernels.chain import anatomy
from stackbook.token_cost import WITH_CHIPS, TokenCost, growths

COST = TokenCost()
DRAWS = 4000


@pytest.fixture(scope="module")
def scores() -> np.ndarray:
    return np.random.default_rng(5).standard_normal((len(COST.inputs), DRAWS))


def test_central_inputs_give_the_chains_own_price() -> None:
    """Both profiles at one number of hours, so that their ratio is that of their units' prices."""
    centre = np.zeros((len(COST.inputs), 1))
    cost, other, saving, share, hour = COST(centre)[:, 0]
    one, two = (
        anatomy(profiles.chain(name, draws=1)).price_usd[0]
        for name in (COST.profile, COST.integrated)
    )
    assert other / cost == pytest.approx(two / one, rel=1e-12)
    assert saving == cost - other and hour == one
    assert share == pytest.approx(saving / cost, rel=1e-12)
    values = COST.values(centre)
    at = list(COST.inputs).index("U_day")
    values[at] /= 2
    assert COST.at(values)[0, 0] == pytest.approx(2 * cost, rel=1e-12)


def test_every_range_is_that_of_its_row(scores: np.ndarray) -> None:
    found = np.percentile(COST.values(scores), [5, 50, 95], axis=1).T
    for (low, central, high), (row, *_) in zip(found, COST.inputs.values(), strict=True):
        for ours, published in ((low, row.low), (central, row.central), (high, row.high)):
            room = 0.05 * (row.high - row.low) + 1e-12
            assert ours == pytest.approx(published, abs=room), row.symbol


def test_what_both_chains_share_stands_once_and_common_prices_move_together(
    scores: np.ndarray,
) -> None:
    inputs = list(COST.inputs.values())
    assert sum(each.row.symbol == "r_chain" for each in inputs) == 1
    values = COST.values(scores)
    published = facts.parameter("rho_p")
    for symbol, rho in {"chip_usd": published.central, "memory_usd": published.high}.items():
        pair = [at for at, each in enumerate(inputs) if each.factor == symbol]
        assert np.corrcoef(np.log(values[pair]))[0, 1] == pytest.approx(rho, abs=0.04)
    factors = [each.factor for each in inputs]
    assert len(set(factors)) == len(factors) - 2


def test_costs_converge_to_the_central_run_as_ranges_shrink(scores: np.ndarray) -> None:
    centre = COST(0 * scores[:, :1])
    wide = [
        np.abs(np.median(COST(scale * scores), axis=1) / centre[:, 0] - 1).max()
        for scale in (1.0, 0.1, 0.001)
    ]
    assert wide[0] > wide[1] > wide[2] and wide[2] < 1e-3


def test_what_is_kept_from_run_to_run_is_never_of_another_chain_or_of_other_draws() -> None:
    """Of two chains in turn, as scores change in place; and little is kept."""
    other, scores = TokenCost(output_tokens=128.0), np.zeros((len(COST.inputs), 2))
    alone = [each(scores.copy()) for each in (COST, other)]
    pairs = list(zip((COST, other), alone, strict=True))
    for _ in range(2):
        assert all(np.array_equal(each(scores), was) for each, was in pairs)
    scores[list(COST.inputs).index("h_c"), 1] = 1.0
    assert COST(scores)[0, 1] < alone[0][0, 1]
    with ThreadPoolExecutor(2) as pool:
        assert np.array_equal(*pool.map(COST, [scores, scores]))
    before = len(vars(token_cost._last))
    for tokens in (64.0, 65.0, 66.0):
        TokenCost(output_tokens=tokens)(scores)
    assert len(vars(token_cost._last)) == before


def test_scores_of_another_shape_are_named_and_whole_ones_are_no_less() -> None:
    with pytest.raises(ValueError, match=r"scores of shape \(3, 1\): give a row for each of"):
        COST(np.zeros((3, 1)))
    whole = np.ones((len(COST.inputs), 1), int)
    assert np.array_equal(COST(whole), COST(whole.astype(float)))


def test_it_can_be_sent_to_other_processes(scores: np.ndarray) -> None:
    sent = pickle.loads(pickle.dumps(COST))
    some = scores[:, :50]
    assert np.array_equal(sent(some), COST(some))


def test_a_discount_that_is_central_at_none_is_given_in_half_of_the_draws() -> None:
    row = profiles.profile(profiles.REFERENCE).terms["discount"]
    assert (row.low, row.central) == (0, 0) and row.high == facts.central("d_out")
    drawn = profiles.at_scores(row, np.linspace(-3, 3, 6001))
    assert (drawn >= 0).all() and drawn[:3001].max() == 0
    assert profiles.at_scores(row, np.full(1, 8.0)) == 1, "a share"
    assert np.interp(1.6448536, np.linspace(-3, 3, 6001), drawn) == pytest.approx(row.high)


@pytest.mark.parametrize("years", [0.5, 4.0])
def test_years_ahead_central_inputs_are_those_of_the_trends(years: float) -> None:
    """By hand: a profile's terms at their trends, and the root of what models spare."""
    growth = {name: each.row.central for name, each in growths(years).items()}
    later = TokenCost(years_ahead=years)
    before, after = COST(np.zeros((len(COST.inputs), 1))), later(np.zeros((len(later.inputs), 1)))
    cheaper, leaner = growth["chips"] ** -years, growth["power"] ** -years
    for at, name in enumerate((COST.profile, COST.integrated)):
        now = {row.symbol: row.central for row in profiles.profile(name).terms.values()}
        memory = now["memory_usd"] * growth["memory"] ** years
        then = {symbol: now[symbol] * cheaper for symbol in WITH_CHIPS if symbol in now} | {
            "kw": now["kw"] * leaner,
            "site_usd": now["site_usd"] * leaner * (1 + growth["building"]) ** years,
            "memory_usd": memory,
            "chip_usd": (now["chip_usd"] - now["memory_usd"]) * cheaper + memory,
        }
        was, is_now = (
            anatomy(profiles.chain(name, terms=terms, draws=1)).price_usd[0] for terms in ({}, then)
        )
        spared = 2 ** (12 * years / growth["models"])
        rents = (
            growth["rents"] ** years if name == COST.profile else 1.0
        )  # the other is one owner's
        told = is_now / was * rents / spared**0.5
        assert after[at, 0] / before[at, 0] == pytest.approx(told, rel=1e-9)


def test_rents_that_drift_from_costs_raise_a_rented_chain_alone() -> None:
    later = TokenCost(years_ahead=2.0)
    scores = np.zeros((len(later.inputs), 2))
    scores[list(later.inputs).index("rents"), 1] = 1.0
    cost, other, *_ = later(scores)
    central, drift = later.values(scores)[list(later.inputs).index("rents")]
    assert cost[1] / cost[0] == pytest.approx((drift / central) ** 2.0, rel=1e-9)
    assert other[1] == other[0]


def test_every_input_of_every_profile_has_a_layer_and_words() -> None:
    for name in profiles.names():
        for each in TokenCost(profile=name, years_ahead=1.0).inputs.values():
            assert each.layer in charts.LAYERS and each.words


def test_years_ahead_end_with_the_outlook() -> None:
    with pytest.raises(ValueError, match=r"years_ahead = 5: give 0 to 4"):
        len(TokenCost(years_ahead=5.0).inputs)
