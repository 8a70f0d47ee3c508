"""`detector export`: a model's graph for other programs, and for ONNX Runtime."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from detector.cli.console import Console
from detector.errors import InputError
from detector.models.files import model_files
from detector.runner.sources import Source, find_sources
from detector.runner.writers import check_writable_file

_SUFFIXES = {"onnx": ".onnx", "torch_export": ".pt2"}


def export(
    out: Annotated[Path, typer.Argument(metavar="FILE", help="File to write: .onnx, or .pt2 for torch_export.")],
    model: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="Model file (.safetensors).",
            show_default="the installed model",
            rich_help_panel="Model",
        ),
    ] = None,
    format: Annotated[
        Literal["onnx", "torch_export"],
        typer.Option(help="ONNX, or a program of torch.export.", rich_help_panel="Graph"),
    ] = "onnx",
    dynamic: Annotated[
        bool, typer.Option("--dynamic", help="For images of any size and number.", rich_help_panel="Graph")
    ] = False,
    size: Annotated[
        str, typer.Option(metavar="WxH", help="Without --dynamic: pixels of the one size.", rich_help_panel="Graph")
    ] = "640x480",
    int8: Annotated[
        str | None,
        typer.Option(
            metavar="PHOTOS",
            help="Convolutions in int8, their ranges measured on these photos (a folder or a pattern), 32 of them.",
            show_default="off",
            rich_help_panel="Graph",
        ),
    ] = None,
) -> None:
    """Export the network's pass over a photo, and check the file by running it.

    The file takes (B, 3, H, W) RGB images in 0..255 and gives the maps that regions are scored on; its metadata says in
    JSON what comes before and after it, with the class names. detect and evaluate run it with --engine FILE.

    Examples:

        detector export voc07.onnx --dynamic
        detector export voc07_int8.onnx --dynamic --int8 photos/
    """
    if out.suffix != _SUFFIXES[format]:
        raise InputError(f"{out}: a file for {format} ends in {_SUFFIXES[format]}")
    if int8 is not None and (format != "onnx" or not dynamic):
        raise InputError("--int8 needs --format onnx and --dynamic")
    sides = size.lower().split("x")
    if len(sides) != 2 or not all(side.isdecimal() and 0 < int(side) <= 4096 for side in sides):
        raise InputError(f"--size {size}: give width and height in pixels, such as 640x480")
    fixed = None if dynamic else (int(sides[0]), int(sides[1]))
    check_writable_file(out, "FILE")
    model_files(model)  # it is there
    photos = [] if int8 is None else _photos(int8)
    from detector.export.check import largest_difference
    from detector.export.graph import export_onnx, export_torch
    from detector.export.quantization import export_int8
    from detector.models.weights import load_model

    loaded = load_model(model)
    if photos:
        export_int8(loaded, out, (photo.read() for photo in photos))
    elif format == "onnx":
        export_onnx(loaded, out, fixed)
    else:
        export_torch(loaded, out, fixed)
    difference = largest_difference(loaded, out, fixed)
    Console().result(
        f"{out}: {len(loaded.class_names)} classes, {out.stat().st_size / 1e6:.1f} MB; "
        f"run on a test image, its maps differ from PyTorch's by at most {difference:.2g} of their range"
    )


_CALIBRATION_PHOTOS = 32


def _photos(argument: str) -> list[Source]:
    found = list(find_sources([argument]))
    for one in found:
        if isinstance(one, InputError):
            raise one
    photos = [one for one in found if isinstance(one, Source)]
    step = max(1, len(photos) // _CALIBRATION_PHOTOS)
    return photos[::step][:_CALIBRATION_PHOTOS]
