"""Chains of the profiles: the market pays the prices of the terms, and readers' own take over."""

import numpy as np
import pytest

from stackbook import StackbookError, facts, profiles
from stackbook.kernels.chain import anatomy
from stackbook.kernels.datacenter import owner_cost
from stackbook.profiles import AT, LAYERS

FEW = 50
AZURE = "OpenAI on Azure"


def central(chain, until):
    return float(profiles.cost(chain, until)[0])


def market_price(chain, layer):
    """What a layer asks of another firm: its cost to its owner, and its margin."""
    margin = np.ravel(chain.layers[AT[layer]].margin)[0]
    return central(chain, layer) / (1 - margin)


@pytest.mark.parametrize("name", profiles.names())
def test_layers_sell_at_the_prices_of_the_terms(name):
    chain = profiles.chain(name, draws=FEW)
    of = {symbol: row.central for symbol, row in profiles.profile(name).terms.items()}
    assert market_price(chain, "foundry") == pytest.approx(of["package_usd"])
    assert market_price(chain, "memory") == pytest.approx(of["memory_usd"])
    assert market_price(chain, "network") == pytest.approx(of["network_usd"])
    merchant = chain.owners[AT["chip supply"]] == chain.owners[AT["accelerator"]]
    chip = market_price(chain, "accelerator" if merchant else "chip supply")
    assert chip == pytest.approx(of["chip_usd"])


@pytest.mark.parametrize("name", profiles.names())
def test_all_draws_of_all_profiles_are_costs_of_0_or_more_and_margins_below_1(name):
    for number, layer in enumerate(profiles.chain(name, draws=FEW).layers):
        for field in ("usd", "programme_usd", "capital_usd"):
            assert (np.asarray(getattr(layer, field)) >= 0).all(), (number, field)
        assert (np.asarray(layer.margin) < 1).all(), number


def test_an_hour_costs_the_cloud_what_the_layers_kernel_says():
    """A hyperscaler's GB200: the same sum of capital, operation and energy, border by border."""
    of = {symbol: row.central for symbol, row in profiles.profile(AZURE).terms.items()}
    hour = owner_cost(
        *(of["chip_usd"] + of["network_usd"] + of["server_usd"], of["rate_it"], of["life_it"]),
        *(of["site_usd"], of["rate_site"], of["life_site"], facts.central("om_IT"), 1.0),
        *(of["kw"], facts.central("u_P"), 1.0, facts.central("p_e25")),
    )
    assert central(profiles.chain(AZURE, draws=FEW), "cloud") == pytest.approx(hour, rel=1e-9)


def test_the_bill_is_what_serving_costs_the_reference_times_what_its_revenue_is_over_that():
    paid = central(profiles.chain(profiles.REFERENCE), "model")
    ratio = profiles.company("OpenAI", "revenue_over_inference")[0]
    assert profiles.billed()[0] == pytest.approx(paid * ratio)


def test_equal_terms_of_two_profiles_have_the_same_draws():
    one, other = (profiles.chain(name) for name in (AZURE, "Meta in-house"))
    same = one.layers[AT["memory"]].usd == other.layers[AT["memory"]].usd
    assert same.all() and np.ptp(one.layers[AT["memory"]].usd) > 0


def test_a_readers_owners_and_terms_take_the_place_of_the_profiles():
    mine = profiles.chain(
        profiles.REFERENCE,
        owners={"cloud": "OpenAI", "data center": "OpenAI"},
        terms={"royalty": 0.05, "rate_it": 0.09},
    )
    assert mine.owners[AT["cloud"]] == "OpenAI"
    assert mine.layers[AT["platform"]].margin[0] == 0.05
    cloud_rent = anatomy(mine, 6.0, profiles.SELLER).usd[AT["cloud"], 3]
    assert (cloud_rent == 0).all()  # inside the firm


def test_research_and_other_costs_are_the_labs_own():
    bare = anatomy(profiles.chain(AZURE), 6.0, profiles.SELLER).usd[:, :, 0]
    chain = profiles.chain(AZURE, research=1.5, other_usd=2.0)
    loaded = anatomy(chain, 6.0, profiles.SELLER).usd[:, :, 0]
    upstream = slice(0, profiles.SELLER)
    assert loaded[upstream] == pytest.approx(2.5 * bare[upstream])
    assert loaded[profiles.SELLER, 0] == pytest.approx(2.0)


def test_a_layer_at_no_price_adds_nothing():
    free = profiles.chain(AZURE, terms={"network_usd": 0.0}, draws=FEW)
    assert not anatomy(free, 6.0, profiles.SELLER).usd[AT["network"]].any()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"terms": {"cloud_utilization": 1.2}}, "cloud_utilization = 1.2: give 0 to 1"),
        ({"terms": {"discount": -0.1}}, "discount = -0.1: give 0 to 1"),
        ({"name": "OpenAI on Orcale"}, r"no profile .* \(did you mean OpenAI on Oracle\?\)"),
        ({"owners": {"clouds": "OpenAI"}}, r"no layer 'clouds' \(did you mean cloud\?\)"),
        ({"terms": {"royalti": 0.1}}, r"no term 'royalti' \(did you mean royalty\?\)"),
    ],
)
def test_what_a_reader_gives_wrong_is_named(given, said):
    with pytest.raises(StackbookError, match=said):
        profiles.chain(**{"name": AZURE, "draws": FEW, **given})


def test_each_layer_has_a_colour_and_accounts_of_companies():
    from stackbook import charts

    assert set(LAYERS.values()) <= set(charts.LAYERS)
    for layer in ("foundry", "memory", "chip supply", "accelerator", "network", "server"):
        seen = profiles.accounts(layer)
        assert 0 < seen.operating_income < 1 and seen.capital > seen.depreciation > 0
    assert profiles.accounts("accelerator", "Nvidia") != profiles.accounts("accelerator")


def test_who_makes_chips_and_servers_sells_the_rack_at_the_price_of_both():
    apart = profiles.chain(profiles.REFERENCE, draws=FEW)
    joined = profiles.chain(profiles.REFERENCE, owners={"server": "Nvidia"}, draws=FEW)
    accounts_of_makers = profiles.accounts("server", "server makers")
    assert profiles.accounts("server", "Nvidia") == accounts_of_makers  # it has none of its own
    assert market_price(joined, "server") == pytest.approx(market_price(apart, "server"))
    assert anatomy(joined).price_usd == pytest.approx(anatomy(apart).price_usd)


def test_design_partners_have_the_margin_of_their_own_accounts():
    partner, broadcom = (
        profiles.accounts("chip supply", o) for o in ("design partners", "Broadcom")
    )
    assert partner.operating_income < 0.2 < 0.5 < broadcom.operating_income
    assert partner.capital == broadcom.capital  # the only one that is known
