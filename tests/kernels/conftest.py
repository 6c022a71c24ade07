"""Published results that the kernels must reproduce, from `data/published/cases.csv`."""

import pytest
from hypothesis import settings

from stackbook import facts

settings.register_profile("kernels", deadline=None)  # a kernel's first call compiles it
settings.load_profile("kernels")


class Published:
    """What a published result allows: `Published(row) == computed`."""

    def __init__(self, row):
        self.row = row

    def __eq__(self, computed):
        value, tolerance = self.row["value"], self.row["tolerance"]
        match self.row["tolerance_kind"]:
            case "relative":
                return computed == pytest.approx(value, rel=tolerance, abs=0)
            case "absolute":
                return computed == pytest.approx(value, abs=tolerance)
            case "bound":
                return computed <= value + tolerance

    def __repr__(self):
        row = self.row
        return f"{row['value']} {row['unit']} ± {row['tolerance']} ({row['tolerance_kind']})"


@pytest.fixture(scope="session")
def published():
    """Case and quantity → the published result."""
    cases = facts.table("published_cases").collect()
    return {(row["case"], row["quantity"]): Published(row) for row in cases.to_dicts()}
