"""`detector bulk`: detection in more photos than one process, or one machine, can handle."""

from pathlib import Path
from typing import Annotated

import typer

from detector.cli.console import Console
from detector.cli.options import (
    RUN,
    BatchOption,
    ClassesOption,
    ConfigOption,
    DeviceOption,
    EngineOption,
    MaxDetectionsOption,
    ModelOption,
    ProposalsOption,
    QuietOption,
    ResumeOption,
    ScoreOption,
    option,
    split_names,
)
from detector.errors import InputError
from detector.models.files import classes_of_model
from detector.structures.selection import Selection


def bulk(
    sources: Annotated[
        list[str],
        typer.Argument(metavar="SOURCE", help="Folders with their subfolders, photos, or lists (.txt, one a line)."),
    ],
    out: Annotated[Path, option(RUN, "Folder of the results.", "DIR")],
    score: ScoreOption = None,
    classes: ClassesOption = None,
    max_detections: MaxDetectionsOption = None,
    model: ModelOption = None,
    config: ConfigOption = None,
    proposals: ProposalsOption = None,
    engine: EngineOption = "torch",
    device: DeviceOption = "auto",
    batch: BatchOption = None,
    ray: Annotated[
        str | None,
        option(RUN, "Ray cluster, or auto for the one this machine belongs to.", "ADDRESS", "this machine alone"),
    ] = None,
    workers: Annotated[
        int | None, option(RUN, "Processes that run the network.", "N", "one per GPU, or per core", min=1)
    ] = None,
    shard: Annotated[int, option(RUN, "Photos per file of results.", "N", min=1)] = 1000,
    resume: ResumeOption = False,
    quiet: QuietOption = False,
) -> None:
    """Find objects in very many photos, on this machine or a Ray cluster (needs the extra `ray`).

    Writes DIR/shard-00000.jsonl and so on, one line per photo as `detect --jsonl` does. A photo that fails gets a line
    with its error, and the exit code is 2. After Ctrl-C, a kill or a lost machine, the same command with --resume
    continues.

    Example:

        detector bulk photos/ --out runs/bulk --score 0.3 --workers 4
    """
    names = None if classes is None else tuple(split_names(classes, "--classes"))
    class_names, synonyms = classes_of_model(model, config)
    selection = Selection.parse(score or [], names, max_detections).named(synonyms)
    selection.check(class_names)
    from detector.bulk.network import DetectorSettings  # imports torch, for which --help need not wait
    from detector.bulk.pipeline import detect_many
    from detector.bulk.shards import LIST

    if not resume and (out / LIST).exists():
        raise InputError(f"--out {out}: holds a run; --resume continues it, or give another --out")
    settings = DetectorSettings(
        model=model, device=device, config=config, source=proposals, engine=engine, selection=selection
    )
    console = Console(quiet)
    with console.interruptible(lambda: "finished shards are kept; --resume continues"):
        outcome = detect_many(sources, out, settings, console, address=ray, workers=workers, batch=batch, shard=shard)
    console.result(f"{outcome.done} of {outcome.images} photos are done, {outcome.failed} of them failed -> {out}")
    if outcome.failed:
        raise typer.Exit(2)
