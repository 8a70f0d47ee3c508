"""`detector detect`: finds objects in photos and videos."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from detector.cli.console import Console
from detector.cli.options import (
    RESULTS,
    RUN,
    WHAT,
    BatchOption,
    ClassesOption,
    ConfigOption,
    DeviceOption,
    EngineOption,
    MaxDetectionsOption,
    ModelOption,
    ProposalsOption,
    QuietOption,
    ScoreOption,
    option,
    result_file,
    split_names,
)
from detector.errors import InputError
from detector.models.files import classes_of_model
from detector.runner.results import ResultFiles, write_results
from detector.runner.run import DetectionRun, RunOutput
from detector.runner.sources import Source, find_media
from detector.runner.video import Video
from detector.storage.run_store import recorded_precision
from detector.structures.selection import Selection

if TYPE_CHECKING:
    from detector.inference.pipeline import DetectionPipeline


def detect(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE",
            help="Photos, videos, folders, patterns such as 'photos/*.jpg', zips of photos, lists (.txt, one a line), "
            "the number of a camera, or - for standard input.",
        ),
    ],
    recursive: Annotated[bool, option(WHAT, "Search subfolders too.", flag="--recursive")] = False,
    frame_step: Annotated[int, option(WHAT, "Take every N-th frame of a video.", "N", min=1)] = 1,
    score: ScoreOption = None,
    classes: ClassesOption = None,
    max_detections: MaxDetectionsOption = None,
    model: ModelOption = None,
    config: ConfigOption = None,
    proposals: ProposalsOption = None,
    engine: EngineOption = "torch",
    device: DeviceOption = "auto",
    batch: BatchOption = None,
    out: Annotated[
        Path | None,
        option(RESULTS, "Folder for annotated photos and videos.", "DIR", "runs/detect, then runs/detect-2, ..."),
    ] = None,
    draw: Annotated[bool, option(RESULTS, "Write annotated photos and videos.", flag="--draw/--no-draw")] = True,
    json: Annotated[Path | None, result_file("Write the results as a JSON list.")] = None,
    jsonl: Annotated[Path | None, result_file("Write the results as JSON lines while the command runs.")] = None,
    csv: Annotated[Path | None, result_file("Write a table: image,class,score,x1,y1,x2,y2.")] = None,
    coco: Annotated[Path | None, result_file("Write COCO results, and the categories in FILE.categories.json.")] = None,
    yolo: Annotated[
        Path | None, option(RESULTS, "Write YOLO text files, one per image, and a data.yaml.", "DIR", "none")
    ] = None,
    voc: Annotated[Path | None, option(RESULTS, "Write VOC annotations (XML), one per image.", "DIR", "none")] = None,
    crops: Annotated[
        Path | None, option(RESULTS, "Write a crop of each object, in one folder per class.", "DIR", "none")
    ] = None,
    overwrite: Annotated[bool, option(RUN, "Replace existing results.", flag="--overwrite")] = False,
    resume: Annotated[bool, option(RUN, "Continue an interrupted run.", flag="--resume")] = False,
    quiet: QuietOption = False,
) -> None:
    """Find objects in photos and videos, print them, and draw them on copies.

    Boxes are (x1, y1, x2, y2) in pixels of the upright photo. The exit code is 2 if a source failed and 130 after
    Ctrl-C; results so far are kept, and the same command with --resume continues. Ctrl-C also stops a camera.

    Examples:

        detector detect photos/ dog.jpg --score 0.6 --classes person,dog --json found.json
        detector detect clip.mp4 --frame-step 5 --jsonl found.jsonl
    """
    names = None if classes is None else tuple(split_names(classes, "--classes"))
    selection = Selection.parse(score or [], names, max_detections)
    selection.check(classes_of_model(model, config))
    expanded = list(find_media(sources, recursive))
    media = [source for source in expanded if not isinstance(source, InputError)]
    files = ResultFiles(json=json, jsonl=jsonl, csv=csv, coco=coco, yolo=yolo, voc=voc, crops=crops)
    output = RunOutput.choose(out, files, media, draw=draw, overwrite=overwrite, resume=resume)

    console = Console(quiet)
    errors = [source for source in expanded if isinstance(source, InputError)]
    for error in errors:
        console.error(f"error: {error}")
    failed, unwritten = len(errors), 0
    if media:
        from detector.inference.assembly import load_pipeline  # imports torch, for which --help need not wait
        from detector.ops.devices import default_batch
        from proposals import warm_up

        warm_up(console.result)
        batch = default_batch(device) if batch is None else batch
        workers = _workers(media, batch, device)
        precision = recorded_precision(output.store) if output.resumed else None
        detector = load_pipeline(model, device, config, proposals, engine, precision)
        detector = allow_detections(detector, max_detections)
        made_by = {
            "model": str(model),
            "configuration": str(config),
            "proposals": proposals,
            "engine": engine,
            "precision": detector.precision,
            "content of model and configuration": detector.fingerprint,
        }
        run = DetectionRun(
            detector, selection, output, console, frame_step=frame_step, workers=workers, batch=batch, made_by=made_by
        )
        try:
            failed += run(media) - run.unwritten
        except KeyboardInterrupt:
            done = f"{run.done} of {len(media)} sources are done"
            console.error(f"interrupted: {done}, and their results are kept; --resume continues")
            raise typer.Exit(130) from None
        unwritten = run.unwritten
    else:
        for error in write_results(files, lambda: iter(()), {}, {}):
            console.error(f"error: {error}")
    if failed and len(expanded) > 1:
        console.error(f"{failed} of {len(expanded)} sources failed")
    if unwritten:
        count = "1 file" if unwritten == 1 else f"{unwritten} files"
        console.error(f"{count} could not be written; --resume tries again")
    if failed or unwritten:
        raise typer.Exit(2)


def allow_detections(detector: "DetectionPipeline", count: int | None) -> "DetectionPipeline":
    """The detector, which returns up to `count` objects an image even if its configuration has a lower limit."""
    limit = max(count or 0, detector.postprocess.max_detections)
    return detector.replace(postprocess=replace(detector.postprocess, max_detections=limit))


def _workers(media: Sequence[Source | Video], batch: int, device: str) -> int:
    """Threads that read photos and propose.

    Without batches, several photos share the cores. A batch takes all cores of a CPU by itself; a GPU leaves the cores
    free, for the frames of videos too.
    """
    from detector.inference.parallel import share_cores
    from detector.ops.devices import uses_gpu

    several = sum(isinstance(source, Source) for source in media) > 1
    if batch > 1:
        several = uses_gpu(device) and (several or any(isinstance(source, Video) for source in media))
    return share_cores() if several else 1
