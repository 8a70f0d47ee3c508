"""`detector detect`: finds objects in photos and videos."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from detector.cli.console import Console
from detector.cli.options import (
    RESULTS,
    RUN,
    WHAT,
    AgnosticOption,
    BatchOption,
    ClassesOption,
    ConfigOption,
    DeviceOption,
    EngineOption,
    IouOption,
    MaxDetectionsOption,
    ModelOption,
    OverlapOption,
    ProposalsOption,
    QuietOption,
    ScoreOption,
    SizeOption,
    TileOption,
    option,
    result_file,
    split_names,
)
from detector.errors import InputError
from detector.models.files import classes_of_model
from detector.runner.results import ResultFiles, write_results
from detector.runner.run import DetectionRun, RunOutput
from detector.runner.sources import STANDARD_INPUT, Source, find_media, list_names
from detector.runner.tracking import Line, import_trackers
from detector.runner.video import Video
from detector.runner.writers import check_result_file
from detector.storage.run_store import recorded_precision
from detector.structures.selection import Selection


def detect(
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SOURCE",
            help="Photos, videos, folders, patterns such as 'photos/*.jpg', zips of photos, lists (.txt, one a line), "
            "addresses (https, rtsp), the number of a camera, or - for a photo on standard input.",
        ),
    ] = None,
    from_file: Annotated[
        str | None, option(WHAT, "Take sources from a list too, one a line; - for standard input.", "FILE", "none")
    ] = None,
    recursive: Annotated[bool, option(WHAT, "Search subfolders too.", flag="--recursive")] = False,
    frame_step: Annotated[int, option(WHAT, "Take every N-th frame of a video.", "N", min=1)] = 1,
    track: Annotated[bool, option(WHAT, "Follow the objects of a video and count them.", flag="--track")] = False,
    line: Annotated[
        str | None,
        option(
            WHAT,
            "Count tracks whose centers cross this line of the frame, in to its left side (seen from X1,Y1) and out.",
            "X1,Y1,X2,Y2",
            "none",
        ),
    ] = None,
    score: ScoreOption = None,
    classes: ClassesOption = None,
    max_detections: MaxDetectionsOption = None,
    model: ModelOption = None,
    config: ConfigOption = None,
    proposals: ProposalsOption = None,
    size: SizeOption = None,
    iou: IouOption = None,
    agnostic_nms: AgnosticOption = False,
    tile: TileOption = None,
    overlap: OverlapOption = None,
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
    ilsvrc: Annotated[
        Path | None, result_file("Write a submission to ILSVRC: image_index class_id score xmin ymin xmax ymax.")
    ] = None,
    crops: Annotated[
        Path | None, option(RESULTS, "Write a crop of each object, in one folder per class.", "DIR", "none")
    ] = None,
    explain: Annotated[
        Path | None, result_file("Write an HTML page on how the detections of a photo come about (takes one photo).")
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
        detector detect street.mp4 --track --line 0,240,640,240
        detector detect aerial.jpg --tile 640
    """
    names = None if classes is None else tuple(split_names(classes, "--classes"))
    class_names, synonyms = classes_of_model(model, config)
    selection = Selection.parse(score or [], names, max_detections).named(synonyms)
    selection.check(class_names)
    if not sources and from_file is None:
        raise InputError("give a photo, a folder or another source, or a list of them with --from-file")
    listed = [] if from_file is None else list_names(from_file)
    expanded = list(find_media([*(sources or []), *listed], recursive))
    media = [source for source in expanded if not isinstance(source, InputError)]
    files = ResultFiles(json=json, jsonl=jsonl, csv=csv, coco=coco, yolo=yolo, voc=voc, ilsvrc=ilsvrc, crops=crops)
    crossed = None if line is None else _line(line, track)
    if track and not any(isinstance(source, Video) for source in media):
        raise InputError("--track follows objects through videos, but no source is one")
    if track:
        import_trackers()  # fails at once if they are missing
    if explain is not None:
        check_result_file(explain, "--explain")
        if explain.exists() and not overwrite:
            raise InputError(f"--explain {explain}: already exists; --overwrite replaces it")
        if len(media) != 1 or not isinstance(media[0], Source) or media[0].name == STANDARD_INPUT:
            raise InputError("--explain shows one photo of a file; name that photo alone")
    output = RunOutput.choose(out, files, media, draw=draw, overwrite=overwrite, resume=resume)

    console = Console(quiet)
    errors = [source for source in expanded if isinstance(source, InputError)]
    for error in errors:
        console.error(f"error: {error}")
    failed, unwritten = len(errors), 0
    if media:
        from detector.inference.assembly import load_pipeline  # imports torch, for which --help need not wait
        from detector.inference.tiling import with_tiles
        from detector.ops.devices import default_batch
        from proposals import warm_up

        warm_up(console.result)
        if batch is None:
            batch = 1 if tile is not None else default_batch(device)
        elif batch > 1 and tile is not None:
            raise InputError("--batch has no meaning with --tile, which sees one tile after the other; leave it out")
        workers = _workers(media, batch, device)
        precision = recorded_precision(output.store) if output.resumed else None
        pipeline = load_pipeline(model, device, config, proposals, engine, precision)
        pipeline = pipeline.with_settings(
            iou=iou, agnostic_nms=agnostic_nms or None, max_detections=max_detections, size=size
        )
        made_by = {
            "model": str(model),
            "configuration": str(config),
            "proposals": proposals,
            "engine": engine,
            "precision": pipeline.precision,
            "tile and overlap": [tile, overlap],
            "content of model and configuration": pipeline.fingerprint,
        }
        run = DetectionRun(
            with_tiles(pipeline, tile, overlap),
            selection,
            output,
            console,
            frame_step=frame_step,
            workers=workers,
            batch=batch,
            track=track,
            line=crossed,
            made_by=made_by,
        )
        try:
            failed += run(media) - run.unwritten
        except KeyboardInterrupt:
            done = f"{run.done} of {len(media)} sources are done"
            console.error(f"interrupted: {done}, and their results are kept; --resume continues")
            raise typer.Exit(130) from None
        unwritten = run.unwritten
        if explain is not None and not failed:
            from detector.explorer import write_explanation

            assert isinstance(media[0], Source)
            write_explanation(pipeline, media[0].read(), explain, selection.score)
    else:
        for error in write_results(files, lambda: iter(()), {}, {}):
            console.error(f"error: {error}")
    written = [*output.written(), *([explain] if explain is not None and not failed else [])]
    if written:
        console.result(f"written: {', '.join(map(str, written))}")
    if failed and len(expanded) > 1:
        console.error(f"{failed} of {len(expanded)} sources failed")
    if unwritten:
        count = "1 file" if unwritten == 1 else f"{unwritten} files"
        console.error(f"{count} could not be written; --resume tries again")
    if failed or unwritten:
        raise typer.Exit(2)


def _line(text: str, track: bool) -> Line:
    """The ends of "x1,y1,x2,y2"; raises `InputError`."""
    if not track:
        raise InputError("--line counts tracks; give --track too")
    try:
        x1, y1, x2, y2 = map(float, text.split(","))
    except ValueError:
        raise InputError(f"--line {text}: give its ends in pixels of the frame, such as 0,240,640,240") from None
    return x1, y1, x2, y2


def _workers(media: Sequence[Source | Video], batch: int, device: str) -> int:
    """Threads that read photos and propose.

    Without batches, several photos share the cores. A batch takes all cores of a CPU by itself; a GPU leaves the cores
    free, for the frames of videos too.
    """
    from detector.ops.devices import share_cores, uses_gpu

    several = sum(isinstance(source, Source) for source in media) > 1
    if batch > 1:
        several = uses_gpu(device) and (several or any(isinstance(source, Video) for source in media))
    return share_cores() if several else 1
