"""`detector check`: labels of your own photos that a model doubts."""

import json
from pathlib import Path
from typing import Annotated

import typer

from detector.cli.console import Console
from detector.cli.evaluate_modes import run_model
from detector.cli.options import (
    DATA,
    RESULTS,
    ConfigOption,
    DeviceOption,
    LimitOption,
    ModelOption,
    SkipBadLabelsOption,
    option,
    result_file,
)
from detector.data.reading import read_part
from detector.errors import InputError
from detector.models.files import DEFAULT_MODEL
from detector.runner.writers import check_writable_file
from proposals.files import atomic_write


def check(
    data: Annotated[
        Path, option(DATA, "What `train --data` takes: a folder of photos and labels, or the file that names them.")
    ],
    skip_bad_labels: SkipBadLabelsOption = False,
    model: ModelOption = None,
    config: ConfigOption = None,
    limit: LimitOption = None,
    show: Annotated[int, option(RESULTS, "Faults to print.", "N", min=0)] = 20,
    out: Annotated[Path | None, result_file("Write all faults as JSON lines, the most suspicious first.")] = None,
    sheet: Annotated[Path | None, result_file("Draw the photos of the most suspicious faults, .jpg or .png.")] = None,
    device: DeviceOption = "auto",
) -> None:
    """Find label faults: missing boxes, wrong classes and loose boxes, ranked by how sure the model is.

    Use a model that was not trained on these labels, since it repeats their faults. Classes are matched by name; those
    that the model does not know are named and not judged. Look before you change a label: a fault of the model looks
    the same.

    Examples:

        detector check --data photos/ --sheet faults.jpg
        detector check --data photos/data.yaml --model coco --out faults.jsonl
    """
    for name, path in (("--out", out), ("--sheet", sheet)):
        if path is not None:
            check_writable_file(path, name)
    console = Console()

    labeled = read_part(data, "all", skip_bad_labels=skip_bad_labels)
    labeled = labeled if limit is None else labeled.first(limit)

    def load(precision: str | None):  # type: ignore[no-untyped-def]
        from detector.inference.assembly import load_pipeline  # imports torch, for which --help need not wait

        name = model or (DEFAULT_MODEL if config is None else None)
        return load_pipeline(name, device, config, None, "torch", precision), {}

    with console.interruptible(lambda: "nothing is written"):
        ran = run_model(console, lambda _: labeled, load, None, None, device, trace=False, model_classes=False)
        if ran is None:
            raise InputError("check runs in one process; start it without torchrun")
        judged, detected = ran
        from detector.evaluation.errors.labels import draw_label_faults, find_label_faults

        truth, table = judged.truth, detected.table
        faults = find_label_faults(truth, table, labeled.truth)
        for fault in faults[:show]:
            console.result(fault.describe(truth, table))
        for note in judged.notes:
            console.result(f"note: {note}")
        console.result(f"suspected faults: {len(faults)}, labels: {len(truth)}, photos: {len(truth.image_ids)}")
        if out is not None:
            with atomic_write(out) as temporary:
                lines = (json.dumps(fault.to_dict(truth, table)) for fault in faults)
                temporary.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
            console.result(f"faults -> {out}")
        if sheet is not None:
            draw_label_faults(sheet, faults, truth, table, judged.folder or Path())
            console.result(f"photos -> {sheet}")
    if detected.failed:
        image_id, error = next(iter(detected.failed.items()))
        console.error(
            f"error: {len(detected.failed)} of {len(truth.image_ids)} photos failed, first {image_id}: {error}"
        )
        raise typer.Exit(2)
