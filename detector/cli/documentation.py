"""Pages of the library's interface, from its docstrings."""

import pkgutil
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

from detector.errors import InputError
from proposals.extras import needs_extra

PACKAGES = ("detector", "proposals")
_LEFT_OUT = ("detector.cli", "detector.cli.documentation")


def module_names() -> list[str]:
    """All public modules, sorted within their package."""
    names: list[str] = []
    for package in PACKAGES:
        below = pkgutil.walk_packages(import_module(package).__path__, f"{package}.")
        names += [package, *sorted(one.name for one in below if not one.name.startswith(_LEFT_OUT))]
    return names


def write_pages(folder: Path, modules: Sequence[str] | None = None) -> Path:
    """Writes an HTML page a module with pdoc, by default of all modules, and gives the first of them.

    Raises `InputError` if pdoc is not installed or the pages cannot be written.
    """
    try:
        import pdoc
    except ModuleNotFoundError:
        raise InputError(needs_extra("writing the pages", "docs")) from None
    pdoc.render.configure(docformat="google")
    try:
        with (
            _all_imported(),
            warnings.catch_warnings(action="ignore"),
        ):  # of modules met twice
            pdoc.pdoc(*(module_names() if modules is None else modules), output_directory=folder)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror or error})") from None
    return folder / "index.html"


@contextmanager
def _all_imported() -> Iterator[None]:
    """pdoc does not see names that are imported at first use: they are there inside the block only."""
    made = []
    for package in map(import_module, PACKAGES):
        for name in package.__all__:
            if name not in vars(package):
                setattr(package, name, getattr(package, name))
                made.append((package, name))
    try:
        yield
    finally:
        for package, name in made:
            delattr(package, name)
