"""Every published result has one way to be computed, and comes out as its table says."""

import json
import subprocess
import sys

import pytest

from stackbook import StackbookError, cli, facts, validation
from stackbook.validation import Result


def test_every_published_result_has_a_computation_and_the_reverse() -> None:
    rows = facts.table("published_cases").select("case", "quantity").collect().rows()
    assert set(rows) == set(validation.CASES)


@pytest.mark.parametrize("one", validation.results(), ids=lambda one: f"{one.case} {one.quantity}")
def test_case(one: Result) -> None:
    """Met within its tolerance, or a miss with a reason; never both."""
    assert not one.failed, f"{one.published} {one.unit} published, {one.computed} computed"


def test_a_section_or_a_case_can_be_chosen() -> None:
    assert {one.case[0] for one in validation.results("B")} == {"B"}
    assert {one.case for one in validation.results("A05")} == {"A05"}
    with pytest.raises(StackbookError, match="no case 'Z'; the sections are A, B, C"):
        validation.results("Z")


def validate(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "stackbook.cli", "validate", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def test_the_command_prints_published_computed_error_and_tolerance() -> None:
    done = validate("C")
    assert done.returncode == 0, done.stderr
    assert "C02" in done.stdout and "2.21" in done.stdout
    assert "miss: " in done.stdout, "what cannot be met stays in the table"
    rows = json.loads(validate("--json").stdout)
    assert len(rows) == len(validation.CASES)
    assert {"case", "published", "computed", "error", "tolerance", "miss"} <= rows[0].keys()


@pytest.mark.parametrize(
    ("key", "computed"),
    [
        (("A02", "gross_margin"), 0.9),  # off by 1.9 points, where half a point is allowed
        (("A02", "gross_margin"), float("nan")),
        (("A03", "cost_p05"), 5000.0),  # below a lower bound
        (("A03", "cost_p95"), 8100.0),  # above an upper bound
        (("B02", "switches"), 769.0),  # a count is exact
        (("C04", "share_of_tco"), 0.19),  # a miss that is none: its reason is stale
    ],
)
def test_a_wrong_result_fails_and_is_named(
    key: tuple[str, str], computed: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(validation.CASES, key, lambda: computed)
    with pytest.raises(StackbookError, match=f"1 of .* {key[0]} {key[1]}; correct the kernel"):
        cli.validate(key[0])
