"""`detector evaluate`: a metric on an annotated data set, and why it is what it is."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from detector.cli.console import Console
from detector.cli.evaluate_modes import ablate, compare_files, evaluate_classifier, run_model
from detector.cli.options import ProposalsOption, split_names
from detector.data.reading import DataSet, read_data_set
from detector.data.voc import VOC_CLASSES, VOCDataset
from detector.errors import InputError
from detector.evaluation import Metric, explain
from detector.evaluation import evaluate as judge
from detector.evaluation.formats import read_detections
from detector.output import check_writable_file, write_json

# The metric of each data set's own benchmark.
_METRICS: dict[str, Metric] = {"voc": "voc07", "coco": "coco", "ilsvrc": "ilsvrc", "yolo": "coco"}


def evaluate(
    root: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder of the photos; voc: that with JPEGImages.", show_default="none"),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="List of images; voc: ImageSets/Main/NAME.txt; ilsvrc: a file.", show_default="none"
        ),
    ] = None,
    dataset: Annotated[
        Literal["voc", "coco", "ilsvrc", "yolo", "imagenet"],
        typer.Option(help="Layout; imagenet is for classifiers: photos named CLASS/photo.jpg or CLASS_photo.jpg."),
    ] = "voc",
    annotations: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="coco: the JSON file. yolo: the data.yaml. ilsvrc: the folder of XML files. voc: an archive, or a "
            "folder of XML files.",
            show_default="none",
        ),
    ] = None,
    class_map: Annotated[
        Path | None, typer.Option(metavar="FILE", help="ilsvrc: the synsets' names, map_det.txt.", show_default="none")
    ] = None,
    blacklist: Annotated[
        Path | None, typer.Option(metavar="FILE", help="ilsvrc: images and classes not to judge.", show_default="none")
    ] = None,
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
            metavar="PATH",
            help="Judge these detections and run no model: a file of ours, of COCO, ILSVRC, CSV, or a folder of VOC's "
            "or YOLO's text files.",
        ),
    ] = None,
    compared: Annotated[
        tuple[Path, Path] | None,
        typer.Option("--compare", metavar="A B", help="Compare the detections of two files.", show_default="none"),
    ] = None,
    metric: Annotated[
        Metric | None, typer.Option(help="voc07: 11 points. voc10: area.", show_default="the data set's")
    ] = None,
    iou: Annotated[
        str | None,
        typer.Option(metavar="T,...", help="IoU thresholds.", show_default="0.5; coco: 0.5, 0.55, ... 0.95"),
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option(metavar="NAME,...", help="Judge only these classes.", show_default="all that the model knows"),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Take only the first N images.", show_default="all")
    ] = None,
    json: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the result to this file.", show_default="none")
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write an HTML page that shows why it is so.", show_default="none"),
    ] = None,
    save_detections: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write the detections, for --detections. They are kept as they come: the same command goes on after "
            "a stop.",
            show_default="none",
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="auto (a GPU if there is one), cpu or cuda.")] = "auto",
) -> None:
    """Measure a model, or the detections of any detector, on an annotated data set.

    In the file of --json, AP, mAP, precision and recall are fractions from 0 to 1. The exit code is 2 if any
    image failed; its objects count as not found.

    With --dataset imagenet a model for classification is measured: top-1 and top-5 hits.

    \b
    Examples:
      detector evaluate --root VOCdevkit/VOC2007 --split test --json result.json --report why.html
      detector evaluate --dataset coco --annotations instances.json --detections found.json
      detector evaluate --root VOCdevkit/VOC2007 --split test --compare before.json after.json
    """
    given: dict[str, object] = {
        "--split": split, "--annotations": annotations, "--class-map": class_map, "--blacklist": blacklist,
        "--config": config, "--proposals": proposals, "--model": models or None, "--ablation": ablation or None,
        "--detections": detections, "--compare": compared, "--metric": metric, "--iou": iou, "--classes": classes,
        "--report": report, "--save-detections": save_detections, "--crops": crops, "--labels": labels,
    }  # fmt: skip
    if dataset == "imagenet":
        _refuse(given, set(given) - {"--model", "--crops", "--labels"}, "--dataset imagenet")
        if root is None:
            raise InputError("--dataset imagenet needs --root, the folder of photos")
        evaluate_classifier(root, models or [], crops or 1, labels, limit, json, device)
        return
    _refuse(given, {"--crops", "--labels"}, f"--dataset {dataset}")
    if models and len(models) > 1:
        raise InputError(f"--model is one for --dataset {dataset}; --config averages several: configs/ensemble.yaml")
    model = models[0] if models else None
    if ablation:
        _refuse(given, set(given) - {"--split", "--model", "--config", "--proposals", "--ablation"}, "--ablation")
        if root is None or split is None:
            raise InputError("--ablation needs --root, the folder that holds JPEGImages, and --split, a list of images")
        ablate(root, split, model, config, proposals, limit, json, device)
        return
    for mode in ("--detections", "--compare"):
        if given[mode] is not None:
            _refuse(given, {"--model", "--config", "--proposals", "--save-detections"}, f"{mode}, which runs no model")
    for option, path in (("--json", json), ("--save-detections", save_detections), ("--report", report)):
        if path is not None:
            check_writable_file(path, option)
    console = Console()
    chosen = None if classes is None else split_names(classes, "--classes")
    thresholds = None if iou is None else [_number(text) for text in split_names(iou, "--iou")]
    source = {"root": root, "annotations": annotations, "split": split, "classes": chosen, "class_map": class_map,
              "blacklist": blacklist}  # fmt: skip

    def read(class_names: Sequence[str] = VOC_CLASSES) -> DataSet:
        data = read_data_set(dataset, class_names=class_names, **source)  # type: ignore[arg-type]
        return data if limit is None else data.first(limit)

    chosen_metric = metric or _METRICS[dataset]
    try:
        if compared is not None:
            _refuse(given, {"--detections", "--report"}, "--compare")
            compare_files(console, read(), compared, chosen_metric, thresholds, chosen is not None, json)
            return
        if detections is not None:
            data = read()
            found = read_detections(detections, data.truth, ignore_unknown_classes=chosen is not None)
        else:
            if dataset == "voc" and root is not None and split is not None:
                VOCDataset(root, split)  # a wrong folder shows before a model is loaded
            ran = run_model(console, read, model, config, proposals, device, save_detections, report is not None)
            if ran is None:  # another of torchrun's processes tells the result
                return
            data, found, model = ran
        evaluation = judge(
            data.truth,
            found.table,
            chosen_metric,
            thresholds,
            data.blacklist,
            data=data.name,
            seconds_per_image=found.seconds_per_image,
            failed=found.failed,
            notes=[*data.notes, *found.notes()],
        )
        console.result(evaluation.table())
        files = {"model": model, "config": config, "detections": detections, "annotations": annotations}
        named = {name: None if path is None else str(path) for name, path in files.items()}
        if json is not None:
            write_json(json, {"dataset": dataset, **named, "proposals": proposals, **evaluation.to_dict()})
        if report is not None:
            known = {name: path for name, path in named.items() if path is not None}
            explain(
                report,
                data.truth,
                found.table,
                evaluation,
                title=Path(next(iter(known.values()))).stem,
                files=known,
                traces=found.traces,
                photos=data.folder,
            )
            console.result(f"why-report -> {report}")
    except KeyboardInterrupt:
        kept = "; the same command goes on" if save_detections is not None else ""
        console.error(f"interrupted: the evaluation is not complete{kept}")
        raise typer.Exit(130) from None
    if evaluation.failed:
        image_id, error = next(iter(evaluation.failed.items()))
        count = f"{len(evaluation.failed)} of {evaluation.images}"
        console.error(f"error: {count} images failed, first {image_id}: {error}")
        raise typer.Exit(2)


def _refuse(given: dict[str, object], names: Iterable[str], mode: str) -> None:
    for name in given:
        if name in names and given[name] is not None:
            raise InputError(f"{name} means nothing with {mode}; leave it out")


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"--iou: '{text}' is no number") from None
