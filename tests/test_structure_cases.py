"""Cases of structure and of the joined stack against plain arithmetic, and what they rest on."""

from math import exp, log

import numpy as np
import pytest

from stackbook import facts, profiles
from stackbook.validation import stack, structure


def test_a_calculators_cost_keeps_too_few_by_the_logit_written_out() -> None:
    """16,133 USD at a bill of 8,000 a month: a sixth of a year's, and 60% of customers leave."""
    share = structure.bill_to_leave() / 96_000
    noise = (1 - 1 / 3) / (3 * 0.1 / (1 - 1.1**-3))
    odds = 2 * exp(-share / noise)
    assert structure.leaving_a_model() == pytest.approx(odds / (1 + odds))
    wanted = noise * log(2 * 0.89 / 0.11)
    assert wanted > 9 * share, "what is seen takes a cost many times as high"


def test_a_runway_is_paid_stretch_by_stretch() -> None:
    """Each stretch by those who need it."""
    parts = [2, 2 + 1, 2 + 1 + 1, 2 + 1 + 1 + 5]
    assert [structure.airport(who) for who in structure.NEEDS] == pytest.approx(parts)


def test_the_third_firm_pays_all_without_costs_of_default_and_not_with_them() -> None:
    assert structure.payment(2, 1.0, 1.0) == 1.5
    assert structure.payment(2, 0.5, 0.7) < 1.5


def test_who_holds_a_holder_is_looked_up_as_well() -> None:
    firms, held = stack.holdings(("OpenAI", "utilities"))
    assert {"Microsoft", "Nvidia", "Amazon", "SoftBank"} <= set(firms)
    assert held[firms.index("Microsoft"), firms.index("OpenAI")] == 0.25
    assert held[:, firms.index("utilities")].sum() == 0
    assert (held.sum(axis=0) <= 1).all()


def test_a_lost_cent_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The largest error of all draws is what counts, not a mean."""
    monkeypatch.setattr(profiles, "names", lambda: ("Google on TPU",))
    price = stack.divided("Google on TPU", False).price_usd
    lost = np.zeros_like(price)
    lost[17] = 0.01

    def part(name: str, loaded: bool) -> np.ndarray:
        return np.asarray(stack.by_layer(name, loaded) - lost)

    assert stack.error(part) == pytest.approx(0.01 / price[17], rel=1e-6)
    assert stack.error(stack.by_layer) < 1e-12


def test_a_tpus_hour_is_cheaper_by_plain_arithmetic() -> None:
    """Machines, site, operation and energy of both, from their terms alone."""

    def annuity(rate: float, years: float) -> float:
        return rate / (1 - (1 + rate) ** -years)

    def hour(name: str) -> float:
        t = {symbol: row.central for symbol, row in profiles.profile(name).terms.items()}
        it = t["chip_usd"] + t["programme_usd"] + t["server_usd"] + t["network_usd"]
        capital = it * annuity(t["rate_it"], t["life_it"])
        capital += t["site_usd"] * annuity(t["rate_site"], t["life_site"])
        running = facts.central("om_IT") * it
        energy = t["kw"] * facts.central("u_P") * facts.central("p_e25")
        return (capital + running) / 8760 + energy

    for name in ("OpenAI on Azure", "OpenAI on Oracle", "Google on TPU"):
        assert stack.hour(name) == pytest.approx(hour(name), rel=0.01)
    saved = stack.CASES["I03", "saving"]()
    assert saved == pytest.approx(1 - hour("Google on TPU") / hour("OpenAI on Azure"), abs=0.01)
