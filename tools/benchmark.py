"""Measures how fast this machine detects, proposes and evaluates, with other software timed beside it.

`detector benchmark` runs this file. It is part of the source checkout, not of the installed package.
"""

import os
import sys
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from PIL import Image as PillowImage
from PIL import ImageOps

from detector.cli import main
from detector.errors import InputError
from detector.io.json import write_json
from detector.runner.writers import check_writable_file
from detector.structures.image import Image, read_image

_TOOLS = Path(__file__).resolve().parent
if str(_TOOLS) not in sys.path:  # loaded by `detector benchmark`
    sys.path.append(str(_TOOLS))

_WHAT, _HOW = "What is measured", "How"


def benchmark(
    image: Annotated[
        Path | None,
        typer.Option(metavar="PHOTO", help="Photo to detect in.", show_default="500x375", rich_help_panel=_WHAT),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="Model file (.safetensors).",
            show_default="the installed model",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    proposals: Annotated[
        bool, typer.Option("--proposals", help="Measure Selective Search and its rivals.", rich_help_panel=_WHAT)
    ] = False,
    crops: Annotated[
        bool, typer.Option("--crops", help="Measure R-CNN's crops beside other GoogLeNets.", rich_help_panel=_WHAT)
    ] = False,
    evaluators: Annotated[
        bool,
        typer.Option("--evaluators", help="Measure the metrics beside pycocotools and others.", rich_help_panel=_WHAT),
    ] = False,
    device: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Measure images a second in batches of 1, 4 and 16 on this device: cuda or cpu.",
            show_default="none",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    repeats: Annotated[int, typer.Option(metavar="N", min=1, help="Rounds of timing.", rich_help_panel=_HOW)] = 10,
    threads: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Threads of PyTorch and OpenCV.",
            show_default="2; with a GPU all cores",
            rich_help_panel=_HOW,
        ),
    ] = None,
    rivals: Annotated[bool, typer.Option(help="Time other software that is installed.", rich_help_panel=_HOW)] = True,
    json: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the result here.", show_default="none", rich_help_panel="Results"),
    ] = None,
) -> None:
    """Measure how long detection takes on this machine: each stage, the start of the program, its memory.

    Works in a checkout of the source code only. Other software is timed in turns with it, because only such ratios
    carry over to another machine. Everything runs on the CPU except with --device cuda; leave the machine idle.

    Instead of detection, --proposals measures Selective Search on one thread (presets, growth with the image, workers,
    memory), --crops the crops a second and the memory of 2,000 regions, --evaluators COCO's, VOC's and ILSVRC's metrics
    on made-up detections, and --device the images a second of the network, with regions, and of whole detections.

    Examples:

        detector benchmark --image photo.jpg --json benchmark.json
        detector benchmark --device cuda
    """
    if proposals + crops + evaluators + (device is not None) > 1:
        raise InputError("--proposals, --crops, --evaluators and --device exclude each other; give one")
    if evaluators and image is not None:
        raise InputError("--evaluators measures on made-up detections; leave out --image")
    if json is not None:
        check_writable_file(json, "--json")
    import cv2
    import torch

    if threads is None:
        threads = (os.cpu_count() or 1) if device not in (None, "cpu") else 2
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    photo = default_photo() if image is None else read_image(image)
    if evaluators:
        from benchmarks.evaluators import benchmark_evaluators

        report = benchmark_evaluators(repeats=repeats, rivals=rivals, progress=True)
    elif proposals:
        from benchmarks.selective_search import benchmark_proposals

        report = benchmark_proposals(photo, repeats=repeats, progress=True)
    elif crops:
        from benchmarks.crops import benchmark_crops

        report = benchmark_crops(photo, repeats=repeats, threads=threads, rivals=rivals, progress=True)
    elif device is not None:
        from benchmarks.throughput import benchmark_throughput

        report = benchmark_throughput(
            photo, device, model, repeats=repeats, threads=threads, rivals=rivals, progress=True
        )
    else:
        from benchmarks.detection import benchmark_detection

        report = benchmark_detection(photo, model, repeats=repeats, threads=threads, rivals=rivals, progress=True)
    print(report.table())
    if json is not None:
        write_json(json, report.to_dict())


def default_photo() -> Image:
    """A photo of 500x375 pixels, the size of most of PASCAL VOC's, cut from one of the tests'."""
    photo = _TOOLS.parent / "tests/photos/astronaut.jpg"
    pixels = ImageOps.fit(PillowImage.fromarray(read_image(photo).pixels), (500, 375), PillowImage.Resampling.LANCZOS)
    return Image(np.array(pixels), photo.name)


if __name__ == "__main__":
    main(["benchmark", *sys.argv[1:]])
