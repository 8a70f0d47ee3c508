"""`detector export`: a model's graph for other programs, and for ONNX Runtime."""

from pathlib import Path
from typing import Annotated

import typer

from detector.cli.console import Console
from detector.cli.options import ModelOption, option
from detector.errors import InputError
from detector.models.files import model_files
from detector.runner.sources import SAMPLE_PHOTOS, sample_photos
from detector.runner.writers import check_writable_file

_GRAPH = "Graph"


def export(
    out: Annotated[Path, typer.Argument(metavar="FILE", help="File to write: .onnx, or .pt2 for torch.export.")],
    model: ModelOption = None,
    dynamic: Annotated[bool, option(_GRAPH, "Accept images of any size and number.", flag="--dynamic")] = False,
    size: Annotated[
        str | None,
        option(_GRAPH, "Size in pixels of all images, without --dynamic.", "WxH", "640x480; --end-to-end: any"),
    ] = None,
    int8: Annotated[
        str | None,
        option(
            _GRAPH,
            f"Run convolutions in int8, with ranges measured on {SAMPLE_PHOTOS} of these photos (a folder or "
            "a pattern).",
            "PHOTOS",
            "off",
        ),
    ] = None,
    end_to_end: Annotated[
        bool,
        option(
            _GRAPH,
            "Take a photo and return its detections: also resizing, MultiBox's proposals and NMS.",
            flag="--end-to-end",
        ),
    ] = False,
    regions: Annotated[
        bool, option(_GRAPH, "--end-to-end takes the proposals as a second input.", flag="--regions")
    ] = False,
) -> None:
    """Export the network as a graph, and check the file by running it.

    The graph takes (B, 3, H, W) RGB images in 0..255 and returns the maps that regions are scored on. Its metadata
    describes, in JSON, the steps before and after it and the class names. `detect` and `evaluate` run it with
    --engine FILE. With --end-to-end the graph takes a photo, (H, W, 3) uint8 RGB, and returns boxes in its pixels,
    scores and labels; other programs run it without this package.

    Examples:

        detector export voc07.onnx --dynamic
        detector export voc07_int8.onnx --dynamic --int8 photos/
        detector export detector.onnx --end-to-end
    """
    sides = (size or "640x480").lower().split("x")
    if len(sides) != 2 or not all(side.isdecimal() and 0 < int(side) <= 4096 for side in sides):
        raise InputError(f"--size {size}: give width and height in pixels, such as 640x480")
    fixed = None if dynamic or (end_to_end and size is None) else (int(sides[0]), int(sides[1]))
    from detector.export.checked import check_export, export_model

    check_export(out, fixed, int8 is not None, end_to_end, regions)
    check_writable_file(out, "FILE")
    model_files(model)  # fails at once if the file is missing
    photos = None if int8 is None else sample_photos(int8)
    from detector.models.weights import load_model

    loaded = load_model(model)
    if end_to_end:
        from detector.inference.end_to_end import export_detector

        same, found = export_detector(loaded, out, fixed, regions)
        Console().result(
            f"{out}: {len(loaded.class_names)} classes, {out.stat().st_size / 1e6:.1f} MB; run on a test image, it "
            f"finds {same} of the {found} boxes that PyTorch finds"
        )
        return
    difference = export_model(loaded, out, fixed, None if photos is None else (photo.read() for photo in photos))
    Console().result(
        f"{out}: {len(loaded.class_names)} classes, {out.stat().st_size / 1e6:.1f} MB; "
        f"run on a test image, its maps differ from PyTorch's by at most {difference:.2g} of their range"
    )
