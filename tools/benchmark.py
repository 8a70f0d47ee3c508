"""Measures how fast this machine detects, proposes and evaluates, with other software timed beside it.

`detector benchmark` runs this file. It is part of the source checkout, not of the installed package.
"""

import os
import sys
from pathlib import Path
from typing import Annotated, Any

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


def _option(panel: str, text: str, *names: str, **settings: Any) -> Any:
    return typer.Option(*names, help=text, rich_help_panel=panel, **settings)


_WHAT, _HOW = "What is measured", "How"
_PHOTO = _option(_WHAT, "Photo to detect in.", metavar="PHOTO", show_default="500x375")
_MODEL = _option(_WHAT, "Model file (.safetensors).", metavar="PATH", show_default="the installed model")
_PROPOSALS = _option(_WHAT, "Measure Selective Search and its rivals.", "--proposals")
_CROPS = _option(_WHAT, "Measure R-CNN's crops beside other GoogLeNets.", "--crops")
_EVALUATORS = _option(_WHAT, "Measure the metrics beside pycocotools and others.", "--evaluators")
_DEVICE = _option(
    _WHAT,
    "Measure images a second in batches of 1, 4 and 16 on this device: cuda or cpu.",
    metavar="NAME",
    show_default="none",
)
_REPEATS = _option(_HOW, "Rounds of timing.", metavar="N", min=1)
_THREADS = _option(_HOW, "Threads of PyTorch and OpenCV.", metavar="N", min=1, show_default="2; with a GPU all cores")
_RIVALS = _option(_HOW, "Time other software that is installed.")
_JSON = _option("Results", "Write the result here.", metavar="FILE", show_default="none")


def benchmark(
    image: Annotated[Path | None, _PHOTO] = None,
    model: Annotated[Path | None, _MODEL] = None,
    proposals: Annotated[bool, _PROPOSALS] = False,
    crops: Annotated[bool, _CROPS] = False,
    evaluators: Annotated[bool, _EVALUATORS] = False,
    device: Annotated[str | None, _DEVICE] = None,
    repeats: Annotated[int, _REPEATS] = 10,
    threads: Annotated[int | None, _THREADS] = None,
    rivals: Annotated[bool, _RIVALS] = True,
    json: Annotated[Path | None, _JSON] = None,
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
    options = {"repeats": repeats, "progress": True}
    if evaluators:
        from benchmarks.evaluators import benchmark_evaluators

        report = benchmark_evaluators(rivals=rivals, **options)
    elif proposals:
        from benchmarks.selective_search import benchmark_proposals

        report = benchmark_proposals(photo, rivals=rivals, **options)
    elif crops:
        from benchmarks.crops import benchmark_crops

        report = benchmark_crops(photo, threads=threads, rivals=rivals, **options)
    elif device is not None:
        from benchmarks.throughput import benchmark_throughput

        report = benchmark_throughput(photo, device, model, threads=threads, rivals=rivals, **options)
    else:
        from benchmarks.detection import benchmark_detection

        report = benchmark_detection(photo, model, threads=threads, rivals=rivals, **options)
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
