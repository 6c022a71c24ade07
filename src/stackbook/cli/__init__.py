"""The command line `stackbook`: a module for each kind of command."""

import errno
import io
import signal
import sys
from typing import Annotated

import typer

from stackbook import StackbookError, __version__
from stackbook.cli import book, checks, data, releases, scenarios, studies, sweeps

app = typer.Typer(
    help="The open, executable book on the economics of the AI infrastructure stack.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for _each in (book, checks, studies, releases, scenarios, sweeps):
    app.add_typer(_each.app)
app.add_typer(data.app, name="data")


def main() -> None:
    """Run the command line; an error is one line and a non-zero exit."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends as Ctrl-C does
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that knows ASCII alone
    try:
        app()
    except StackbookError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        named = f"{error.filename}: " if error.filename else ""
        room = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)
        remedy = "; make room, or work in another folder" if room else ""
        sys.exit(f"error: {named}{error.strerror or error}{remedy}")


def _version(wanted: bool) -> None:
    if wanted:
        print(f"stackbook {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")
    ] = False,
) -> None:
    pass
