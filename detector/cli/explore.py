"""`detector explore`: a page in the browser that shows a detection stage by stage."""

import re
import webbrowser
from pathlib import Path
from typing import Annotated, Literal

import typer

from detector.cli.console import Console
from detector.errors import InputError
from detector.models.files import model_files
from proposals.extras import needs_extra


def explore(
    host: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS", help="Address to listen on; 0.0.0.0 lets other machines in.", rich_help_panel="Page"
        ),
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(metavar="N", min=0, max=65535, help="Port; 0 takes a free one.", rich_help_panel="Page")
    ] = 7860,
    model: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="Model file (.safetensors).",
            show_default="the installed model",
            rich_help_panel="Model",
        ),
    ] = None,
    device: Annotated[
        str, typer.Option(help="auto (a GPU if there is one), cpu or cuda.", rich_help_panel="Model")
    ] = "auto",
    dataset: Annotated[
        Literal["voc"] | None,
        typer.Option(help="Layout of a data set to choose photos from.", show_default="none", rich_help_panel="Photos"),
    ] = None,
    root: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Folder of the data set, the one that holds JPEGImages.", rich_help_panel="Photos"
        ),
    ] = None,
    split: Annotated[
        str | None, typer.Option(metavar="NAME", help="List of images of the data set.", rich_help_panel="Photos")
    ] = None,
    max_megabytes: Annotated[
        float, typer.Option(metavar="N", min=0.1, max=500, help="Largest upload.", rich_help_panel="Page")
    ] = 25,
    open_page: Annotated[
        bool, typer.Option("--open/--no-open", help="Open the page in the browser.", rich_help_panel="Page")
    ] = True,
) -> None:
    """See how a detection comes about: a page in the browser, on this machine and without a network.

    Drop a photo on it: superpixels, hierarchy, boxes, what the network sees in a region, box regression and
    non-maximum suppression, with the thresholds as sliders. Ctrl-C ends it.

    Example:

        detector explore --dataset voc --root VOCdevkit/VOC2007 --split val500
    """
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
        raise InputError(f"--device {device}: is not known; give auto, cpu or cuda")
    if dataset is None and not root is split is None:
        raise InputError("--root and --split name a data set: give --dataset voc too")
    if dataset is not None and (root is None or split is None):
        raise InputError("--dataset voc needs --root, the folder that holds JPEGImages, and --split, a list of images")
    model_files(model)  # it is there
    try:
        from detector.explorer.server import LOCAL, serve
    except ModuleNotFoundError as error:
        if error.name not in ("fastapi", "uvicorn", "starlette"):
            raise
        raise InputError(needs_extra("the explorer", "explore")) from None
    from detector.data import VOCDataset
    from detector.inference.assembly import load_detector  # imports torch, for which --help need not wait
    from proposals import warm_up

    console = Console()
    images = None if root is None or split is None else VOCDataset(root, split)
    warm_up(console.result)
    detector = load_detector(model, device)

    def ready(address: str) -> None:
        who = "only this machine reaches it" if host in LOCAL else "every machine that reaches this one can use it"
        console.result(f"{address} ({who}); Ctrl-C ends it")
        if open_page:
            webbrowser.open(address)

    try:
        serve(detector, host, port, images, max_megabytes, ready)
    except KeyboardInterrupt:
        return
