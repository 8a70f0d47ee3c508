"""`detector train`: trains a model on a user's own photos, or by a recipe."""

import logging
import shlex
import sys
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from detector.cli.console import Console
from detector.cli.options import (
    RUN,
    SKIP_HINT,
    DeviceOption,
    ResumeOption,
    given_options,
    option,
    refuse,
    split_names,
)
from detector.errors import InputError
from detector.runner.writers import check_writable_file
from proposals.extras import needs_extra

_RECIPE, _CUSTOM = "By a recipe", "On a custom dataset"
_DATA_OPTIONS = {
    "--layout", "--classes", "--skip-bad-labels", "--epochs", "--minutes", "--lr", "--batch", "--seed", "--freeze",
    "--augment", "--size", "--keep", "--unlabeled", "--labels",
}  # fmt: skip


def train(
    context: typer.Context,
    recipe: Annotated[
        Path | None,
        typer.Argument(help="Recipe: a file, or a name such as voc07/1_rfcn.", show_default="none"),
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
    epochs: Annotated[
        int | None, option(_CUSTOM, "Passes over the photos of --data.", "N", "by the number of photos", min=1)
    ] = None,
    minutes: Annotated[
        float | None,
        option(
            _CUSTOM,
            "Time limit with --data, including proposals and evaluation.",
            None,
            "25, and 3 s for each photo beyond 400",
        ),
    ] = None,
    lr: Annotated[
        float | None, option(_CUSTOM, "Highest learning rate.", None, "0.00012, times the square root of --batch")
    ] = None,
    batch: Annotated[int, option(_CUSTOM, "Photos in a step.", "N", min=1)] = 1,
    seed: Annotated[
        int, option(_CUSTOM, "Of the split into training and validation photos, their order, augmentation.", min=0)
    ] = 0,
    freeze: Annotated[
        str | None,
        option(
            _CUSTOM,
            "Part of the backbone up to which layers keep their weights, such as inception_4e, or backbone for all.",
            "NAME",
            "those before the inception modules",
        ),
    ] = None,
    augment: Annotated[
        Literal["none", "light", "strong"],
        option(_CUSTOM, "light: flips, color jitter, scale. strong: also crops, mosaic, mixup."),
    ] = "light",
    size: Annotated[
        int | None, option(_CUSTOM, "Short side of the network's input in pixels.", None, "the model's", min=32)
    ] = None,
    keep: Annotated[
        bool,
        option(_CUSTOM, "Find the starting model's classes too, beside those of --data.", flag="--keep"),
    ] = False,
    labels: Annotated[
        Literal["boxes", "image"],
        option(
            _CUSTOM,
            "What the photos are labeled with. image: which classes they show, by folders, a CSV file with the columns "
            "image and class, or labels of boxes.",
        ),
    ] = "boxes",
    unlabeled: Annotated[
        Path | None,
        option(
            _CUSTOM,
            "Photos without labels to train on too: the model labels those that it is sure of. May be the folder of "
            "--data.",
            "FOLDER",
            "none",
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
    resume: ResumeOption = False,
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
    """Train a model. After an interruption, the same command with --resume continues.

    With --data, it trains on your own photos and classes: what you leave out is chosen for you, and the model is
    evaluated on photos set aside for validation. The exit code is 2 if photos were left out, although the model is
    complete.

    Examples:

        detector train --data photos/ --out runs/mine
        detector train voc07/1_rfcn --root VOCdevkit/VOC2007 --init bvlc_googlenet.npz
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
        settings = {
            "epochs": epochs, "minutes": minutes, "lr": lr, "batch": batch, "seed": seed, "freeze": freeze,
            "augment": augment, "size": size, "keep": keep,
            "unlabeled": None if unlabeled is None else str(unlabeled), "labels": labels,
            "resume": resume, "init": init, "cache": cache, "device": device,
        }  # fmt: skip
        _train_on_custom_dataset(data, chosen, names, skip_bad_labels, out, settings)
        return
    refuse(given_options(context), _DATA_OPTIONS, "a recipe, which has its own")
    if root is None:
        raise InputError("a recipe needs --root, the folder of its data set")
    assert recipe is not None
    _train_by_recipe(recipe, root, init, out, cache or Path("runs/proposals"), resume, device, workers)


def _train_on_custom_dataset(
    data: Path,
    layout: Literal["voc", "coco", "yolo"] | None,
    classes: list[str] | None,
    skip_bad_labels: bool,
    out: Path | None,
    settings: dict[str, Any],
) -> None:
    from detector.data.faults import FaultyDataError
    from detector.training.custom_dataset import fit

    console = Console()
    if out is None:
        path = data.resolve()
        out = Path("runs") / (path.parent.name if path.name == "data.yaml" else path.stem)
    _check_folders(out, settings["cache"] or out / "proposals")
    _log_to(out)
    chosen = {"layout": layout, "classes": classes, "skip_bad_labels": skip_bad_labels, **settings}
    try:
        with console.interruptible(lambda: "--resume continues"):
            fitted = fit(data, out, log=console.result, **chosen)
    except FaultyDataError as error:
        raise InputError(f"{error}{'' if skip_bad_labels else SKIP_HINT}") from None
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
    recipe: Path,
    root: Path,
    init: Path | None,
    out: Path | None,
    cache: Path,
    resume: bool,
    device: str,
    workers: int | None,
) -> None:
    from detector.ops.distributed import process_group, rank
    from detector.storage.run_lock import run_lock
    from detector.training.assembly import make_loop
    from detector.training.checkpoint import refuse_unfinished
    from detector.training.recipes import load_recipe

    loaded = load_recipe(recipe)
    out = out or Path("runs") / recipe.stem
    if not resume:
        refuse_unfinished(out)
    _check_folders(out, cache)
    _log_to(out)
    with process_group(device), run_lock(out) if rank() == 0 else nullcontext():
        loop = make_loop(loaded, root, out, init, cache, device, workers)
        with Console().interruptible(lambda: f"--resume continues from step {loop.saved_step}"):
            loop.run()


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
