"""`detector evaluate`: a metric on an annotated data set, and why it is what it is."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import typer

from detector.cli import evaluate_options as options
from detector.cli.console import Console
from detector.cli.evaluate_modes import ablate, compare_files, evaluate_classifier, read_for_files, run_model
from detector.cli.options import BatchOption, EngineOption, ProposalsOption, split_names
from detector.data.formats import (
    ReadDetections,
    check_format,
    read_detections,
    saved_classes,
    write_detections,
)
from detector.data.formats.coco import with_numbers
from detector.data.reading import DataSet, read_data_set
from detector.data.voc import VOC_CLASSES
from detector.errors import InputError
from detector.evaluation import Metric, explain
from detector.evaluation import evaluate as evaluate_detections
from detector.evaluation.prediction.predict import remove_parts
from detector.io.json import write_json
from detector.runner.writers import check_writable_file

# The metric of each data set's own benchmark.
_METRICS: dict[str, Metric] = {"voc": "voc07", "coco": "coco", "ilsvrc": "ilsvrc", "yolo": "coco"}
# Options that mean something for some data sets only.
_USES = {
    "voc": {"--split", "--annotations", "--ablation"},
    "coco": {"--annotations"},
    "ilsvrc": {"--split", "--annotations", "--class-map", "--blacklist"},
    "yolo": {"--split", "--annotations"},
}
_OF_A_MODEL = {"--model", "--config", "--proposals", "--engine", "--batch", "--save-detections"}
_OF_SOME_LAYOUTS = set().union(*_USES.values(), {"--crops", "--labels"})


def evaluate(
    root: options.RootOption = None,
    split: options.SplitOption = None,
    dataset: options.DatasetOption = "voc",
    annotations: options.AnnotationsOption = None,
    class_map: options.ClassMapOption = None,
    blacklist: options.BlacklistOption = None,
    skip_bad_labels: options.SkipBadLabelsOption = False,
    models: options.ModelsOption = None,
    config: options.ConfigOption = None,
    proposals: ProposalsOption = None,
    ablation: options.AblationOption = False,
    crops: options.CropsOption = None,
    labels: options.LabelsOption = None,
    detections: options.DetectionsOption = None,
    format: options.FormatOption = None,
    ignore_unknown_classes: options.IgnoreUnknownClassesOption = False,
    keep_empty_boxes: options.KeepEmptyBoxesOption = False,
    compared: options.ComparedOption = None,
    metric: options.MetricOption = None,
    iou: options.IouOption = None,
    classes: options.ClassesOption = None,
    limit: options.LimitOption = None,
    json: options.JsonOption = None,
    report: options.ReportOption = None,
    save_detections: options.SaveDetectionsOption = None,
    export: options.ExportOption = None,
    device: options.DeviceOption = "auto",
    engine: EngineOption = "torch",
    batch: BatchOption = None,
) -> None:
    """Measure a model, or the detections of any detector, on an annotated data set.

    In the file of --json, AP, mAP, precision and recall are fractions from 0 to 1. The exit code is 2 if any
    image failed; its objects count as not found. Detections are matched to images by id or file, to classes by name or
    number; what is left out is counted and told.

    With --dataset imagenet a model for classification is measured: top-1 and top-5 hits.

    Examples:

        detector evaluate --root VOCdevkit/VOC2007 --split test --json result.json --report why.html
        detector evaluate --dataset coco --annotations instances.json --detections found.json
        detector evaluate --root VOCdevkit/VOC2007 --split test --compare before.json after.json
    """
    given: dict[str, object] = {
        "--split": split, "--annotations": annotations, "--class-map": class_map, "--blacklist": blacklist,
        "--skip-bad-labels": skip_bad_labels or None, "--config": config, "--proposals": proposals,
        "--model": models or None, "--engine": None if engine == "torch" else engine, "--batch": batch,
        "--ablation": ablation or None, "--detections": detections, "--format": format,
        "--ignore-unknown-classes": ignore_unknown_classes or None,
        "--keep-empty-boxes": keep_empty_boxes or None, "--compare": compared, "--metric": metric,
        "--iou": iou, "--classes": classes, "--report": report, "--save-detections": save_detections,
        "--export": export, "--crops": crops, "--labels": labels,
    }  # fmt: skip
    if dataset == "imagenet":
        _refuse(given, set(given) - {"--model", "--crops", "--labels"}, "--dataset imagenet")
        if root is None:
            raise InputError("--dataset imagenet needs --root, the folder of photos")
        evaluate_classifier(root, models or [], crops or 1, labels, limit, json, device)
        return
    _refuse(given, _OF_SOME_LAYOUTS - _USES[dataset], f"--dataset {dataset}")
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
            _refuse(given, _OF_A_MODEL, f"{mode}, which runs no model")
    if detections is None and compared is None:
        _refuse(given, {"--format", "--ignore-unknown-classes", "--keep-empty-boxes"}, "a model, but with --detections")
    outputs = {"--json": json, "--save-detections": save_detections, "--report": report}
    if export is not None:
        check_format(export[0])
        outputs["--export"] = export[1]
    _check_outputs(outputs, [annotations, class_map, blacklist, detections, config, *(compared or ()), *(models or ())])
    console = Console()
    chosen = None if classes is None else split_names(classes, "--classes")
    thresholds = None if iou is None else [_number(text) for text in split_names(iou, "--iou")]
    source = {"root": root, "annotations": annotations, "split": split, "classes": chosen, "class_map": class_map,
              "blacklist": blacklist, "skip_bad_labels": skip_bad_labels}  # fmt: skip

    files = compared or (() if detections is None else (detections,))
    says = {path: saved_classes(path) if format in (None, "native") else () for path in files}

    def found_in(path: Path, data: DataSet) -> ReadDetections:
        loose = ignore_unknown_classes or chosen is not None or bool(says[path])
        return read_detections(
            path, data.truth, format, ignore_unknown_classes=loose, keep_empty_boxes=keep_empty_boxes
        )

    def read(class_names: Sequence[str] = VOC_CLASSES) -> DataSet:
        data = read_data_set(dataset, class_names=class_names, **source)  # type: ignore[arg-type]
        return data if limit is None else data.first(limit)

    chosen_metric, own = metric or _METRICS[dataset], dataset == "voc" and chosen is None
    try:
        if compared is not None:
            _refuse(given, {"--detections", "--report", "--export"}, "--compare")
            data = read_for_files(read, says, own)
            both = [found_in(file, data) for file in compared]
            compare_files(console, data, compared, both, chosen_metric, thresholds, json)
            return
        if detections is not None:
            data = read_for_files(read, says, own)
            found = found_in(detections, data)
        else:
            traced = report is not None
            ran = run_model(
                console, read, model, config, proposals, engine, device, batch, save_detections, traced, own
            )
            if ran is None:  # another of torchrun's processes tells the result
                return
            data, found, model = ran
        evaluation = evaluate_detections(
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
        paths = {"model": model, "config": config, "detections": detections, "annotations": annotations}
        named = {name: None if path is None else str(path) for name, path in paths.items()}
        if export is not None:
            # Only COCO's own annotations say how COCO's results name their images.
            coco = export[0] == "coco" and dataset != "coco"
            truth, table = with_numbers(data.truth, found.table) if coco else (data.truth, found.table)
            write_detections(export[1], table, truth, export[0])
            console.result(f"detections, as {export[0]} -> {export[1]}")
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
        if save_detections is not None:
            remove_parts(save_detections)  # not before all is written: until then the same command goes on from them
    except KeyboardInterrupt:
        kept = "; the same command goes on" if save_detections is not None else ""
        console.error(f"interrupted: the evaluation is not complete{kept}")
        raise typer.Exit(130) from None
    if evaluation.failed:
        image_id, error = next(iter(evaluation.failed.items()))
        count = f"{len(evaluation.failed)} of {evaluation.images}"
        console.error(f"error: {count} images failed, first {image_id}: {error}")
        raise typer.Exit(2)


def _check_outputs(outputs: dict[str, Path | None], inputs: Iterable[Path | None]) -> None:
    """Refuses a file that cannot be written, and one that is read or written for something else too."""
    taken = {path.resolve(): "is what is read" for path in inputs if path is not None}
    for option, path in outputs.items():
        if path is None:
            continue
        if path.resolve() in taken:
            raise InputError(f"{option} {path}: {taken[path.resolve()]}; give another file")
        if option != "--export" or not path.is_dir():  # some formats are folders
            check_writable_file(path, option)
        taken[path.resolve()] = f"is the file of {option} too"


def _refuse(given: dict[str, object], names: Iterable[str], mode: str) -> None:
    for name in given:
        if name in names and given[name] is not None:
            raise InputError(f"{name} means nothing with {mode}; leave it out")


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"--iou: '{text}' is no number") from None
