"""`detector docs`: HTML pages of the Python interface."""

import warnings
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from typing import Annotated

import typer

from detector.cli.console import Console
from detector.errors import InputError
from detector.runner.writers import check_folder
from proposals.extras import needs_extra


def docs(out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the pages.")] = Path("runs/docs")) -> None:
    """Write HTML pages of the Python interface, from its docstrings (needs the extra `docs`).

    Example:

        detector docs --out site
    """
    try:
        import pdoc
    except ModuleNotFoundError:
        raise InputError(needs_extra("writing the pages", "docs")) from None
    check_folder(out, f"--out {out}")
    modules = []
    for package in map(import_module, ("detector", "proposals")):
        for name in package.__all__:  # pdoc does not see names that are imported at first use
            setattr(package, name, getattr(package, name))
        below = (module.name for module in walk_packages(package.__path__, f"{package.__name__}."))
        modules += [package.__name__, *(name for name in below if not name.startswith("detector.cli"))]
    pdoc.render.configure(docformat="google")
    with warnings.catch_warnings(action="ignore"):  # of names that it meets twice
        pdoc.pdoc(*modules, output_directory=out)
    Console().result(f"pages -> {out / 'index.html'}")
