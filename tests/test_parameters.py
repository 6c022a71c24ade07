"""Parameters are read from the chapter, mean the same in each, and are checked before a run."""

from pathlib import Path

import pytest

from stackbook import StackbookError, facts
from stackbook.press.chapters import Book, Parameter, assigned, declared

BOOK = Book()


CELL = """\
---
kernelspec: {{name: python3, display_name: Python 3}}
---

```{{code-cell}} python
:tags: [parameters]
{line}
```
"""


def one(line: str) -> Parameter:
    (parameter,) = declared("test", CELL.format(line=line)).values()
    return parameter


def test_a_line_says_name_type_default_unit_bounds_meaning_and_evidence() -> None:
    parameter = one("wacc: float = 9e-2  # [1/yr, 0.0 to 0.4] cost of capital {r_HS}")
    assert parameter == ("wacc", "float", 0.09, "1/yr", 0.0, 0.4, (), "cost of capital", "r_HS")
    chip = one('chip: str = "B200"  # [-, one of H100 SXM | B200] accelerator')
    assert (chip.default, chip.choices) == ("B200", ("H100 SXM", "B200"))


@pytest.mark.parametrize(
    "line",
    [
        "wacc = 0.09  # [1/yr, 0.0 to 0.4] cost of capital",
        "wacc: float = 0.09",
        "wacc: float = 0.09  # cost of capital",
        "wacc: float = 0.9  # [1/yr, 0.0 to 0.4] cost of capital",
        "wacc: int = 0.09  # [1/yr, 0.0 to 0.4] cost of capital",
    ],
)
def test_a_line_that_says_less_is_refused(line: str) -> None:
    with pytest.raises(StackbookError, match="chapter test: "):
        one(line)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            "rat=0.1",
            "no parameter 'rat' (did you mean rate?) in one, deep/two; "
            "`stackbook params` lists them",
        ),
        ("rate=high", "parameter rate = 'high': give a float [1/yr]"),
        ("life_yr=2.5", "parameter life_yr = 2.5: give a int [yr]"),
        ("rate=true", "parameter rate = True: give a float [1/yr]"),
        ("rate=0.6", "parameter rate = 0.6 is out of bounds: give 0 to 0.5 [1/yr]"),
        ("rate=.nan", "parameter rate = nan is not finite: give a number in 0 to 0.5"),
        ("rate=inf", "parameter rate = inf is not finite: give a number in 0 to 0.5"),
        ("rate", "-p 'rate': write name=value, e.g. -p wacc=0.09"),
    ],
)
def test_a_bad_assignment_is_refused_in_a_line(book: Book, given: str, message: str) -> None:
    with pytest.raises(StackbookError) as error:
        book.check(dict([assigned(given)]), book.chapters.values())
    assert str(error.value) == message


def test_whole_numbers_and_exponents_are_floats() -> None:
    parameter = one("volume: float = 1e6  # [1, 0 to 1e9] chips")
    assert parameter.check(1000) == 1000.0
    assert parameter.check(assigned("volume=2e6")[1]) == 2e6


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file or directory; give a YAML file or one of "),
        ("a: [", "is not readable YAML: "),
        ("- 1", "no `parameters:` with name: value lines"),
        ("parameters: 3", "no `parameters:` with name: value lines"),
        (b"\xff\xfe\xfa", "is not readable YAML: "),
    ],
)
def test_an_unreadable_scenario_is_refused(
    tmp_path: Path, content: str | bytes | None, message: str
) -> None:
    path = tmp_path / "scenario.yml"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        path.write_text(content)
    with pytest.raises(StackbookError) as error:
        BOOK.scenario(str(path))
    assert message in str(error.value) and "\n" not in str(error.value)


def test_shipped_scenarios_fit_the_book() -> None:
    paths = sorted((BOOK.folder / "scenarios").glob("*.yml"))
    assert paths
    for path in paths:
        BOOK.check(BOOK.scenario(path.stem), BOOK.chapters.values())


def test_a_name_means_the_same_in_every_chapter() -> None:
    seen = {}
    for chapter in BOOK.chapters.values():
        for name, parameter in chapter.parameters.items():
            assert seen.setdefault(name, parameter) == parameter, f"{chapter.name}: {name}"


def test_defaults_with_evidence_are_its_central_value() -> None:
    for chapter in BOOK.chapters.values():
        for parameter in chapter.parameters.values():
            if parameter.symbol:
                fact = facts.parameter(parameter.symbol)
                assert parameter.default == pytest.approx(fact.central), parameter.name
