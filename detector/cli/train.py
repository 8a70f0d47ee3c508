"""`detector train`: trains a model on a user's own photos, or by a recipe."""

import logging
import shlex
import sys
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal

import typer

from detector.cli.console import Console
from detector.cli.options import (
    RUN,
    DeviceOption,
    given_options,
    option,
    refuse,
    split_names,
)
from detector.errors import InputError
from detector.runner.writers import check_writable_file
from proposals.extras import needs_extra

_RECIPE, _CUSTOM = "By a recipe", "On a custom dataset"
_DATA_OPTIONS = {"--layout", "--classes", "--skip-bad-labels", "--epochs", "--minutes"}


def train(
    context: typer.Context,
    recipe: Annotated[
        Path | None,
        typer.Argument(help="Recipe: a file, or a name such as voc07.", show_default="none"),
    ] = None,
    root: Annotated[
        Path | None,
        option(
            _RECIPE,
            "Data set of a recipe: folder that holds JPEGImages; for classification, train and val.",
            None,
            "none",
        ),
    ] = None,
    data: Annotated[
        Path | None,
        option(
            _CUSTOM,
            "Your own photos and labels: a folder, COCO's JSON, YOLO's data.yaml, or a list in VOC's ImageSets/Main.",
            "PATH",
            "none",
        ),
    ] = None,
    layout: Annotated[
        Literal["auto", "voc", "coco", "yolo"], option(_CUSTOM, "Layout of the labels of --data.")
    ] = "auto",
    classes: Annotated[str | None, option(_CUSTOM, "Learn only these classes of --data.", "NAME,...", "all")] = None,
    skip_bad_labels: Annotated[
        bool,
        option(
            _CUSTOM,
            "Skip and count wrong labels of --data, such as boxes without width or height.",
            flag="--skip-bad-labels",
        ),
    ] = False,
    epochs: Annotated[str, option(_CUSTOM, "Passes over the photos of --data.", "N")] = "auto",
    minutes: Annotated[
        float | None,
        option(
            _CUSTOM,
            "Time limit with --data, including proposals and evaluation.",
            None,
            "25, and 3 s for each photo beyond 400",
        ),
    ] = None,
    init: Annotated[
        Path | None,
        option(
            RUN,
            "Weights to start from: a model file (.safetensors), for recipes also the BVLC .npz.",
            None,
            "--data: the installed model",
        ),
    ] = None,
    out: Annotated[Path | None, option(RUN, "Folder for checkpoints, logs and the model.", None, "runs/NAME")] = None,
    cache: Annotated[
        Path | None, option(RUN, "Folder of cached proposals.", None, "runs/proposals; --data: OUT/proposals")
    ] = None,
    device: DeviceOption = "auto",
    workers: Annotated[
        int | None,
        option(
            _RECIPE,
            "Processes that prepare images for a recipe.",
            None,
            "with a GPU one less than the cores, at most 16; else a thread",
            min=0,
        ),
    ] = None,
) -> None:
    """Train a model. Started again with the same --out, an interrupted training continues.

    With --data, it trains on your own photos and classes: all settings are chosen for you, and the model is evaluated
    on photos set aside for validation. The exit code is 2 if photos were left out, although the model is complete.

    Examples:

        detector train --data photos/ --out runs/mine
        detector train voc07 --root VOCdevkit/VOC2007 --init bvlc_googlenet.npz
    """
    from detector.training.convolutions import keep_prepared_convolutions

    keep_prepared_convolutions()
    if data is not None and not data.exists():  # before what takes seconds to import
        raise InputError(f"{data}: no such file or folder; give the folder of photos and labels")
    if any(find_spec(name) is None for name in ("tensorboard", "sklearn")):
        raise InputError(needs_extra("training", "train"))
    if (recipe is None) == (data is None):
        raise InputError("give a recipe with --root, or --data with your own photos")
    if data is not None:
        refuse(given_options(context), {"--root", "--workers"}, "--data")
        names = None if classes is None else split_names(classes, "--classes")
        chosen = None if layout == "auto" else layout
        _train_on_custom_dataset(
            data, chosen, names, skip_bad_labels, _epochs(epochs), minutes, init, out, cache, device
        )
        return
    refuse(given_options(context), _DATA_OPTIONS, "a recipe, which has its own")
    if root is None:
        raise InputError("a recipe needs --root, the folder of its data set")
    assert recipe is not None
    _train_by_recipe(recipe, root, init, out, cache or Path("runs/proposals"), device, workers)


def _epochs(text: str) -> int | None:
    if text == "auto":
        return None
    try:
        return int(text)
    except ValueError:
        raise InputError(f"--epochs {text}: give a whole number, or auto") from None


def _train_on_custom_dataset(
    data: Path,
    layout: Literal["voc", "coco", "yolo"] | None,
    classes: list[str] | None,
    skip_bad_labels: bool,
    epochs: int | None,
    minutes: float | None,
    init: Path | None,
    out: Path | None,
    cache: Path | None,
    device: str,
) -> None:
    from detector.data.faults import FaultyDataError
    from detector.training.custom_dataset import fit

    console = Console()
    if out is None:
        path = data.resolve()
        out = Path("runs") / (path.parent.name if path.name == "data.yaml" else path.stem)
    _check_folders(out, cache or out / "proposals")
    _log_to(out)
    try:
        fitted = fit(
            data,
            out,
            layout=layout,
            classes=classes,
            skip_bad_labels=skip_bad_labels,
            epochs=epochs,
            minutes=minutes,
            init=init,
            cache=cache,
            device=device,
            log=console.result,
        )
    except FaultyDataError as error:
        hint = "" if skip_bad_labels else "\nfix the labels, or skip the wrong ones with --skip-bad-labels"
        raise InputError(f"{error}{hint}") from None
    except KeyboardInterrupt:
        console.error("interrupted: the same command continues")
        raise typer.Exit(130) from None
    console.result(str(fitted))
    program = f"python {sys.argv[0]}" if Path(sys.argv[0]).name == "train.py" else ""
    command = program.replace("train.py", "detect.py") or "detector detect"
    score = "" if fitted.score is None else f" --score {fitted.score:g}"
    photo, model = shlex.quote(str(fitted.photo)), shlex.quote(str(fitted.model))
    console.result(f"try it       {command} {photo} --model {model}{score}")
    if fitted.left_out:
        count = len(fitted.left_out)
        photos = f"{count} photos were" if count > 1 else "1 photo was"
        console.error(f"error: {photos} left out{', first' * (count > 1)}: {fitted.left_out[0]}")
        raise typer.Exit(2)


def _train_by_recipe(
    recipe: Path, root: Path, init: Path | None, out: Path | None, cache: Path, device: str, workers: int | None
) -> None:
    from detector.ops.distributed import process_group, rank
    from detector.storage.run_lock import run_lock
    from detector.training.assembly import make_loop
    from detector.training.recipes import load_recipe

    loaded = load_recipe(recipe)
    out = out or Path("runs") / recipe.stem
    _check_folders(out, cache)
    _log_to(out)
    with process_group(device), run_lock(out) if rank() == 0 else nullcontext():
        loop = make_loop(loaded, root, out, init, cache, device, workers)
        try:
            loop.run()
        except KeyboardInterrupt:
            Console().error(f"interrupted: the same command continues from step {loop.saved_step}")
            raise typer.Exit(130) from None


def _check_folders(out: Path, cache: Path) -> None:
    check_writable_file(out / "train.log", "--out")
    check_writable_file(cache / "proposals.npz", "--cache")


def _log_to(out: Path) -> None:
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(message)s",
        datefmt="%Y-%m-%d %H:%M:%S",
        handlers=[logging.StreamHandler(), logging.FileHandler(out / "train.log")],
        force=True,
    )
