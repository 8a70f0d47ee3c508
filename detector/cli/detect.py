"""`detector detect`: finds objects in photos and videos."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from detector.cli.console import Console
from detector.cli.options import BatchOption, EngineOption, ProposalsOption, split_names
from detector.errors import InputError
from detector.models.files import classes_of_model
from detector.runner.results import ResultFiles, write_results
from detector.runner.run import JOURNAL, DetectionRun, RunPlace
from detector.runner.sources import Source, find_media
from detector.runner.video import Video
from detector.storage.run_store import recorded_precision
from detector.structures.selection import Selection

_WHAT = "What to detect"
_RESULTS = "Results"
_RUN = "Run"


def _file(text: str) -> typer.models.OptionInfo:
    return typer.Option(metavar="FILE", help=text, show_default="none", rich_help_panel=_RESULTS)


def _folder(text: str) -> typer.models.OptionInfo:
    return typer.Option(metavar="DIR", help=text, show_default="none", rich_help_panel=_RESULTS)


def detect(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE",
            help="Photos, videos, folders, patterns such as 'photos/*.jpg', zips of photos, lists (.txt, one a line), "
            "the number of a camera, or - for standard input.",
        ),
    ],
    recursive: Annotated[
        bool, typer.Option("--recursive", help="Look into the folders in folders too.", rich_help_panel=_WHAT)
    ] = False,
    frame_step: Annotated[
        int, typer.Option(metavar="N", min=1, help="Of videos, take every N-th frame.", rich_help_panel=_WHAT)
    ] = 1,
    score: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[CLASS=]S",
            help="Lowest score of the objects shown, 0 to 1; again with a class for that: --score 0.5 --score cat=0.7.",
            show_default="0.5",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,...",
            help="Only these classes, for example cat,dog.",
            show_default="all",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    max_detections: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, help="Only the best N objects an image.", show_default="100", rich_help_panel=_WHAT
        ),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="Model file (.safetensors).",
            show_default="the installed model",
            rich_help_panel="Model",
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Detector made of several parts: configs/paper.yaml.",
            show_default="none",
            rich_help_panel="Model",
        ),
    ] = None,
    proposals: ProposalsOption = None,
    engine: EngineOption = "torch",
    device: Annotated[
        str, typer.Option(help="auto (a GPU if there is one), cpu or cuda.", rich_help_panel="Model")
    ] = "auto",
    batch: BatchOption = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder for the annotated pictures and videos.",
            show_default="runs/detect, then runs/detect-2, ...",
            rich_help_panel=_RESULTS,
        ),
    ] = None,
    draw: Annotated[
        bool, typer.Option("--draw/--no-draw", help="Write annotated pictures.", rich_help_panel=_RESULTS)
    ] = True,
    json: Annotated[Path | None, _file("Write the results here as a JSON list.")] = None,
    jsonl: Annotated[Path | None, _file("The same as JSON lines, while it runs.")] = None,
    csv: Annotated[Path | None, _file("As a table: image,class,score,x1,y1,x2,y2.")] = None,
    coco: Annotated[Path | None, _file("As COCO's results, with the categories beside them.")] = None,
    yolo: Annotated[Path | None, _folder("As YOLO's text files, one an image, and a data.yaml.")] = None,
    voc: Annotated[Path | None, _folder("As VOC's annotations (XML), one an image.")] = None,
    crops: Annotated[Path | None, _folder("Cut the objects out, into a folder a class.")] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace results that are there.", rich_help_panel=_RUN)
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an interrupted run.", rich_help_panel=_RUN)
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing but errors.", rich_help_panel=_RUN)] = False,
) -> None:
    """Find objects in photos and videos: prints them, and draws them into copies.

    Boxes are (x1, y1, x2, y2) in pixels of the upright photo. The exit code is 2 if any source failed, 130 after
    Ctrl-C; what was found until then is kept, and the same command with --resume goes on. Ctrl-C is also how a
    camera ends.

    Examples:

        detector detect photos/ dog.jpg --score 0.6 --classes person,dog --json found.json
        detector detect clip.mp4 --frame-step 5 --jsonl found.jsonl
    """
    names = None if classes is None else tuple(split_names(classes, "--classes"))
    selection = Selection.parse(score or [], names, max_detections)
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
        raise InputError(f"--device {device}: is not known; give auto, cpu or cuda")
    selection.check(classes_of_model(model, config))
    found = list(find_media(sources, recursive))
    media = [source for source in found if not isinstance(source, InputError)]
    files = ResultFiles(json=json, jsonl=jsonl, csv=csv, coco=coco, yolo=yolo, voc=voc, crops=crops)
    place = RunPlace.choose(out, files, media, draw=draw, overwrite=overwrite, resume=resume)

    console = Console(quiet)
    failed = unwritten = 0
    for source in found:
        if isinstance(source, InputError):
            console.error(f"error: {source}")
            failed += 1
    if media:
        from detector.inference.assembly import load_detector  # imports torch, for which --help need not wait
        from detector.inference.parallel import share_cores
        from detector.ops.devices import default_batch, uses_gpu
        from proposals import warm_up

        warm_up(console.result)
        batch = default_batch(device) if batch is None else batch
        several = sum(isinstance(one, Source) for one in media) > 1
        if batch > 1:  # on a CPU a batch takes all cores by itself; a GPU has them beside it, for frames too
            several = uses_gpu(device) and (several or any(isinstance(one, Video) for one in media))
        workers = share_cores() if several else 1
        precision = recorded_precision(place.folder / JOURNAL) if place.resumed else None
        detector = load_detector(model, device, config, proposals, engine, precision)
        if max_detections is not None:
            limit = max(max_detections, detector.postprocess.max_detections)
            detector.postprocess = replace(detector.postprocess, max_detections=limit)
        made_by = {
            "model": str(model),
            "configuration": str(config),
            "proposals": proposals,
            "engine": engine,
            "precision": detector.precision,
            "content of model and configuration": detector.fingerprint,
        }
        run = DetectionRun(
            detector,
            selection,
            place,
            console,
            frame_step=frame_step,
            workers=workers,
            batch=batch,
            made_by=made_by,
        )
        try:
            failed += run(media) - run.unwritten
            unwritten = run.unwritten
        except KeyboardInterrupt:
            done = f"{run.done} of {len(media)} sources are done"
            console.error(f"interrupted: {done}, their results kept; --resume goes on")
            raise typer.Exit(130) from None
    else:
        for error in write_results(files, lambda: iter(()), {}, {}):
            console.error(f"error: {error}")
    if failed and len(found) > 1:
        console.error(f"{failed} of {len(found)} sources failed")
    if unwritten:
        files_ = "1 file" if unwritten == 1 else f"{unwritten} files"
        console.error(f"{files_} could not be written; all else was, and --resume tries again")
    if failed or unwritten:
        raise typer.Exit(2)
