"""Options that several commands share, and the short form in which the commands declare the others."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from detector.config import Source
from detector.errors import InputError

# The panels of --help in which options of several commands are listed.
DATA, MODEL, RESULTS, RUN, WHAT = "Data", "Model", "Results", "Run", "What to detect"


def option(
    panel: str, help: str, metavar: str | None = None, default: str | None = None, flag: str = "", **settings: Any
) -> Any:
    """An option in a panel of --help.

    Args:
        default: what --help shows where the default is None.
        flag: the option's name, where it is not the argument's or has no negative form.
        settings: for `typer.Option`.
    """
    shown = True if default is None else default
    names = (flag,) if flag else ()
    return typer.Option(*names, metavar=metavar, help=help, show_default=shown, rich_help_panel=panel, **settings)


def result_file(help: str) -> Any:
    return option(RESULTS, help, "FILE", "none")


def _check_device(device: str) -> str:
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", device):
        raise InputError(f"--device {device}: unknown; give auto, cpu, cuda or mps")
    return device


ModelOption = Annotated[
    Path | None,
    option(
        MODEL,
        "Model file (.safetensors), folder of a training, name (ilsvrc200) or id on the Hub.",
        "PATH",
        "the installed model",
    ),
]
ConfigOption = Annotated[
    Path | None,
    option(MODEL, "Assembled detector: a file, or best, ensemble or paper.", "NAME", "none"),
]
DeviceOption = Annotated[
    str, option(MODEL, "auto (a CUDA GPU if there is one), cpu, cuda or mps (Apple).", callback=_check_device)
]
ProposalsOption = Annotated[
    Source | None,
    option(MODEL, "Source of proposals: Selective Search, the model's MultiBox, or both.", None, "the model's"),
]
EngineOption = Annotated[
    str, option(MODEL, "What runs the network: torch, onnx, or a file from `detector export`.", "NAME")
]
BatchOption = Annotated[int | None, option(MODEL, "Photos in a batch of the network.", "N", "1; on a GPU 8", min=1)]
TestCropsOption = Annotated[
    int | None, option(MODEL, "Crops per photo that a classifier averages: 1, 10 or 144 as in the paper.", "N", "1")
]
LabelsOption = Annotated[
    Path | None,
    option(MODEL, "Class names of a classifier, one a line.", "FILE", "synset_words.txt beside the weights"),
]
SkipBadLabelsOption = Annotated[
    bool,
    option(DATA, "Skip and count wrong labels, such as boxes without width or height.", flag="--skip-bad-labels"),
]
VOCOption = Annotated[Literal["voc"] | None, option(DATA, "Layout of a data set.", None, "none")]
VOCRootOption = Annotated[Path | None, option(DATA, "Folder of the data set that holds JPEGImages.", "DIR")]
VOCSplitOption = Annotated[str | None, option(DATA, "List of images of the data set.", "NAME")]
ScoreOption = Annotated[
    list[str] | None,
    option(
        WHAT,
        "Lowest score of an object, 0 to 1. Repeat it for single classes: --score 0.5 --score cat=0.7.",
        "[CLASS=]S",
        "0.5",
    ),
]
ClassesOption = Annotated[str | None, option(WHAT, "Detect only these classes: cat,dog.", "NAME,...", "all")]
MaxDetectionsOption = Annotated[int | None, option(WHAT, "Keep the best N objects per image.", "N", "100", min=1)]
SKIP_HINT = "\nfix the labels, or skip the wrong ones with --skip-bad-labels"
ResumeOption = Annotated[bool, option(RUN, "Continue an interrupted run.", flag="--resume")]
SizeOption = Annotated[
    int | None,
    option(MODEL, "Short side of the network's input in pixels: larger finds smaller objects, slower.", "N",
           "the model's", min=32, max=2048),
]  # fmt: skip
IouOption = Annotated[
    float | None,
    option(MODEL, "NMS suppresses a box that overlaps a better one by more than this IoU.", "T", "the model's", min=0,
           max=1),
]  # fmt: skip
AgnosticOption = Annotated[bool, option(MODEL, "NMS suppresses boxes of other classes too.", flag="--agnostic-nms")]
TileOption = Annotated[
    int | None,
    option(MODEL, "Also look at overlapping square tiles of this side, in pixels of the photo: for large photos.", "N",
           "off", min=32),
]  # fmt: skip
OverlapOption = Annotated[
    float | None, option(MODEL, "Share of a tile that its neighbors see too.", "T", "0.2", min=0, max=0.9)
]
QuietOption = Annotated[bool, option(RUN, "Print only errors.", flag="--quiet")]
LimitOption = Annotated[int | None, option(DATA, "Take only the first N images.", "N", "all", min=1)]


def given_options(context: typer.Context) -> list[str]:
    """The options on the command line, by their names such as "--model"."""
    return [
        parameter.opts[0]
        for parameter in context.command.params
        if parameter.name and getattr(context.get_parameter_source(parameter.name), "name", "") == "COMMANDLINE"
    ]


def refuse(given: Iterable[str], names: Iterable[str], mode: str) -> None:
    """Raises `InputError` for the first given option that has no meaning in `mode`."""
    for name in given:
        if name in names:
            raise InputError(f"{name} has no meaning with {mode}; leave it out")


def split_names(text: str, option: str) -> list[str]:
    """The names in "a, b,c". Raises `InputError` that names the option if it is empty."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise InputError(f"{option} has no names; separate names by commas")
    return names
