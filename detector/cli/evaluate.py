"""`detector evaluate`: average precision on an annotated data set."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from detector.cli.classify import NO_CLASSIFIER
from detector.cli.console import Console
from detector.cli.options import ProposalsOption, split_names
from detector.config import Source
from detector.data.voc import VOC_CLASSES, VOCDataset
from detector.errors import InputError
from detector.evaluation import Metric, predict, read_predictions, write_predictions
from detector.evaluation import evaluate as judge
from detector.output import check_writable_file, write_json


def evaluate(
    root: Annotated[
        Path,
        typer.Option(metavar="DIR", help="Folder of the data set: the one that holds JPEGImages; imagenet: of photos."),
    ],
    split: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="voc: list of images, ImageSets/Main/NAME.txt.", show_default="none"),
    ] = None,
    dataset: Annotated[
        Literal["voc", "imagenet"],
        typer.Option(help="Layout: voc, or imagenet for photos named CLASS/photo.jpg or CLASS_photo.jpg."),
    ] = "voc",
    models: Annotated[
        list[Path] | None,
        typer.Option(
            "--model",
            metavar="PATH",
            help="Model file, or an installed model's name; imagenet: several are averaged.",
            show_default="the model that is installed",
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Detector made of several parts: configs/paper.yaml.", show_default="none"),
    ] = None,
    proposals: ProposalsOption = None,
    ablation: Annotated[
        bool,
        typer.Option("--ablation", help="Of an R-CNN: mAP of softmax and SVM, each with and without box regression."),
    ] = False,
    crops: Annotated[
        int | None, typer.Option(metavar="N", help="imagenet: crops an image, 1, 10 or 144.", show_default="1")
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="imagenet: class names, one a line.", show_default="synset_words.txt beside PATH"
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
    metric: Annotated[
        Metric | None, typer.Option(help="voc07: 11 points. voc10: area.", show_default="voc07")
    ] = None,
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

    With --dataset imagenet a model for classification is measured: top-1 and top-5 hits.

    Example: detector evaluate --root VOCdevkit/VOC2007 --split test --json result.json
    """
    given: dict[str, object] = {
        "--split": split, "--config": config, "--ablation": ablation or None, "--detections": detections,
        "--classes": classes, "--save-detections": save_detections, "--metric": metric, "--proposals": proposals,
    }  # fmt: skip
    if dataset == "imagenet":
        _refuse(given, tuple(given), "--dataset imagenet")
        _evaluate_classifier(root, models or [], crops or 1, labels, limit, json, device)
        return
    _refuse({"--crops": crops, "--labels": labels}, ("--crops", "--labels"), "--dataset voc")
    if split is None:
        raise InputError("--split: give the name of a list of images, such as test")
    if models and len(models) > 1:
        raise InputError("--model is one for --dataset voc; --config averages several, see configs/ensemble.yaml")
    model = models[0] if models else None
    if ablation:
        _refuse(given, ("--detections", "--classes", "--save-detections", "--metric"), "--ablation")
        _ablate(root, split, model, config, proposals, limit, json, device)
        return
    if detections is not None and not model is config is save_detections is proposals is None:
        raise InputError("--detections runs no model; leave out --model, --config, --proposals and --save-detections")
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
            model = model or (DEFAULT_MODEL if config is None else None)
            detector = load_detector(model, device, config, proposals)
            if chosen is None:
                images = VOCDataset(root, split, detector.class_names)
            images = images.first(limit or len(images))
            predictions = predict(detector, images, progress=True)
        evaluation = judge(predictions, images, metric=metric or "voc07")
        console.result(evaluation.table())
        if save_detections is not None:
            write_predictions(save_detections, predictions, images)
        if json is not None:
            files = {"model": model, "config": config, "detections": detections}
            source = {name: None if path is None else str(path) for name, path in files.items()}
            write_json(json, {"dataset": dataset, **source, "proposals": proposals, **evaluation.to_dict()})
    except KeyboardInterrupt:
        console.error("interrupted: the evaluation is not complete")
        raise typer.Exit(130) from None
    if evaluation.failed:
        image_id, error = next(iter(evaluation.failed.items()))
        count = f"{len(evaluation.failed)} of {evaluation.images}"
        console.error(f"error: {count} images failed, first {image_id}: {error}")
        raise typer.Exit(2)


def _refuse(given: dict[str, object], names: Sequence[str], mode: str) -> None:
    for name in names:
        if given[name] is not None:
            raise InputError(f"{name} means nothing with {mode}; leave it out")


def _evaluate_classifier(
    root: Path,
    models: Sequence[Path],
    crops: int,
    labels: Path | None,
    limit: int | None,
    json: Path | None,
    device: str,
) -> None:
    if json is not None:
        check_writable_file(json, "--json")
    if not models:
        raise InputError(f"--dataset imagenet: {NO_CLASSIFIER}")
    from detector.classification.evaluation import evaluate_classifier
    from detector.classification.pipeline import load_classifier
    from detector.data.image_folder import labelled_photos

    console = Console()
    classifier = load_classifier(models, crops, device, labels)
    photos = labelled_photos(root, classifier.class_names)[:limit]
    try:
        result = evaluate_classifier(classifier, photos, progress=True)
    except KeyboardInterrupt:
        console.error("interrupted: the evaluation is not complete")
        raise typer.Exit(130) from None
    console.result(result.table())
    if json is not None:
        write_json(json, {"dataset": "imagenet", "models": [*map(str, models)], "crops": crops, **result.to_dict()})
    if result.failed:
        console.error(f"error: {len(result.failed)} of {result.images} photos failed")
        raise typer.Exit(2)


def _ablate(
    root: Path,
    split: str,
    model: Path | None,
    config: Path | None,
    proposals: Source | None,
    limit: int | None,
    json: Path | None,
    device: str,
) -> None:
    if json is not None:
        check_writable_file(json, "--json")
    from detector.evaluation.ablation import ablate_dataset
    from detector.pipeline import load_detector
    from proposals import warm_up

    console = Console()
    warm_up(console.result)
    detector = load_detector(model, device, config, proposals)
    images = VOCDataset(root, split, detector.class_names)
    try:
        results = ablate_dataset(detector, images.first(limit or len(images)), progress=True)
    except KeyboardInterrupt:
        console.error("interrupted: the evaluation is not complete")
        raise typer.Exit(130) from None
    for name, result in results.items():
        console.result(f"{name:24} mAP {100 * result.mean_ap:.1f}")
    if json is not None:
        write_json(json, {name: {"mAP": r.mean_ap, "metric": r.metric} for name, r in results.items()})
