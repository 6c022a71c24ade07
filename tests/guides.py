"""Guides are tried out: each command of a page runs as printed, and prints what the page says."""

import os
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

_FENCE = re.compile(r"^(?P<ticks>`{3,})(?P<kind>bash|text)\n(?P<text>.*?)^(?P=ticks)$", re.M | re.S)
_END = "=== end of a fence ==="


def tried(page: Path, folder: Path, bin: Path) -> list[tuple[str, str]]:
    """What each `bash` fence before a `text` fence prints, and that text.

    They run in `folder`, one shell for all, with the commands of `bin`; an error stops them.
    """
    fences = [(each["kind"], each["text"]) for each in _FENCE.finditer(page.read_text())]
    script = "".join(f"{text}echo '{_END}'\n" for kind, text in fences if kind == "bash")
    env = os.environ | {"PATH": f"{bin}:{os.environ['PATH']}", "COLUMNS": "100"}
    done = subprocess.run(
        ["bash", "-e"], cwd=folder, env=env, input=script, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    printed = iter(done.stdout.split(f"{_END}\n"))
    both = [(next(printed) if kind == "bash" else text, kind) for kind, text in fences]
    return [(out, said) for (out, _), (said, kind) in pairwise(both) if kind == "text"]


def commands(bin: Path) -> Path:
    """A folder with `stackbook`, which in a checkout runs the sources that are there."""
    bin.mkdir()
    path = bin / "stackbook"
    path.write_text(
        '#!/bin/sh\n[ -d src/stackbook ] && export PYTHONPATH="$PWD/src"\n'
        f'exec "{sys.executable}" -m stackbook.cli "$@"\n'
    )
    path.chmod(0o755)
    return bin
