"""`detector bulk`: detection over more photos than one process, or one machine, can do."""

from pathlib import Path
from typing import Annotated

import typer

from detector.cli.console import Console
from detector.cli.options import BatchOption, EngineOption, ProposalsOption, split_names
from detector.models.files import classes_of_model
from detector.structures.selection import Selection

_WHAT = "What to detect"
_RUN = "Run"


def bulk(
    sources: Annotated[
        list[str],
        typer.Argument(metavar="SOURCE", help="Folders, with all below them; photos; lists (.txt, a photo a line)."),
    ],
    out: Annotated[
        Path,
        typer.Option(metavar="DIR", help="Folder of the results; a run that is there goes on.", rich_help_panel=_RUN),
    ],
    score: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[CLASS=]S",
            help="Lowest score of the objects kept, 0 to 1; again with a class for that.",
            show_default="0.5",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option(metavar="NAME,...", help="Only these classes.", show_default="all", rich_help_panel=_WHAT),
    ] = None,
    max_detections: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Only the best N objects.", show_default="100", rich_help_panel=_WHAT),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            help="Model file (.safetensors).",
            show_default="the installed model",
            rich_help_panel="Model",
        ),
    ] = None,
    config: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Detector made of parts.", show_default="none", rich_help_panel="Model"),
    ] = None,
    proposals: ProposalsOption = None,
    engine: EngineOption = "torch",
    device: Annotated[
        str, typer.Option(help="auto (GPUs if Ray has any), cpu or cuda.", rich_help_panel="Model")
    ] = "auto",
    batch: BatchOption = None,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Of a Ray cluster, or auto for the one that this machine is of.",
            show_default="this machine alone",
            rich_help_panel=_RUN,
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, help="Networks at work.", show_default="one a GPU, or a core", rich_help_panel=_RUN
        ),
    ] = None,
    shard: Annotated[int, typer.Option(metavar="N", min=1, help="Photos a file.", rich_help_panel=_RUN)] = 1000,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing but errors.", rich_help_panel=_RUN)] = False,
) -> None:
    """Find objects in very many photos, on this machine or a Ray cluster (needs the extra `ray`).

    Writes DIR/shard-00000.jsonl and so on, a line a photo as `detect --jsonl` does; a photo that failed has a line
    with its error, and the exit code is 2. After Ctrl-C, a kill or a lost machine the same command goes on.

    Example:

        detector bulk photos/ --out runs/bulk --score 0.3 --workers 4
    """
    names = None if classes is None else tuple(split_names(classes, "--classes"))
    selection = Selection.parse(score or [], names, max_detections)
    selection.check(classes_of_model(model, config))
    from detector.bulk.network import DetectorSettings  # imports torch, for which --help need not wait
    from detector.bulk.pipeline import detect_many
    from detector.bulk.ray_data import Cluster

    settings = DetectorSettings(
        model=model, device=device, config=config, source=proposals, engine=engine, selection=selection
    )
    console = Console(quiet)
    try:
        outcome = detect_many(
            sources, out, settings, console, Cluster(address=ray, workers=workers), batch=batch, shard=shard
        )
    except KeyboardInterrupt:
        console.error("interrupted: the shards that are there are kept; the same command goes on")
        raise typer.Exit(130) from None
    console.result(f"{outcome.done} of {outcome.images} photos are done, {outcome.failed} of them failed -> {out}")
    if outcome.failed:
        raise typer.Exit(2)
