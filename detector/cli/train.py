"""`detector train`: trains a model by a recipe."""

import logging
from pathlib import Path
from typing import Annotated

import typer

from detector.cli.console import Console
from detector.errors import InputError
from detector.output import check_writable_file


def train(
    recipe: Annotated[Path, typer.Argument(help="Recipe, for example configs/voc07.yaml.")],
    root: Annotated[
        Path,
        typer.Option(
            help="Data set: folder that holds JPEGImages; classification: train and val.",
            rich_help_panel="Data and weights",
        ),
    ],
    init: Annotated[
        Path | None,
        typer.Option(
            help="Weights to start from: the BVLC .npz, or a model file (.safetensors).",
            rich_help_panel="Data and weights",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for checkpoints, logs and the model.", show_default="runs/RECIPE", rich_help_panel="Run"
        ),
    ] = None,
    cache: Annotated[Path, typer.Option(help="Folder of cached proposals.", rich_help_panel="Data and weights")] = Path(
        "runs/proposals"
    ),
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.", rich_help_panel="Run")] = "auto",
) -> None:
    """Trains a model; started again with the same --out, it goes on where it stopped.

    Example:

        detector train configs/voc07.yaml --root VOCdevkit/VOC2007 --init bvlc_googlenet.npz
    """
    from detector.training.convolutions import keep_prepared_convolutions
    from detector.training.recipes import load_recipe

    keep_prepared_convolutions()
    try:
        from detector.training.distributed import process_group
        from detector.training.start import make_loop
    except ModuleNotFoundError as error:
        if error.name not in ("tensorboard", "sklearn"):
            raise
        raise InputError(f"training needs {error.name}: pip install tensorboard scikit-learn") from None

    loaded = load_recipe(recipe)
    out = out or Path("runs") / recipe.stem
    check_writable_file(out / "train.log", "--out")
    check_writable_file(cache / "proposals.npz", "--cache")
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(message)s",
        datefmt="%Y-%m-%d %H:%M:%S",
        handlers=[logging.StreamHandler(), logging.FileHandler(out / "train.log")],
        force=True,
    )
    with process_group(device):
        loop = make_loop(loaded, root, out, init, cache, device)
        try:
            loop.run()
        except KeyboardInterrupt:
            Console().error(f"interrupted: the same command goes on from step {loop.saved_step}")
            raise typer.Exit(130) from None
