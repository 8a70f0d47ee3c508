"""`detector explore`: a page in the browser that shows a detection stage by stage."""

import webbrowser
from contextlib import suppress
from typing import Annotated

from detector.cli.console import Console
from detector.cli.options import DeviceOption, ModelOption, VOCOption, VOCRootOption, VOCSplitOption, option
from detector.errors import InputError
from detector.models.files import model_files
from proposals.extras import needs_extra

_PAGE = "Page"


def explore(
    host: Annotated[str, option(_PAGE, "Address to listen on; 0.0.0.0 admits others.", "ADDRESS")] = "127.0.0.1",
    port: Annotated[int, option(_PAGE, "Port; 0 takes a free one.", "N", min=0, max=65535)] = 7860,
    model: ModelOption = None,
    device: DeviceOption = "auto",
    dataset: VOCOption = None,
    root: VOCRootOption = None,
    split: VOCSplitOption = None,
    max_megabytes: Annotated[float, option(_PAGE, "Largest upload in megabytes.", "N", min=0.1, max=500)] = 25,
    open_page: Annotated[bool, option(_PAGE, "Open the page in the browser.", flag="--open/--no-open")] = True,
) -> None:
    """Show how a detection comes about: a page in the browser, served by this machine without internet access.

    Drop a photo on it to see superpixels, the hierarchy, proposals, what the network computes in a region, box
    regression and non-maximum suppression, with sliders for the thresholds. Ctrl-C stops the server.

    Example:

        detector explore --dataset voc --root VOCdevkit/VOC2007 --split val500
    """
    if dataset is None and not root is split is None:
        raise InputError("--root and --split need a data set: give --dataset voc too")
    if dataset is not None and (root is None or split is None):
        raise InputError("--dataset voc needs --root, the folder that holds JPEGImages, and --split, a list of images")
    model_files(model)  # fails at once if the file is missing
    try:
        from detector.explorer.server import LOCAL, serve
    except ModuleNotFoundError as error:
        if error.name not in ("fastapi", "uvicorn", "starlette"):
            raise
        raise InputError(needs_extra("the explorer", "explore")) from None
    from detector.data import VOCDataset
    from detector.inference.assembly import load_pipeline  # imports torch, for which --help need not wait
    from proposals import warm_up

    console = Console()
    images = None if root is None or split is None else VOCDataset(root, split)
    warm_up(console.result)
    detector = load_pipeline(model, device)

    def ready(address: str) -> None:
        who = "only this machine can reach it" if host in LOCAL else "any machine that reaches this one can use it"
        console.result(f"{address} ({who}); Ctrl-C stops it")
        if open_page:
            webbrowser.open(address)

    with suppress(KeyboardInterrupt):
        serve(detector, host, port, images, max_megabytes, ready)
