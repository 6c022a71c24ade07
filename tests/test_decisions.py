"""Decisions by actor, and what knowing an item is worth."""

import numpy as np
import pytest

from stackbook import decisions, inputs, outlook, series, watch
from stackbook.decisions import Decision, information
from stackbook.watch import NOW


@pytest.fixture(scope="module")
def world():
    return outlook.outlook()


@pytest.fixture(scope="module")
def actors(world):
    return {
        "startup": decisions.startup(world, 180_000.0, 1.0),
        "business": decisions.business(world, 100_000.0, 0.3, 3.0),
        "vendor": decisions.vendor(world),
        "investor": decisions.investor(world, 2.0),
        "regulator": decisions.regulator(world, 0.25, 0.01),
    }


def test_rents_start_as_asked_today_and_end_between_today_and_the_outlook(world):
    found = decisions.rents(world)
    assert found[0, 0] == pytest.approx(series.item("H100 rent").today["value"], rel=1e-9)
    told = world.run.rent_usd_per_hour[:, watch.AT[NOW] :]
    lasting = told / told[:, :1] * found[:, :1]  # if today's gap stays
    inside = found[:, : told.shape[1]]
    low, high = np.minimum(told, lasting), np.maximum(told, lasting)
    assert ((inside >= low * (1 - 1e-9)) & (inside <= high * (1 + 1e-9))).all()


def test_every_actor_can_do_something_else_and_no_action_is_best_in_all_draws(actors):
    for decision in actors.values():
        assert np.isfinite(decision.worth).all()
        assert len(decision.actions) == len(decision.worth) > 2
        firsts = np.bincount(decision.worth.argmax(axis=0), minlength=len(decision.actions))
        assert firsts.max() < decision.worth.shape[1]
        assert set(decision.items) <= set(decisions.FACTORS)


def test_no_item_is_worth_more_than_all_and_all_at_once_nearly_that(actors):
    for decision in actors.values():
        found = information(decision)
        noise = 3 * (found.perfect_error + found.partial_error)
        assert (found.partial <= found.perfect + noise).all()
        whole = information(decision, decision.items)
        assert whole.groups == (decision.items,)
        assert whole.partial[0] <= whole.perfect + 3 * whole.perfect_error


def test_what_does_not_enter_a_decision_is_worth_nothing_and_what_alone_does_is_worth_all():
    z = inputs.scores("own demand")[1:]
    worth = np.array([z, np.zeros_like(z)])
    decision = Decision(("go", "stay"), worth, "a dollar", ("own demand", "HBM price"))
    found = dict(zip(("own demand", "HBM price"), information(decision).partial, strict=True))
    assert found["own demand"] == pytest.approx(1 / np.sqrt(2 * np.pi), rel=0.02)  # E max(z, 0)
    assert found["HBM price"] < 0.05


def test_knowing_the_scenario_is_worth_choosing_in_each():
    picks = decisions.picked("trend", 0.3)[1:]
    values = np.linspace(-1.0, 1.5, 7)[::-1][picks]  # best where trend comes, bad in others
    worth = np.array([values, np.zeros(picks.size)])
    decision = Decision(("go", "stay"), worth, "a dollar", ("which scenario",))
    found = information(decision, picks=decisions.picked("trend", 0.3))
    by_hand = np.maximum(values, 0).mean() - max(values.mean(), 0)
    assert found.partial[0] == pytest.approx(by_hand, rel=1e-9)


def test_a_glut_makes_systems_worth_less_and_access_worth_more(world, actors):
    glut = outlook.outlook(outlook.scenarios()["glut"])
    assert decisions.systems(glut, NOW).hourly.mean() < decisions.systems(world, NOW).hourly.mean()
    open_now = decisions.regulator(glut, 0.25, 0.01).worth[0].mean()
    assert open_now > actors["regulator"].worth[0].mean()


def test_a_mix_has_each_scenario_as_often_as_it_is_likely():
    chance, names = 0.3, list(outlook.scenarios())
    worlds = {name: outlook.outlook(levers) for name, levers in outlook.scenarios().items()}
    mix = decisions.mixed("glut", chance)
    rents = mix.run.rent_usd_per_hour
    assert (rents[0] == worlds["glut"].run.rent_usd_per_hour[0]).all()
    known = np.array([(rents == one.run.rent_usd_per_hour).all(axis=1) for one in worlds.values()])
    assert known.any(axis=0).all()
    share = known.mean(axis=1)[names.index("glut")]
    assert share == pytest.approx(1 - chance, abs=0.01)  # none but the trend's may be the same
    np.testing.assert_array_equal(
        decisions.mixed("glut", 0.0).chip_price, worlds["glut"].chip_price
    )
    same = (mix.chip_price == worlds["glut"].chip_price).all(axis=1)
    assert same[known[names.index("glut")]].all()


def test_a_mix_is_worth_what_its_scenarios_are_and_one_alone_has_nothing_to_know(actors):
    alone = [
        decisions.vendor(outlook.outlook(levers)).worth.mean(axis=1)
        for levers in outlook.scenarios().values()
    ]
    mix = decisions.vendor(decisions.mixed("trend", 0.5)).worth.mean(axis=1)
    assert (np.min(alone, axis=0) - 1e-9 <= mix).all()
    assert (mix <= np.max(alone, axis=0) + 1e-9).all()
    for pure in actors.values():
        found = information(pure)
        at = found.groups.index("which scenario")
        assert found.partial[at] <= 3 * found.partial_error[at]
