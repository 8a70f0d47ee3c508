"""`detector benchmark`: how fast this machine detects, proposes and evaluates, with other software timed beside it."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from detector.cli.options import ModelOption, option, result_file
from detector.errors import InputError
from detector.io.json import write_json
from detector.runner.writers import check_writable_file

_TOOLS = Path(__file__).parents[2] / "tools"
_WHAT, _HOW = "What is measured", "How"


def benchmark(
    image: Annotated[Path | None, option(_WHAT, "Photo to detect in.", "PHOTO", "500x375")] = None,
    model: ModelOption = None,
    proposals: Annotated[bool, option(_WHAT, "Measure Selective Search and its rivals.", flag="--proposals")] = False,
    crops: Annotated[bool, option(_WHAT, "Measure R-CNN's crops beside other GoogLeNets.", flag="--crops")] = False,
    evaluators: Annotated[
        bool, option(_WHAT, "Measure the metrics beside pycocotools and others.", flag="--evaluators")
    ] = False,
    tiles: Annotated[
        Path | None,
        option(_WHAT, "Measure tiles on large photos made of the photos of COCO's JSON.", "FILE", "none", "--tiles"),
    ] = None,
    device: Annotated[
        str | None,
        option(_WHAT, "Measure images a second in batches of 1, 4 and 16 on this device: cuda or cpu.", "NAME", "none"),
    ] = None,
    repeats: Annotated[int, option(_HOW, "Rounds of timing.", "N", min=1)] = 10,
    threads: Annotated[
        int | None, option(_HOW, "Threads of PyTorch and OpenCV.", "N", "2; with a GPU all cores", min=1)
    ] = None,
    isa: Annotated[
        str | None,
        option(_HOW, "Hold PyTorch and Numba to this instruction set: amx, avx512_vnni or avx2.", "NAME", "all"),
    ] = None,
    rivals: Annotated[bool, option(_HOW, "Time other software that is installed.")] = True,
    nanodet: Annotated[
        Path | None,
        option(_HOW, "Also time NanoDet-Plus by ncnn, with nanodet-plus-coco-416.param and .bin here.", "DIR", "none"),
    ] = None,
    json: Annotated[Path | None, result_file("Write the result here.")] = None,
) -> None:
    """Measure how long detection takes on this machine: each stage, the start of the program, its memory.

    Works in a checkout of the source code only. Other software is timed in turns with it, because only such ratios
    carry over to another machine. Everything runs on the CPU except with --device cuda; leave the machine idle.

    Instead of detection, --proposals measures Selective Search on one thread (presets, growth with the image, workers,
    memory), --crops the crops a second and the memory of 2,000 regions, --evaluators COCO's, VOC's and ILSVRC's metrics
    on made-up detections, --tiles how many small objects tiles find in photos of 12 megapixels, and --device the images
    a second of the network, with regions, and of whole detections.

    --isa measures in a child process as on an older CPU. It cannot limit ONNX Runtime, ncnn and OpenCV.

    Examples:

        detector benchmark --image photo.jpg --json benchmark.json
        detector benchmark --device cuda
        detector benchmark --isa avx2
    """
    if not (_TOOLS / "benchmarks").is_dir():
        raise InputError(
            "the benchmark is part of the source checkout: clone the repository, run python tools/benchmark.py"
        )
    if proposals + crops + evaluators + (tiles is not None) + (device is not None) > 1:
        raise InputError("--proposals, --crops, --evaluators, --tiles and --device exclude each other; give one")
    if evaluators and image is not None:
        raise InputError("--evaluators measures on made-up detections; leave out --image")
    measures_detection = not (proposals or crops or evaluators or tiles or device)
    if nanodet is not None:
        if not measures_detection:
            raise InputError("--nanodet is timed beside detections; leave out the other measurements")
        for kind in ("param", "bin"):
            if not (file := nanodet / f"nanodet-plus-coco-416.{kind}").is_file():
                raise InputError(f"--nanodet: {file} is missing; give the folder of NanoDet-Plus' weights for ncnn")
    if json is not None:
        check_writable_file(json, "--json")
    if str(_TOOLS) not in sys.path:
        sys.path.append(str(_TOOLS))
    if isa is not None:
        from benchmarks.measuring import instruction_limits

        limits = {**os.environ, **instruction_limits(isa)}
        if limits != os.environ:  # the libraries read them when they start
            raise typer.Exit(subprocess.run(sys.orig_argv, env=limits).returncode)
    import cv2
    import torch
    from benchmarks.detection import benchmark_crops, benchmark_detection, benchmark_throughput
    from benchmarks.evaluators import benchmark_evaluators
    from benchmarks.measuring import default_photo
    from benchmarks.selective_search import benchmark_proposals
    from benchmarks.tiling import benchmark_tiles

    from detector.structures.image import read_image

    threads = threads or (2 if device in (None, "cpu") else os.cpu_count() or 1)
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    photo = default_photo() if image is None else read_image(image)
    if evaluators:
        report = benchmark_evaluators(repeats, rivals)
    elif proposals:
        report = benchmark_proposals(photo, repeats, rivals)
    elif tiles is not None:
        report = benchmark_tiles(tiles, model, tile=320, photos=2, threads=threads)
    elif crops:
        report = benchmark_crops(photo, repeats, threads, rivals)
    elif device is not None:
        report = benchmark_throughput(photo, device, model, repeats, threads, rivals)
    else:
        report = benchmark_detection(photo, model, repeats, threads, rivals, nanodet)
    print(report.table())
    if json is not None:
        write_json(json, report.to_dict())
