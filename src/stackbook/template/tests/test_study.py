"""The study holds: its tables keep their rules, its chapter runs at its bounds, scenarios count."""

import unittest

from stackbook import facts
from stackbook.press.build import Case, default_store, run
from stackbook.press.chapters import Book, Value
from stackbook.press.scenarios import shipped

BOOK = Book()
CHIP = BOOK.chapter("my-chip")


def at(end: int) -> dict[str, Value]:
    """The lowest value that each parameter admits (end 0), or the highest (end -1)."""
    found: dict[str, Value] = {}
    for name, one in CHIP.parameters.items():
        value = (one.choices or (one.low, one.high))[end]
        if value is not None:  # free text has no bounds
            found[name] = int(value) if one.kind == "int" else value
    return found


class Study(unittest.TestCase):
    def test_tables_keep_their_rules(self) -> None:
        self.assertEqual(facts.package().broken(), [])

    def test_own_rows_are_laid_over_the_books(self) -> None:
        self.assertEqual(facts.rows("accelerators", "name", "My H100").height, 1)
        self.assertEqual(facts.parameter("p_e25").source, "eia-epm-5-6-a-2025")

    def test_the_chapter_holds_at_its_bounds_and_under_each_scenario(self) -> None:
        values = {name: each.parameters for name, each in shipped(BOOK).items()}
        values |= {"lowest": at(0), "highest": at(-1)}
        cases = {name: Case(CHIP, CHIP.values(each)) for name, each in values.items()}
        done = run(default_store(), cases)  # what `make book` has executed is known
        found = {
            name: {one["name"]: one["value"] for one in result.findings}
            for name, result in done.items()
        }
        self.assertGreater(found["lowest"]["hour_cost"], 0)
        self.assertLess(found["base"]["must_rent_for"], found["half-empty"]["must_rent_for"])
        self.assertEqual(found["base"]["hour_cost"], found["half-empty"]["hour_cost"])


if __name__ == "__main__":
    unittest.main()
