"""`detector evaluate`: a metric on an annotated data set, and an explanation of its value."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import typer

from detector.cli.console import Console
from detector.cli.evaluate_modes import (
    INCOMPLETE,
    ablate,
    compare_files,
    evaluate_classifier,
    read_for_files,
    run_model,
)
from detector.cli.options import (
    DATA,
    MODEL,
    RESULTS,
    AgnosticOption,
    BatchOption,
    ConfigOption,
    DeviceOption,
    EngineOption,
    IouOption,
    LabelsOption,
    LimitOption,
    OverlapOption,
    ProposalsOption,
    ResumeOption,
    SizeOption,
    SkipBadLabelsOption,
    TestCropsOption,
    TileOption,
    given_options,
    option,
    refuse,
    result_file,
    split_names,
)
from detector.data.formats import (
    FORMATS,
    Format,
    ReadDetections,
    check_format,
    read_content,
    read_detections,
    saved_classes,
    write_detections,
)
from detector.data.formats.coco import categories_path, with_numbers
from detector.data.reading import DataSet, Part, read_data_set, read_part
from detector.data.voc import VOC_CLASSES
from detector.errors import InputError
from detector.evaluation import Metric, explain
from detector.evaluation import evaluate as evaluate_detections
from detector.evaluation.prediction.predict import remove_parts
from detector.io.json import write_json
from detector.models.files import DEFAULT_MODEL, model_files
from detector.runner.writers import check_writable_file
from detector.storage.run_store import parts_of
from proposals.names import unknown_name

# The metric of each data set's own benchmark.
_METRICS: dict[str, Metric] = {"voc": "voc07", "coco": "coco", "ilsvrc": "ilsvrc", "yolo": "coco"}
# Options that only some data sets have.
_LAYOUT_OPTIONS = {
    "voc": {"--split", "--annotations", "--ablation"},
    "coco": {"--annotations"},
    "ilsvrc": {"--split", "--annotations", "--class-map", "--blacklist"},
    "yolo": {"--split", "--annotations"},
}
_MODEL_OPTIONS = {"--model", "--config", "--proposals", "--engine", "--batch", "--save-detections", "--resume",
                  "--size", "--iou", "--agnostic-nms", "--tile", "--overlap"}  # fmt: skip
_FILE_OPTIONS = {"--format", "--ignore-unknown-classes", "--keep-empty-boxes"}
_CLASSIFIER_OPTIONS = {"--model", "--test-crops", "--labels"}
_ABLATION_OPTIONS = {"--split", "--model", "--config", "--proposals", "--ablation"}
_COMMON_OPTIONS = {"--root", "--dataset", "--limit", "--json", "--device"}
_FILES, _METRIC = "Detections of files", "Metric"


def evaluate(
    context: typer.Context,
    root: Annotated[
        Path | None, option(DATA, "Folder of the photos; voc: the one that holds JPEGImages.", "DIR", "none")
    ] = None,
    data_path: Annotated[
        Path | None,
        option(
            DATA,
            "What `train --data` takes: a folder of your own photos and labels, or the file that names them.",
            "PATH",
            "none",
            "--data",
        ),
    ] = None,
    split: Annotated[
        str | None,
        option(
            DATA,
            "List of images; voc: ImageSets/Main/NAME.txt; ilsvrc: a file. --data: val, train or all.",
            "NAME",
            "none; --data: val, the photos that a training evaluates on",
        ),
    ] = None,
    seed: Annotated[int, option(DATA, "Of the training with --data, which chose its validation photos.", min=0)] = 0,
    dataset: Annotated[
        Literal["voc", "coco", "ilsvrc", "yolo", "imagenet"],
        option(DATA, "Layout; imagenet is for classifiers: photos named CLASS/photo.jpg or CLASS_photo.jpg."),
    ] = "voc",
    annotations: Annotated[
        Path | None,
        option(
            DATA,
            "coco: the JSON file. yolo: the data.yaml. ilsvrc: the folder of XML files. voc: an archive, or a folder "
            "of XML files.",
            "PATH",
            "none",
        ),
    ] = None,
    class_map: Annotated[
        Path | None, option(DATA, "ilsvrc: names of the synsets, map_det.txt.", "FILE", "none")
    ] = None,
    blacklist: Annotated[Path | None, option(DATA, "ilsvrc: images and classes to exclude.", "FILE", "none")] = None,
    skip_bad_labels: SkipBadLabelsOption = False,
    models: Annotated[
        list[Path] | None,
        option(
            MODEL,
            "Model file, folder of a training, name of an installed model, or id of one on the Hub; imagenet: the "
            "outputs of several are averaged.",
            "PATH",
            "the installed model",
            "--model",
        ),
    ] = None,
    config: ConfigOption = None,
    proposals: ProposalsOption = None,
    size: SizeOption = None,
    iou: IouOption = None,
    agnostic_nms: AgnosticOption = False,
    tile: TileOption = None,
    overlap: OverlapOption = None,
    ablation: Annotated[
        bool,
        option(
            MODEL,
            "mAP of an R-CNN's softmax and of its SVMs, each with and without box regression.",
            flag="--ablation",
        ),
    ] = False,
    test_crops: TestCropsOption = None,
    labels: LabelsOption = None,
    detections: Annotated[
        Path | None,
        option(
            _FILES,
            "Evaluate these detections instead of a model: a file of --save-detections, COCO, ILSVRC or CSV, or a "
            "folder of VOC or YOLO text files.",
            "PATH",
        ),
    ] = None,
    format: Annotated[
        Format | None, option(_FILES, "Format of the detections.", None, "recognized by their content")
    ] = None,
    ignore_unknown_classes: Annotated[
        bool,
        option(
            _FILES,
            "Skip and count detections of classes that the data set lacks.",
            flag="--ignore-unknown-classes",
        ),
    ] = False,
    keep_empty_boxes: Annotated[
        bool,
        option(
            _FILES,
            "Count detections without width or height as false positives, as pycocotools does.",
            flag="--keep-empty-boxes",
        ),
    ] = False,
    compared: Annotated[
        tuple[Path, Path] | None, option(_FILES, "Compare the detections of two files.", "A B", "none", "--compare")
    ] = None,
    metric: Annotated[
        Metric | None,
        option(
            _METRIC,
            "voc07: AP at 11 points. voc10: area under the curve. clsloc: ILSVRC's error of five guesses a photo.",
            None,
            "the data set's",
        ),
    ] = None,
    iou_thresholds: Annotated[
        str | None, option(_METRIC, "IoU thresholds.", "T,...", "0.5; coco: 0.5, 0.55, ... 0.95")
    ] = None,
    classes: Annotated[
        str | None, option(_METRIC, "Evaluate only these classes.", "NAME,...", "all that the model knows")
    ] = None,
    limit: LimitOption = None,
    json: Annotated[Path | None, result_file("Write the result as JSON.")] = None,
    report: Annotated[Path | None, result_file("Write an HTML page that explains the result.")] = None,
    save_detections: Annotated[
        Path | None,
        result_file(
            "Write the detections, for --detections. They are stored while the command runs, so that --resume can "
            "continue it."
        ),
    ] = None,
    export: Annotated[
        tuple[str, Path] | None,
        option(RESULTS, f"Write the detections as {', '.join(FORMATS)}.", "FORMAT PATH", "none"),
    ] = None,
    resume: ResumeOption = False,
    device: DeviceOption = "auto",
    engine: EngineOption = "torch",
    batch: BatchOption = None,
) -> None:
    """Measure a model, or the detections of any detector, on an annotated data set.

    AP, mAP, precision and recall in the --json file are fractions from 0 to 1. The exit code is 2 if an image failed;
    its objects count as missed. Detections are matched to images by id or file name and to classes by name or number;
    the result says how many were skipped.

    With --dataset imagenet, the top-1 and top-5 accuracy of a classification model is measured.

    Examples:

        detector evaluate --root VOCdevkit/VOC2007 --split test --json result.json --report why.html
        detector evaluate --data photos/ --model runs/mine
        detector evaluate --dataset coco --annotations instances.json --detections found.json
        detector evaluate --root VOCdevkit/VOC2007 --split test --compare before.json after.json
    """
    given = given_options(context)
    if dataset == "imagenet":
        refuse(given, set(given) - _COMMON_OPTIONS - _CLASSIFIER_OPTIONS, "--dataset imagenet")
        if root is None:
            raise InputError("--dataset imagenet needs --root, the folder of photos")
        evaluate_classifier(root, models or [], test_crops or 1, labels, limit, json, device)
        return
    every = set().union(*_LAYOUT_OPTIONS.values(), {"--test-crops", "--labels"})
    if data_path is not None:
        refuse(given, {*every, "--dataset", "--root"} - {"--split"}, "--data")
        if split not in (None, *get_args(Part)):
            raise InputError(f"--split {split}: {unknown_name('part', split, get_args(Part))}")
    else:
        refuse(given, {*(every - _LAYOUT_OPTIONS[dataset]), "--seed"}, f"--dataset {dataset}")
        if dataset == "voc" and annotations is not None and annotations.suffix.lower() in (".json", ".yaml", ".yml"):
            other = "coco" if annotations.suffix.lower() == ".json" else "yolo"
            raise InputError(f"--annotations {annotations}: VOC's annotations are XML files; pass --dataset {other}")
    if models and len(models) > 1:
        raise InputError(f"--dataset {dataset} takes one --model; --config averages several, such as ensemble")
    model = models[0] if models else None
    if ablation:
        refuse(given, set(given) - _COMMON_OPTIONS - _ABLATION_OPTIONS, "--ablation")
        if root is None or split is None:
            raise InputError("--ablation needs --root, the folder that holds JPEGImages, and --split, a list of images")
        ablate(root, split, model, config, proposals, limit, json, device)
        return
    if detections is not None:
        refuse(given, _MODEL_OPTIONS, "--detections, which runs no model")
    if compared is not None:
        refuse(given, _MODEL_OPTIONS, "--compare, which runs no model")
        refuse(given, {"--detections", "--export"}, "--compare")
    if detections is None and compared is None:
        refuse(given, _FILE_OPTIONS, "a model, only with --detections")
    outputs = {"--json": json, "--save-detections": save_detections, "--report": report}
    if export is not None:
        check_format(export[0])
        outputs["--export"] = export[1]
        if export[0] == "coco":
            outputs["--export coco"] = categories_path(export[1])
    if resume and save_detections is None:
        raise InputError("--resume continues a run with --save-detections FILE; give that file")
    if save_detections is not None and not resume and (parts := parts_of(save_detections)):
        raise InputError(f"{parts[0]}: of an unfinished run; --resume continues it, or give another --save-detections")
    _check_outputs(
        outputs, [data_path, annotations, class_map, blacklist, detections, config, *(compared or ()), *(models or ())]
    )
    console = Console()
    chosen = None if classes is None else split_names(classes, "--classes")
    thresholds = None if iou_thresholds is None else list(map(_number, split_names(iou_thresholds, "--iou-thresholds")))
    source: dict[str, Any] = {"root": root, "annotations": annotations, "split": split, "classes": chosen,
                              "class_map": class_map, "blacklist": blacklist,
                              "skip_bad_labels": skip_bad_labels}  # fmt: skip

    files = compared or (() if detections is None else (detections,))
    contents = {path: None if path.is_dir() else read_content(path) for path in files}  # a pipe can be read only once
    # A native file lists the classes of its detector.
    known = {
        path: saved_classes(content) if content is not None and format in (None, "native") else ()
        for path, content in contents.items()
    }

    def read_file(path: Path, data: DataSet) -> ReadDetections:
        rules = {
            "ignore_unknown_classes": ignore_unknown_classes or chosen is not None or bool(known[path]),
            "keep_empty_boxes": keep_empty_boxes,
        }
        return read_detections(path, data.truth, format, contents[path], **rules)

    def read(class_names: Sequence[str] = VOC_CLASSES) -> DataSet:
        if data_path is not None:
            part: Part = split or "val"  # type: ignore[assignment]
            data = read_part(data_path, part, classes=chosen, skip_bad_labels=skip_bad_labels, seed=seed)
        else:
            data = read_data_set(dataset, class_names=class_names, **source)
        return data if limit is None else data.first(limit)

    if not files:
        model_files(model, config)  # fails at once if a file is missing
        model = model or (DEFAULT_MODEL if config is None else None)

    def load(precision: str | None) -> tuple[Any, dict[str, Any]]:
        from detector.inference.assembly import load_pipeline  # imports torch, for which --help need not wait
        from detector.inference.tiling import with_tiles

        pipeline = load_pipeline(model, device, config, proposals, engine, precision)
        pipeline = pipeline.with_settings(iou=iou, agnostic_nms=agnostic_nms or None, size=size)
        made_by = {
            "model": str(model or config),
            "precision": pipeline.precision,
            "tile and overlap": [tile, overlap],
            "content of model and configuration": pipeline.fingerprint,
        }
        return with_tiles(pipeline, tile, overlap), made_by

    chosen_metric = metric or _METRICS[dataset]
    model_classes = dataset == "voc" and chosen is None and data_path is None
    kept = INCOMPLETE if save_detections is None else f"{INCOMPLETE}; --resume continues"
    with console.interruptible(lambda: kept):
        if files:
            data = read_for_files(read, known, format, model_classes)
            results = [read_file(path, data) for path in files]
            if compared is not None:
                compare_files(console, data, compared, results, chosen_metric, thresholds, json, report)
                return
            (detected,) = results
        else:
            batch = 1 if batch is None and tile is not None else batch
            trace = report is not None and tile is None  # tiles have no proposals in common
            options = {"trace": trace, "model_classes": model_classes}
            ran = run_model(console, read, load, save_detections, batch, device, **options)
            if ran is None:  # the first of torchrun's processes prints the result
                return
            data, detected = ran
        evaluation = evaluate_detections(
            data.truth,
            detected.table,
            chosen_metric,
            thresholds,
            data.blacklist,
            data=data.name,
            seconds_per_image=detected.seconds_per_image,
            failed=detected.failed,
            notes=[*data.notes, *detected.notes()],
        )
        console.result(evaluation.table())
        paths = {"model": model, "config": config, "detections": detections, "annotations": annotations,
                 "data": data_path}  # fmt: skip
        names = {key: None if path is None else str(path) for key, path in paths.items()}
        if export is not None:
            # Only COCO's own annotations say how COCO's results name their images.
            coco = export[0] == "coco" and dataset != "coco"
            truth, table = with_numbers(data.truth, detected.table) if coco else (data.truth, detected.table)
            write_detections(export[1], table, truth, export[0])
            console.result(f"detections as {export[0]} -> {export[1]}")
        if json is not None:
            layout = None if data_path else dataset
            write_json(json, {"dataset": layout, **names, "proposals": proposals, **evaluation.to_dict()})
        if report is not None:
            given_files = {key: path for key, path in names.items() if path is not None}
            explain(
                report,
                data.truth,
                detected.table,
                evaluation,
                title=Path(next(iter(given_files.values()))).stem,
                files=given_files,
                traces=detected.traces,
                photos=data.folder,
            )
            console.result(f"report -> {report}")
        if save_detections is not None:
            remove_parts(save_detections)  # last: until all is written, --resume continues from them
    if evaluation.failed:
        image_id, error = next(iter(evaluation.failed.items()))
        count = f"{len(evaluation.failed)} of {evaluation.images}"
        console.error(f"error: {count} images failed, first {image_id}: {error}")
        raise typer.Exit(2)


def _check_outputs(outputs: dict[str, Path | None], inputs: Iterable[Path | None]) -> None:
    """Refuses an output that cannot be written, or that is also an input or another output."""
    taken = {path.resolve(): "is an input" for path in inputs if path is not None}
    for option_name, path in outputs.items():
        if path is None:
            continue
        if path.resolve() in taken:
            raise InputError(f"{option_name} {path}: {taken[path.resolve()]}; give another file")
        if option_name != "--export" or not path.is_dir():  # some formats are folders
            check_writable_file(path, option_name)
        taken[path.resolve()] = f"is the file of {option_name} too"


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"--iou-thresholds: '{text}' is not a number") from None
