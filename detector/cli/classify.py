"""`detector classify`: what whole photos show, by a classification network."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from detector.cli.console import Console
from detector.errors import InputError
from detector.io.json import write_json_lines
from detector.runner.sources import Source, find_sources
from detector.runner.writers import check_result_file

if TYPE_CHECKING:
    from detector.inference.classification import Classifier

NO_CLASSIFIER = (
    "give --model with weights of the BVLC GoogLeNet (.caffemodel or .npz), a classification model that was trained "
    "here (.safetensors), or torchvision/googlenet, which is downloaded; none comes with the package"
)


def classify(
    sources: Annotated[
        list[str],
        typer.Argument(metavar="IMAGE", help="Photos, folders, patterns, zips, lists (.txt), or -, standard input."),
    ],
    model: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="PATH", help="Weights; several --model are averaged.", show_default="none", rich_help_panel="Model"
        ),
    ] = None,
    crops: Annotated[
        int, typer.Option(help="Crops an image: 1, 10 or 144 as in the paper.", rich_help_panel="Model")
    ] = 1,
    top: Annotated[
        int, typer.Option(metavar="N", min=1, help="How many classes to print.", rich_help_panel="Results")
    ] = 5,
    labels: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Class names, one a line.",
            show_default="synset_words.txt beside PATH",
            rich_help_panel="Model",
        ),
    ] = None,
    json: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Write the results here as JSON.", show_default="none", rich_help_panel="Results"
        ),
    ] = None,
    device: Annotated[
        str, typer.Option(help="auto (a GPU if there is one), cpu or cuda.", rich_help_panel="Model")
    ] = "auto",
) -> None:
    """Classify whole photos with GoogLeNet: prints the most probable classes.

    The exit code is 2 if any photo failed.

    Example:

        detector classify cat.jpg --model bvlc_googlenet.caffemodel --crops 10
    """
    if json is not None:
        check_result_file(json, "--json")
    if not model:
        raise InputError(NO_CLASSIFIER)
    from detector.inference.classification import load_classifier

    console = Console()
    classifier = load_classifier(model, crops, device, labels)
    found = list(find_sources(sources))
    results: list[dict[str, Any]] = []
    failed = 0
    try:
        for source in found:
            try:
                if isinstance(source, InputError):
                    raise source
                seconds, best = _classified(classifier, source, top)
            except InputError as error:
                console.error(f"error: {error}")
                failed += 1
                continue
            console.result(f"{source.name}: {seconds:.2f} s")
            for name, probability in best:
                console.result(f"  {probability:.4f}  {name}")
            entry = [{"label": name, "probability": round(probability, 6)} for name, probability in best]
            results.append({"image": source.name, "seconds": round(seconds, 4), "classes": entry})
    except KeyboardInterrupt:
        console.error(f"interrupted: {len(results)} of {len(found)} photos are done")
        raise typer.Exit(130) from None
    finally:
        if json is not None:
            write_json_lines(json, results)
    if failed:
        console.error(f"{failed} of {len(found)} photos failed")
        raise typer.Exit(2)


def _classified(classifier: "Classifier", source: Source, top: int) -> tuple[float, list[tuple[str, float]]]:
    image = source.read()
    start = time.perf_counter()
    try:
        best = classifier(image).top(top)
    except (MemoryError, RuntimeError) as error:  # torch has RuntimeError for a lack of memory
        reason = " ".join(str(error).split()) or "not enough memory"
        raise InputError(f"{source.name}: classification failed ({reason})") from None
    return time.perf_counter() - start, best
