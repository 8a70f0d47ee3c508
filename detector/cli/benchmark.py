"""`detector benchmark`: how long detection takes on this machine."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from detector.cli.console import Console
from detector.errors import InputError
from detector.io.json import write_json
from detector.runner.writers import check_writable_file
from detector.structures.image import read_image

if TYPE_CHECKING:
    from detector.benchmark.crops import CropsReport
    from detector.benchmark.evaluators import EvaluatorsReport
    from detector.benchmark.profile import Profile
    from detector.benchmark.proposals import ProposalsReport
    from detector.benchmark.report import Report
    from detector.benchmark.throughput import ThroughputReport


def benchmark(
    image: Annotated[
        Path | None,
        typer.Option(
            metavar="PHOTO",
            help="Photo to detect on.",
            show_default="one of 500x375 pixels",
            rich_help_panel="What is measured",
        ),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="Model file (.safetensors).",
            show_default="the installed model",
            rich_help_panel="What is measured",
        ),
    ] = None,
    repeats: Annotated[int, typer.Option(metavar="N", help="How often to detect.", rich_help_panel="How")] = 10,
    threads: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Threads of PyTorch and OpenCV; those beside a GPU.",
            show_default="2; beside a GPU all cores",
            rich_help_panel="How",
        ),
    ] = None,
    rivals: Annotated[
        bool, typer.Option(help="Time other software too, as far as it is installed.", rich_help_panel="How")
    ] = True,
    proposals: Annotated[
        bool,
        typer.Option(
            "--proposals",
            help="Measure Selective Search alone, beside other implementations.",
            rich_help_panel="What is measured",
        ),
    ] = False,
    crops: Annotated[
        bool,
        typer.Option(
            "--crops",
            help="Measure the classification of crops (R-CNN), beside other GoogLeNets.",
            rich_help_panel="What is measured",
        ),
    ] = False,
    evaluators: Annotated[
        bool,
        typer.Option(
            "--evaluators",
            help="Measure the evaluators, beside pycocotools and others.",
            rich_help_panel="What is measured",
        ),
    ] = False,
    device: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Measure images a second in batches of 1, 4 and 16 on this device: cuda, or cpu.",
            show_default="none",
            rich_help_panel="What is measured",
        ),
    ] = None,
    profile: Annotated[
        bool,
        typer.Option(
            "--profile",
            help="Measure where the time of a detection goes, and how it grows.",
            rich_help_panel="What is measured",
        ),
    ] = False,
    json: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Write the result to this file.", show_default="none", rich_help_panel="Results"
        ),
    ] = None,
) -> None:
    """Measure how long detection takes on this machine: its stages, the start of the program, its memory.

    Other software is timed in turns with it, since only such ratios hold on another machine. All runs on the CPU,
    but for --device cuda; leave the machine alone meanwhile.

    With --proposals it measures Selective Search by itself, one thread an image: the presets, its growth with the
    image, workers and memory. With --crops it measures crops a second and the memory of 2,000 regions. With
    --evaluators it measures COCO's, VOC's and ILSVRC's metrics on made-up detections in 5,000 images. With --profile it
    tells the time and memory of each stage, from the file to the picture, what part of the machine's matrix product the
    network reaches, and the growth with the size of the photo, regions, images at once and threads. With --device it
    measures images a second on a GPU: the network's pass, with regions, and whole detections with Selective Search on
    the CPU's threads beside it.

    Examples:

        detector benchmark --image photo.jpg --json benchmark.json
        detector benchmark --device cuda
    """
    if proposals + crops + evaluators + profile + (device is not None) > 1:
        raise InputError(
            "--proposals, --crops, --evaluators, --profile and --device are measurements by themselves; give one"
        )
    if evaluators and image is not None:
        raise InputError("--evaluators measures on made-up detections; leave out --image")
    if json is not None:
        check_writable_file(json, "--json")
    console = Console()
    report: ProposalsReport | CropsReport | EvaluatorsReport | Profile | ThroughputReport | Report
    if threads is None:
        threads = (os.cpu_count() or 1) if device is not None and device != "cpu" else 2
    try:
        if evaluators:
            from detector.benchmark.evaluators import benchmark_evaluators

            report = benchmark_evaluators(repeats=repeats, rivals=rivals, progress=True)
            _tell(console, report, json)
            return
        from detector.benchmark.photo import default_photo

        photo = default_photo() if image is None else read_image(image)
        if proposals:
            from detector.benchmark.proposals import benchmark_proposals

            report = benchmark_proposals(photo, repeats=repeats, progress=True)
        elif profile:
            from detector.benchmark.profile import benchmark_profile

            report = benchmark_profile(photo, model, repeats=repeats, threads=threads, progress=True)
        elif device is not None:
            from detector.benchmark.throughput import benchmark_throughput

            report = benchmark_throughput(
                photo, device, model, repeats=repeats, threads=threads, rivals=rivals, progress=True
            )
        elif crops:
            from detector.benchmark.crops import benchmark_crops

            report = benchmark_crops(photo, repeats=repeats, threads=threads, rivals=rivals, progress=True)
        else:
            from detector.benchmark.report import benchmark as measure  # imports torch, for which --help need not wait

            report = measure(photo, model, repeats=repeats, threads=threads, rivals=rivals, progress=True)
    except KeyboardInterrupt:
        console.error("interrupted: the benchmark is not complete")
        raise typer.Exit(130) from None
    _tell(console, report, json)


def _tell(
    console: Console,
    report: "ProposalsReport | CropsReport | EvaluatorsReport | Profile | ThroughputReport | Report",
    json: Path | None,
) -> None:
    console.result(report.table())
    if json is not None:
        write_json(json, report.to_dict())
