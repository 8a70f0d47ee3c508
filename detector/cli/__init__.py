"""The command `detector`: one subcommand a module, each also a script in `tools/`.

Modules here import torch only inside their commands, so that `--help` answers at once.
"""

import errno
import io
import os
import re
import sys
from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import Annotated, Any

import typer

from detector import __version__
from detector.errors import InputError
from proposals.memory import keep_freed_memory
from proposals.names import unknown_name

_COMMANDS = (
    "detect", "bulk", "evaluate", "propose", "train", "data", "check", "classify", "convert", "export", "benchmark",
    "explore", "docs",
)  # fmt: skip


def _app(commands: Iterable[str]) -> typer.Typer:
    """The command line with these subcommands: each is the function in the module of the same name."""
    app = typer.Typer(
        help="Object detection with a GoogLeNet: find objects in photos, propose boxes, classify, train, evaluate.",
        no_args_is_help=True,
        rich_markup_mode="markdown",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_options)  # without a callback, a single subcommand would lose its name
    for name in commands:
        app.command()(getattr(import_module(f"detector.cli.{name}"), name))
    return app


def _print_version(asked: bool) -> None:
    if asked:
        print(__version__)
        raise typer.Exit


def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Options before the subcommand."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line and exits: with 0 after success, 2 after a failure (stderr has a line), 130 after Ctrl-C.

    Args:
        arguments: by default those of the process.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    command = arguments[0] if arguments[0] in _COMMANDS else None
    keep_freed_memory()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # file names may be invalid text
    try:
        if command is None and not arguments[0].startswith("-"):
            raise InputError(unknown_name("command", arguments[0], _COMMANDS))
        app = _app([command] if command else _COMMANDS)  # imports as few modules as possible
        # In standalone mode, Typer would print a box of several lines for a wrong option.
        sys.exit(app(arguments, prog_name="detector", standalone_mode=False) or 0)
    except InputError as error:
        _fail(str(error))
    except _UsageError as error:
        _fail(_usage(error, command))
    except typer.Abort:
        sys.exit(130)
    except OSError as error:  # a disk is full or cannot be written
        if error.errno == errno.EPIPE:  # the reader has left ("| head")
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)
        if error.filename is None:
            raise
        _fail(f"{os.fsdecode(error.filename)}: {error.strerror or error}")


def _fail(message: str) -> None:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)


# Click's, or that of the copy of Click in newer versions of Typer.
_UsageError: Any = typer.BadParameter.__mro__[1]


def _usage(error: Any, command: str | None) -> str:
    """One line on what is wrong with the arguments."""
    text = " ".join(error.format_message().split()).rstrip(".")
    for before, after in ((": Value error, ", ": "), (": Input should", ": should")):  # Pydantic's words
        text = text.replace(before, after)
    if choice := re.fullmatch(r"Invalid value for '(.*)': '(.*)' is not one of '(.*)'", text):
        return unknown_name(choice[1], choice[2], choice[3].split("', '"))
    return f"{text[:1].lower()}{text[1:]}; see {' '.join(filter(None, ('detector', command)))} --help"
