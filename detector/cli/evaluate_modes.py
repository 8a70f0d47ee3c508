"""The modes of `detector evaluate`: a model, two files compared, a classifier, and an R-CNN's ablation."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from detector.cli.classify import classifiers
from detector.cli.console import Console
from detector.config import Source
from detector.data.faults import FaultyDataError
from detector.data.formats import Format, ReadDetections, named_classes
from detector.data.reading import DataSet
from detector.data.voc import VOC_CLASSES, VOCDataset
from detector.errors import InputError
from detector.evaluation import Metric, compare
from detector.evaluation.prediction.predict import ImageDetector, run_detector
from detector.evaluation.report.compared import explain_comparison
from detector.io.json import write_json
from detector.runner.writers import check_writable_file
from detector.storage.run_store import parts_of, recorded_precision

INCOMPLETE = "the evaluation is not complete"


def run_model(
    console: Console,
    read: Callable[[Sequence[str]], DataSet],
    load: Callable[[str | None], tuple[ImageDetector, Mapping[str, Any]]],
    save: Path | None,
    batch: int | None,
    device: str,
    *,
    trace: bool,
    model_classes: bool,
) -> tuple[DataSet, ReadDetections] | None:
    """Runs a detector on the data set that `read` returns for class names.

    Args:
        load: returns the detector for a number format (None: any), and what its results depend on.
        save: file for the detections, from which an interrupted run continues.
        trace: also record each object's result at every stage, for the report.
        model_classes: the data set takes its classes from the model if they are not VOC's.

    Returns:
        The data set and the detections; None in all processes of torchrun but the first.
    """
    # Errors in the data are found before a model is loaded, except where the classes may be the model's.
    data: DataSet | None = None
    try:
        data = read(VOC_CLASSES)
        _check_photos(data)
    except FaultyDataError:
        if not model_classes:
            raise
    # These import torch, for which --help and --detections need not wait.
    from detector.ops.devices import default_batch, share_cores, uses_gpu
    from proposals import warm_up

    warm_up(console.result)
    batch = batch or default_batch(device)
    workers = share_cores() if batch > 1 and uses_gpu(device) else 1  # on a CPU, all cores run the network
    recorded = map(recorded_precision, () if save is None else parts_of(save))
    detector, made_by = load(next(filter(None, recorded), None))
    data = read(detector.class_names) if data is None else data
    data = data.known_to(detector.class_names, "the model")
    options: dict[str, Any] = {"trace": trace, "progress": True, "batch": batch, "workers": workers}
    predictions = run_detector(
        detector, data.truth, _check_photos(data), save, keep_parts=True, made_by=made_by, **options
    )
    return None if predictions is None else (data, ReadDetections.of_predictions(predictions, data.truth))


def read_for_files(
    read: Callable[[Sequence[str]], DataSet],
    known: Mapping[Path, Sequence[str]],
    format: Format | None,
    model_classes: bool,
) -> DataSet:
    """The data set to evaluate files of detections on, reduced to the classes that all their detectors know.

    Args:
        read: as for `run_model`.
        known: the classes of each file's detector, empty if the file does not say.
        format: of the files.
        model_classes: the data set takes its classes from the files, or from those beside them, if they are not VOC's.
    """
    try:
        data = read(VOC_CLASSES)
    except FaultyDataError:
        if not model_classes:
            raise
        names = next(filter(None, (known[path] or named_classes(path, format) for path in known)), None)
        if names is None:
            raise
        data = read(names)
    for path, names in known.items():
        if names:
            data = data.known_to(names, str(path))
    return data


def _check_photos(data: DataSet) -> Path:
    if data.folder is None:
        raise InputError("give --root, the folder of the photos, or --detections")
    return data.folder


def compare_files(
    console: Console,
    data: DataSet,
    paths: Sequence[Path],
    files: Sequence[ReadDetections],
    metric: Metric,
    iou_thresholds: Sequence[float] | None,
    json: Path | None,
    report: Path | None,
) -> None:
    """Compares two files of detections; images that failed in one of them are errors."""
    (first, second), names = files, (str(paths[0]), str(paths[1]))
    result = compare(data.truth, first.table, second.table, metric, iou_thresholds, data.blacklist, names=names)
    notes = list(dict.fromkeys((*data.notes, *first.notes(), *second.notes())))
    failed = {name: dict(file.failed) for name, file in zip(names, files, strict=True)}
    of = f"of {len(data.truth.image_ids)} images failed; their objects count as missed"
    errors = [f"{name}: {len(images)} {of}" for name, images in failed.items() if images]
    lines = [result.table(), *notes]
    if report is not None:
        explain_comparison(
            report, data.truth, first.table, second.table, result, data=data.name, notes=notes, photos=data.folder
        )
        lines.append(f"report -> {report}")
    _finish(console, lines, json, {**result.to_dict(), "failed": failed, "notes": notes}, errors)


def evaluate_classifier(
    root: Path,
    models: Sequence[Path],
    test_crops: int,
    labels: Path | None,
    limit: int | None,
    json: Path | None,
    device: str,
) -> None:
    """Top-1 and top-5 accuracy on labeled photos."""
    if json is not None:
        check_writable_file(json, "--json")
    models = classifiers([*models])
    from detector.data.image_folder import labeled_photos
    from detector.evaluation.prediction import classification as evaluation
    from detector.inference.classification import load_classifier

    console = Console()
    classifier = load_classifier(models, test_crops, device, labels)
    photos = labeled_photos(root, classifier.class_names)[:limit]
    with console.interruptible(lambda: INCOMPLETE):
        result = evaluation.evaluate_classifier(classifier, photos, progress=True)
    content = {"dataset": "imagenet", "models": [*map(str, models)], "crops": test_crops, **result.to_dict()}
    errors = [f"{len(result.failed)} of {result.images} photos failed"] if result.failed else []
    _finish(console, [result.table()], json, content, errors)


def ablate(
    root: Path,
    split: str,
    model: Path | None,
    config: Path | None,
    proposals: Source | None,
    limit: int | None,
    json: Path | None,
    device: str,
) -> None:
    """mAP of an R-CNN's softmax and SVMs, each with and without box regression."""
    if json is not None:
        check_writable_file(json, "--json")
    from detector.evaluation.prediction.ablation import ablate_dataset
    from detector.inference.assembly import load_pipeline
    from proposals import warm_up

    console = Console()
    warm_up(console.result)
    detector = load_pipeline(model, device, config, proposals)
    images = VOCDataset(root, split, detector.class_names)
    with console.interruptible(lambda: INCOMPLETE):
        results = ablate_dataset(detector, images.first(limit or len(images)), progress=True)
    lines = [f"{name:24} mAP {100 * result.mean_ap:.1f}" for name, result in results.items()]
    _finish(console, lines, json, {name: {"mAP": r.mean_ap, "metric": r.metric} for name, r in results.items()})


def _finish(
    console: Console, lines: Sequence[str], json: Path | None, content: Any, errors: Sequence[str] = ()
) -> None:
    """Prints and writes a result; errors end the command with exit code 2."""
    for line in lines:
        console.result(line)
    if json is not None:
        write_json(json, content)
    for error in errors:
        console.error(f"error: {error}")
    if errors:
        raise typer.Exit(2)
