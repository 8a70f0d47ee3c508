"""The options of `detector evaluate`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from detector.data.formats import FORMATS, Format
from detector.evaluation import Metric

RootOption = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Folder of the photos; voc: that with JPEGImages.",
        show_default="none",
        rich_help_panel="Data",
    ),
]
SplitOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="List of images; voc: ImageSets/Main/NAME.txt; ilsvrc: a file.",
        show_default="none",
        rich_help_panel="Data",
    ),
]
DatasetOption = Annotated[
    Literal["voc", "coco", "ilsvrc", "yolo", "imagenet"],
    typer.Option(
        help="Layout; imagenet is for classifiers: photos named CLASS/photo.jpg or CLASS_photo.jpg.",
        rich_help_panel="Data",
    ),
]
AnnotationsOption = Annotated[
    Path | None,
    typer.Option(
        metavar="PATH",
        help="coco: the JSON file. yolo: the data.yaml. ilsvrc: the folder of XML files. voc: an archive, or a "
        "folder of XML files.",
        show_default="none",
        rich_help_panel="Data",
    ),
]
ClassMapOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="ilsvrc: the synsets' names, map_det.txt.", show_default="none", rich_help_panel="Data"
    ),
]
BlacklistOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="ilsvrc: images and classes not to judge.", show_default="none", rich_help_panel="Data"
    ),
]
ModelsOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--model",
        metavar="PATH",
        help="Model file, or an installed model's name; imagenet: several are averaged.",
        show_default="the model that is installed",
        rich_help_panel="Model",
    ),
]
ConfigOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Detector made of several parts: configs/paper.yaml.",
        show_default="none",
        rich_help_panel="Model",
    ),
]
AblationOption = Annotated[
    bool,
    typer.Option(
        "--ablation",
        help="Of an R-CNN: mAP of softmax and SVM, each with and without box regression.",
        rich_help_panel="Model",
    ),
]
CropsOption = Annotated[
    int | None,
    typer.Option(
        metavar="N", help="imagenet: crops an image, 1, 10 or 144.", show_default="1", rich_help_panel="Model"
    ),
]
LabelsOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="imagenet: class names, one a line.",
        show_default="synset_words.txt beside PATH",
        rich_help_panel="Model",
    ),
]
DetectionsOption = Annotated[
    Path | None,
    typer.Option(
        metavar="PATH",
        help="Judge these detections and run no model: a file of ours, of COCO, ILSVRC, CSV, or a folder of VOC's "
        "or YOLO's text files.",
        rich_help_panel="Detections of files",
    ),
]
ComparedOption = Annotated[
    tuple[Path, Path] | None,
    typer.Option(
        "--compare",
        metavar="A B",
        help="Compare the detections of two files.",
        show_default="none",
        rich_help_panel="Detections of files",
    ),
]
MetricOption = Annotated[
    Metric | None,
    typer.Option(help="voc07: 11 points. voc10: area.", show_default="the data set's", rich_help_panel="Judgment"),
]
IouOption = Annotated[
    str | None,
    typer.Option(
        metavar="T,...",
        help="IoU thresholds.",
        show_default="0.5; coco: 0.5, 0.55, ... 0.95",
        rich_help_panel="Judgment",
    ),
]
ClassesOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME,...",
        help="Judge only these classes.",
        show_default="all that the model knows",
        rich_help_panel="Judgment",
    ),
]
LimitOption = Annotated[
    int | None,
    typer.Option(metavar="N", min=1, help="Take only the first N images.", show_default="all", rich_help_panel="Data"),
]
JsonOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Write the result to this file.", show_default="none", rich_help_panel="Results"),
]
ReportOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Write an HTML page that shows why it is so.",
        show_default="none",
        rich_help_panel="Results",
    ),
]
SaveDetectionsOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Write the detections, for --detections. They are kept as they come: the same command goes on after "
        "a stop.",
        show_default="none",
        rich_help_panel="Results",
    ),
]
DeviceOption = Annotated[str, typer.Option(help="auto (a GPU if there is one), cpu or cuda.", rich_help_panel="Model")]
FormatOption = Annotated[
    Format | None,
    typer.Option(
        help="Format of the detections.",
        show_default="found out from their content",
        rich_help_panel="Detections of files",
    ),
]
IgnoreUnknownClassesOption = Annotated[
    bool,
    typer.Option(
        "--ignore-unknown-classes",
        help="Leave out and count detections of classes that the data lacks.",
        rich_help_panel="Detections of files",
    ),
]
KeepEmptyBoxesOption = Annotated[
    bool,
    typer.Option(
        "--keep-empty-boxes",
        help="Count detections without width or height as false positives, as pycocotools does.",
        rich_help_panel="Detections of files",
    ),
]
SkipBadLabelsOption = Annotated[
    bool,
    typer.Option(
        "--skip-bad-labels",
        help="Leave out and count wrong labels, such as boxes without width or height.",
        rich_help_panel="Data",
    ),
]
ExportOption = Annotated[
    tuple[str, Path] | None,
    typer.Option(
        metavar="FORMAT PATH",
        help=f"Write the detections as {', '.join(FORMATS)}.",
        show_default="none",
        rich_help_panel="Results",
    ),
]
