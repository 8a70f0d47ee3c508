"""The command `detector`: one subcommand a module, each also a script in `tools/`.

Modules here import torch only inside their commands, so that `--help` answers at once.
"""

import errno
import importlib.metadata
import io
import os
import re
import sys
from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import Annotated, Any

import typer

from detector.errors import InputError
from proposals.memory import keep_freed_memory
from proposals.names import unknown_name

_COMMANDS = (
    "detect",
    "bulk",
    "evaluate",
    "propose",
    "train",
    "classify",
    "convert",
    "export",
    "benchmark",
    "explore",
    "docs",
)


def _app(commands: Iterable[str]) -> typer.Typer:
    """The command line with these subcommands, each the function of its name in the module of its name."""
    app = typer.Typer(
        help="Object detection with a GoogLeNet: find objects in photos, propose boxes, classify, train, evaluate.",
        no_args_is_help=True,
        rich_markup_mode="markdown",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_options)  # also, a single subcommand would otherwise lose its name
    for name in commands:
        app.command()(getattr(import_module(f"detector.cli.{name}"), name))
    return app


def _print_version(asked: bool) -> None:
    if asked:
        print(importlib.metadata.version("inception-rcnn"))
        raise typer.Exit


_VERSION = typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)


def _options(version: Annotated[bool, _VERSION] = False) -> None:
    """What stands before a subcommand."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line `arguments` (default: those of the process) and exits.

    Exit codes: 0 all good, 2 something failed (one line on standard error says what), 130 interrupted.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    # Only the module of the subcommand is imported, if one is named.
    wanted = [name for name in _COMMANDS if [name] == list(arguments[:1])] or _COMMANDS
    keep_freed_memory()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # file names need not be valid text
    try:
        if wanted is _COMMANDS and not arguments[0].startswith("-"):
            raise InputError(unknown_name("command", arguments[0], _COMMANDS))
        # Not standalone: Typer's own way with a wrong option is a box of several lines.
        sys.exit(_app(wanted)(arguments, prog_name="detector", standalone_mode=False) or 0)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except _UsageError as error:
        print(f"error: {_usage(error, wanted[0] if len(wanted) == 1 else '')}", file=sys.stderr)
        sys.exit(2)
    except typer.Abort:
        sys.exit(130)
    except OSError as error:  # a disk that is full or may not be written
        if error.errno == errno.EPIPE:  # the reader has gone ("| head")
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)
        if error.filename is None:
            raise
        print(f"error: {os.fsdecode(error.filename)}: {error.strerror or error}", file=sys.stderr)
        sys.exit(2)


# Of Click, or of the copy of it that newer versions of Typer bring along.
_UsageError: Any = typer.BadParameter.__mro__[1]


def _usage(error: Any, command: str) -> str:
    """What is wrong with the arguments, in a line."""
    text = " ".join(error.format_message().split()).rstrip(".")
    for before, after in ((": Value error, ", ": "), (": Input should", ": should")):  # Pydantic's words
        text = text.replace(before, after)
    if choice := re.fullmatch(r"Invalid value for '(.*)': '(.*)' is not one of '(.*)'", text):
        return unknown_name(choice[1], choice[2], choice[3].split("', '"))
    return f"{text[:1].lower()}{text[1:]}; {' '.join(filter(None, ('detector', command)))} --help lists what there is"
