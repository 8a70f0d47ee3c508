"""`detector evaluate`: average precision on an annotated data set."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from detector.cli.console import Console
from detector.cli.options import split_names
from detector.data.voc import VOC_CLASSES, VOCDataset
from detector.errors import InputError
from detector.evaluation import Metric, predict, read_predictions, write_predictions
from detector.evaluation import evaluate as judge
from detector.output import check_writable_file, write_json


def evaluate(
    root: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder of the data set, the one that holds JPEGImages.")
    ],
    split: Annotated[str, typer.Option(metavar="NAME", help="List of images, ImageSets/Main/NAME.txt.")],
    dataset: Annotated[Literal["voc"], typer.Option(help="Layout of the data set.")] = "voc",
    model: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH", help="Model file (.safetensors).", show_default="the model that is installed"
        ),
    ] = None,
    detections: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Judge the detections in this file, written by `detect --json` at a low --score, "
            "and run no model.",
        ),
    ] = None,
    metric: Annotated[Metric, typer.Option(help="voc07: 11 points. voc10: area.")] = "voc07",
    classes: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,...",
            help="Judge only these classes.",
            show_default="those of the model; with --detections VOC's 20",
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Take only the first N images.", show_default="all")
    ] = None,
    json: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the result to this file.", show_default="none")
    ] = None,
    save_detections: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the detections, for --detections.", show_default="none"),
    ] = None,
    device: Annotated[str, typer.Option(help="auto (a GPU if there is one), cpu or cuda.")] = "auto",
) -> None:
    """Measure a model on an annotated data set: average precision by class, mAP, seconds an image.

    In the file of --json, AP, mAP, precision and recall are fractions from 0 to 1. The exit code is 2 if any
    image failed; its objects count as not found.

    Example: detector evaluate --root VOCdevkit/VOC2007 --split test --json result.json
    """
    if detections is not None and (model is not None or save_detections is not None):
        raise InputError("--detections runs no model; leave out --model and --save-detections")
    for option, path in (("--json", json), ("--save-detections", save_detections)):
        if path is not None:
            check_writable_file(path, option)
    console = Console()
    try:
        chosen = None if classes is None else split_names(classes, "--classes")
        images = VOCDataset(root, split, chosen or VOC_CLASSES, ignore_other_classes=chosen is not None)
        if detections is not None:
            # Read for the whole split: an entry beyond the limit is no mistake.
            predictions = read_predictions(detections, images)[:limit]
            images = images.first(limit or len(images))
        else:
            # They import torch, for which --help and --detections need not wait.
            from detector.pipeline import load_detector
            from detector.weights import DEFAULT_MODEL
            from proposals import warm_up

            warm_up(console.result)
            model = model or DEFAULT_MODEL
            detector = load_detector(model, device)
            if chosen is None:
                images = VOCDataset(root, split, detector.class_names)
            images = images.first(limit or len(images))
            predictions = predict(detector, images, progress=True)
        evaluation = judge(predictions, images, metric=metric)
        console.result(evaluation.table())
        if save_detections is not None:
            write_predictions(save_detections, predictions, images)
        if json is not None:
            source = {"dataset": dataset, "model": _text(model), "detections": _text(detections)}
            write_json(json, {**source, **evaluation.to_dict()})
    except KeyboardInterrupt:
        console.error("interrupted: the evaluation is not complete")
        raise typer.Exit(130) from None
    if evaluation.failed:
        image_id, error = next(iter(evaluation.failed.items()))
        count = f"{len(evaluation.failed)} of {evaluation.images}"
        console.error(f"error: {count} images failed, first {image_id}: {error}")
        raise typer.Exit(2)


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
