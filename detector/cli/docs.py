"""`detector docs`: the documentation site, of the guides and the docstrings."""

import logging
import shutil
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from detector.cli.console import Console
from detector.errors import InputError
from detector.runner.writers import check_folder
from proposals.extras import needs_extra

_SITE = Path(__file__).parents[2] / "tools/website/mkdocs.yml"


def docs(out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the site.")] = Path("runs/docs")) -> None:
    """Write the documentation site: the guides, and the Python interface from its docstrings (needs the extra `docs`).

    Works in a checkout of the source code only. Nothing is written if a link leads nowhere: each is named.

    Example:

        detector docs --out site
    """
    try:
        from mkdocs.commands.build import build
        from mkdocs.config import load_config
        from mkdocs.exceptions import MkDocsException
    except ModuleNotFoundError:
        raise InputError(needs_extra("writing the site", "docs")) from None
    if not _SITE.is_file():
        raise InputError("the site is part of the source checkout: clone the repository, run python tools/docs.py")
    check_folder(out, f"--out {out}")
    logging.basicConfig(format="%(message)s")  # what MkDocs warns of
    with tempfile.TemporaryDirectory() as work:
        built = Path(work) / "site"  # MkDocs empties its folder
        try:
            build(load_config(str(_SITE), site_dir=str(built)))
        except MkDocsException as error:
            raise InputError(f"the site was not written: {error}") from None
        shutil.copytree(built, out, dirs_exist_ok=True)
    Console().result(f"site -> {out / 'index.html'}")
