"""`detector classify`: the classes of whole photos, by a classification network."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from detector.cli.console import Console
from detector.cli.options import MODEL, RESULTS, DeviceOption, LabelsOption, TestCropsOption, option, result_file
from detector.errors import InputError
from detector.io.json import write_json_lines
from detector.models.files import DEFAULT_CLASSIFIER
from detector.runner.sources import Source, find_sources
from detector.runner.writers import check_result_file

if TYPE_CHECKING:
    from detector.inference.classification import Classifier


def classifiers(models: list[Path] | None) -> list[Path]:
    """The models that a command was given, by default the installed one."""
    if not models and not DEFAULT_CLASSIFIER.exists():
        raise InputError(
            f"the classifier {DEFAULT_CLASSIFIER.stem} comes with a checkout of the repository, not with the wheel; "
            "give --model with weights of the BVLC GoogLeNet (.caffemodel or .npz), a model that you trained "
            "(.safetensors), or torchvision/googlenet, which is downloaded"
        )
    return models or [DEFAULT_CLASSIFIER]


def classify(
    sources: Annotated[
        list[str],
        typer.Argument(metavar="IMAGE", help="Photos, folders, patterns, zips, lists (.txt), or - for standard input."),
    ],
    model: Annotated[
        list[Path] | None,
        option(MODEL, "Weights; the outputs of several --model are averaged.", "PATH", DEFAULT_CLASSIFIER.stem),
    ] = None,
    test_crops: TestCropsOption = None,
    top: Annotated[int, option(RESULTS, "Number of classes to print.", "N", min=1)] = 5,
    labels: LabelsOption = None,
    json: Annotated[Path | None, result_file("Write the results as a JSON list.")] = None,
    device: DeviceOption = "auto",
) -> None:
    """Classify whole photos with GoogLeNet, and print the most probable classes.

    The exit code is 2 if a photo failed.

    Example:

        detector classify cat.jpg --test-crops 10
    """
    if json is not None:
        check_result_file(json, "--json")
    models = classifiers(model)
    from detector.inference.classification import load_classifier

    console = Console()
    classifier = load_classifier(models, test_crops or 1, device, labels)
    expanded = list(find_sources(sources))
    results: list[dict[str, Any]] = []
    failed = 0
    try:
        with console.interruptible(lambda: f"{len(results)} of {len(expanded)} photos are done"):
            for source in expanded:
                try:
                    if isinstance(source, InputError):
                        raise source
                    seconds, best = _classify(classifier, source, top)
                except InputError as error:
                    console.error(f"error: {error}")
                    failed += 1
                    continue
                console.result(f"{source.name}: {seconds:.2f} s")
                for name, probability in best:
                    console.result(f"  {probability:.4f}  {name}")
                entry = [{"label": name, "probability": round(probability, 6)} for name, probability in best]
                results.append({"image": source.name, "seconds": round(seconds, 4), "classes": entry})
    finally:
        if json is not None:
            write_json_lines(json, results)
    if failed:
        console.error(f"{failed} of {len(expanded)} photos failed")
        raise typer.Exit(2)


def _classify(classifier: "Classifier", source: Source, top: int) -> tuple[float, list[tuple[str, float]]]:
    """Seconds, and the most probable classes with their probabilities."""
    image = source.read()
    start = time.perf_counter()
    try:
        best = classifier(image).top(top)
    except (MemoryError, RuntimeError) as error:  # torch raises RuntimeError when memory runs out
        reason = " ".join(str(error).split()) or "not enough memory"
        raise InputError(f"{source.name}: classification failed ({reason})") from None
    return time.perf_counter() - start, best
