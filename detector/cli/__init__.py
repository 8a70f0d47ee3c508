"""The command `detector`: one subcommand a module, each also a script in `tools/`.

Modules here import torch only inside their commands, so that `--help` answers at once.
"""

import io
import sys
from collections.abc import Sequence

import typer

from detector.cli.benchmark import benchmark
from detector.cli.classify import classify
from detector.cli.convert import convert
from detector.cli.detect import detect
from detector.cli.evaluate import evaluate
from detector.cli.propose import propose
from detector.cli.train import train
from detector.errors import InputError
from proposals.memory import keep_freed_memory

app = typer.Typer(
    help="Object detection with a GoogLeNet: find objects in photos, propose boxes, classify, train, evaluate.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(detect)
app.command()(evaluate)
app.command()(propose)
app.command()(train)
app.command()(classify)
app.command()(convert)
app.command()(benchmark)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line `arguments` (default: those of the process) and exits.

    Exit codes: 0 all good, 2 something failed (one line on standard error says what), 130 interrupted.
    """
    keep_freed_memory()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # file names need not be valid text
    try:
        app(arguments, prog_name="detector")
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
