"""MLPerf's entries are found one by one, and compare as work over hardware time."""

import pytest

from stackbook.validation.mlperf import GPT_3, Entry, gain, speed_up

SMALL = Entry(GPT_3, "v3.1", "H100 SXM", 512)
LARGE = Entry(GPT_3, "v3.1", "H100 SXM", 10_752)


def test_gain_is_speed_up_over_the_growth_in_accelerators() -> None:
    grown = LARGE.accelerators / SMALL.accelerators
    assert gain(LARGE, SMALL) == pytest.approx(speed_up(LARGE, SMALL) / grown)
    assert gain(LARGE, SMALL) == pytest.approx(1 / gain(SMALL, LARGE))
    assert gain(LARGE, SMALL) < 1 < speed_up(LARGE, SMALL)


def test_an_entry_that_is_not_one_row_is_refused() -> None:
    with pytest.raises(ValueError):
        _ = Entry(GPT_3, "v4.1", "H100 SXM", 11_616).minutes  # stands once, in its first round
