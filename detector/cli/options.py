"""What several commands read from their options in the same way."""

from typing import Annotated

import typer

from detector.config import Source
from detector.errors import InputError

ProposalsOption = Annotated[
    Source | None,
    typer.Option(
        help="Where regions come from: Selective Search, the model's MultiBox, or both.",
        show_default="the model's",
        rich_help_panel="Model",
    ),
]

EngineOption = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="What runs the network: torch, onnx, or a file that `detector export` wrote.",
        rich_help_panel="Model",
    ),
]

BatchOption = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=1,
        help="How many photos the network sees at once.",
        show_default="1; on a GPU 8",
        rich_help_panel="Model",
    ),
]


def split_names(text: str, option: str) -> list[str]:
    """The names in "a, b,c". Raises `InputError` that names the option if there is none."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise InputError(f"{option} names no class; give names with commas between them")
    return names
