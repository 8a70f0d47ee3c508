"""`detector docs`: the pages of the library's interface."""

from pathlib import Path
from typing import Annotated

import typer

from detector.cli.console import Console
from detector.runner.writers import check_folder


def docs(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the pages.")] = Path("runs/docs"),
) -> None:
    """Write the pages of the library's interface, from its docstrings.

    Example:

        detector docs --out site
    """
    from detector.cli.documentation import write_pages

    check_folder(out, f"--out {out}")
    Console().result(f"pages -> {write_pages(out)}")
