"""Parameters are read from the chapter, mean the same in each, and are checked before a run."""

from pathlib import Path

import pytest

from stackbook import StackbookError, facts
from stackbook.press import scenarios
from stackbook.press.chapters import Book, Parameter, Value, assigned, declared, plain

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
        "wacc: float = 0.09  # [1/yr] cost of capital",
        "years: int = 5  # [yr, 1 to 9] life\nyears: int = 6  # [yr, 1 to 9] life",
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
            "no parameter 'rat' in one, deep/two (did you mean rate?); "
            "`stackbook params` lists them",
        ),
        ("rate=high", "parameter rate = 'high': give a number, 0 to 0.5 [1/yr]"),
        ("rate=1:30", "parameter rate = '1:30': give a number, 0 to 0.5 [1/yr]"),
        ("rate=true", "parameter rate = 'true': give a number, 0 to 0.5 [1/yr]"),
        ("life_yr=2.5", "parameter life_yr = '2.5': give a whole number, 1 to 30 [yr]"),
        ("rate=0.6", "parameter rate = 0.6 is out of bounds: give a number, 0 to 0.5 [1/yr]"),
        ("rate=nan", "parameter rate = nan is not finite: give a number, 0 to 0.5 [1/yr]"),
        ("rate=-inf", "parameter rate = -inf is not finite: give a number, 0 to 0.5 [1/yr]"),
        ("rate", "-p 'rate': write name=value, e.g. -p usd_per_kwh=0.05"),
        ("=0.1", "-p '=0.1': write name=value, e.g. -p usd_per_kwh=0.05"),
    ],
)
def test_a_bad_assignment_is_refused_in_a_line(book: Book, given: str, message: str) -> None:
    with pytest.raises(StackbookError) as error:
        book.check(dict([assigned(given)]), book.chapters.values())
    assert str(error.value) == message


def test_a_parameter_of_another_chapter_is_told_from_a_typing_error(book: Book) -> None:
    with pytest.raises(StackbookError, match="no parameter 'life_yr' in one, but in deep/two; "):
        book.check({"life_yr": 5}, [book.chapter("one")])


@pytest.mark.parametrize(
    ("line", "text", "value"),
    [
        ("volume: float = 1e6  # [1, 0 to 1e9] chips", "2e6", 2e6),
        ("volume: float = 1e6  # [1, 0 to 1e9] chips", "1000", 1000.0),
        ("years: int = 5  # [yr, 1 to 30] life", "016", 16),
        ("own: bool = False  # [-] owned", "true", True),
        ('chip: str = "B200"  # [-, one of B200 | yes] chip', "yes", "yes"),
    ],
)
def test_text_from_the_command_line_takes_the_type(line: str, text: str, value: object) -> None:
    checked = one(line).check(text)
    assert checked == value and type(checked) is type(value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file or directory; give a YAML file or one of ai-2027, base, "),
        ("a: [", "is not readable YAML: "),
        ("[" * 3000, "is not readable YAML: "),
        ("parameters: {x: 2020-13-45}", "is not readable YAML: "),
        (b"\xff\xfe\xfa", "is not readable YAML: "),
        ("parameters: {load: 0.5, load: 0.6}", "is not readable YAML: load stands twice"),
        ("", "write `parameters:` with name: value lines"),
        ("- 1", "write `parameters:` with name: value lines"),
        ("parameters: 3", "write `parameters:` with name: value lines"),
        ("params: {load: 0.5}", "name: value lines; params means nothing here"),
        ("parameters: {laod: 0.5}", "no parameter 'laod' in the book (did you mean load?)"),
        ("parameters: {load: [0.5]}", "parameter load = [0.5]: give a number"),
        ("parameters: {load: yes}", "parameter load = True: give a number"),
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
        scenarios.scenario(BOOK, str(path))
    assert message in str(error.value) and "\n" not in str(error.value)


def test_shipped_scenarios_fit_the_book() -> None:
    assert next(iter(scenarios.shipped(BOOK))) == scenarios.BASE


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


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.05, "0.05"),
        (12000.0, "12000"),
        (3750000000.0, "3.75e9"),
        (1e10, "1e10"),
        (-1.25e7, "-1.25e7"),
        (0.0, "0"),
        (8, "8"),
        (True, "True"),
        ("all chips", "all chips"),
    ],
)
def test_a_number_is_written_as_readers_type_it(value: Value, text: str) -> None:
    assert plain(value) == text
    assert isinstance(value, str | bool) or float(text) == value
