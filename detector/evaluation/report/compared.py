"""The report of a comparison: two results side by side, by class and in the images that differ most."""

from collections.abc import Sequence
from pathlib import Path

from detector.data.detection_table import DetectionTable
from detector.data.ground_truth import GroundTruth
from detector.evaluation.comparison import Comparison
from detector.evaluation.errors import diagnose
from detector.evaluation.metrics.bootstrap import CONFIDENCE
from detector.evaluation.report.page import write_page
from detector.evaluation.report.pictures import WORST, picture_of


def explain_comparison(
    path: Path,
    truth: GroundTruth,
    a: DetectionTable,
    b: DetectionTable,
    comparison: Comparison,
    *,
    data: str,
    notes: Sequence[str] = (),
    photos: Path | None = None,
) -> None:
    """Writes an HTML page that needs neither a network nor other files.

    The table is by the comparison's metric; the pictures show the errors at its score, at an IoU of 0.5.

    Args:
        truth, a, b, comparison: the comparison and its input.
        data: the data, such as "val500".
        notes: what to know, a line each.
        photos: folder of the images, for pictures of those that differ most.

    Raises:
        InputError: the file cannot be written.
    """
    shown = comparison.images[:WORST]
    diagnoses = [diagnose(truth, table, metric="voc10", score=comparison.score) for table in (a, b)]
    rows = [truth.image_ids.index(image.image) for image in shown]
    pictures = [[picture_of(diagnosis, photos, row) for diagnosis in diagnoses] for row in rows]
    write_page(
        path,
        "compared.html",
        c=comparison,
        data=data,
        notes=notes,
        confidence=CONFIDENCE,
        total=sum(comparison.objects.values()),
        classes=list(zip(comparison.rows()[:-1], comparison.objects.values(), strict=True)),
        images=list(zip(shown, pictures, strict=True)),
        has_photos=photos is not None,
    )
