"""`detector data`: photos and labels counted, joined, split and written in another layout."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from detector.cli.console import Console
from detector.cli.options import DATA, RESULTS, SKIP_HINT, SkipBadLabelsOption, option, split_names
from detector.data.custom_dataset import read_custom_dataset
from detector.data.faults import FaultyDataError
from detector.data.summary import summarize
from detector.data.writing import merge, split, write_dataset
from detector.errors import InputError


def data(
    sources: Annotated[
        list[Path],
        typer.Argument(
            metavar="DATA",
            help="Photos and labels: a folder, COCO's JSON, YOLO's data.yaml, or a list in VOC's ImageSets/Main.",
        ),
    ],
    layout: Annotated[Literal["auto", "voc", "coco", "yolo"], option(DATA, "Layout of the labels.")] = "auto",
    classes: Annotated[str | None, option(DATA, "Keep only objects of these classes.", "NAME,...", "all")] = None,
    skip_bad_labels: SkipBadLabelsOption = False,
    val: Annotated[
        float | None,
        option(DATA, "Share of the photos of each class for validation.", "S", "the data's own split", min=0, max=1),
    ] = None,
    seed: Annotated[int, option(DATA, "Of the choice of --val.", min=0)] = 0,
    out: Annotated[
        Path | None, option(RESULTS, "New folder for the photos and labels, in the layout --to.", "DIR", "none")
    ] = None,
    to: Annotated[Literal["voc", "coco", "yolo"], option(RESULTS, "Layout of --out.")] = "coco",
) -> None:
    """Count the photos and objects of data sets of your own; join, split and convert them.

    Several DATA are joined; classes that mean the same, such as aeroplane and airplane, become one. With --out, the
    photos are copied, and `train --data` and `evaluate --data` take the folder. The exit code is 2 if photos were left
    out.

    Examples:

        detector data photos/
        detector data labelme/ roboflow/data.yaml --val 0.2 --seed 1 --out joined --to yolo
    """
    names = None if classes is None else split_names(classes, "--classes")
    chosen = None if layout == "auto" else layout
    console = Console()
    try:
        sets = [read_custom_dataset(source, chosen, skip_bad_labels=skip_bad_labels) for source in sources]
    except FaultyDataError as error:
        raise InputError(f"{error}{'' if skip_bad_labels else SKIP_HINT}") from None
    joined = merge(sets)
    joined = joined if names is None else joined.of_classes(names)
    joined = joined if val is None else split(joined, val, seed)
    console.result(summarize(joined))
    if joined.val:
        console.result(f"validation   {len(joined.val)} of the {len(joined.samples)} photos")
    if out is not None:
        for note in write_dataset(out, joined, to):
            console.result(f"note         {note}")
        console.result(f"written      {out}, in the layout of {to}")
    if joined.faults:
        raise typer.Exit(2)
