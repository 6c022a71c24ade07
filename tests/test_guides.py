"""The page on adding a chip, a price and a chapter, from the first command to the last."""

import shutil
from pathlib import Path

from guides import commands, tried

from stackbook import home


def test_a_chip_a_price_and_a_chapter_are_added_as_the_page_says(tmp_path: Path) -> None:
    for name in ("book", "data", "src"):
        shutil.copytree(
            home() / name,
            tmp_path / "stackbook" / name,
            ignore=shutil.ignore_patterns("__pycache__"),
        )
    for name in ("_config.yml", "copier.yml"):
        shutil.copy(home() / name, tmp_path / "stackbook" / name)
    told = tried(home() / "book" / "back" / "guides.md", tmp_path, commands(tmp_path / "bin"))
    assert len(told) == 5
    for printed, said in told:
        assert printed.strip() == said.strip()
