"""How well a proposal method covers the objects of a data set."""

import dataclasses
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from detector.data.annotations import AnnotatedImages
from detector.data.predictions import check_size
from detector.errors import InputError
from detector.io.progress import Progress
from detector.structures.image import read_image
from proposals import FileProposals, ProposalEvaluation, Proposals, Proposer, propose_files

# Titles of the table's columns, by their keys in `ProposalEvaluation.to_dict`.
_COLUMNS = {
    "boxes": "boxes", "objects": "objects", "recall50": "recall50", "recall70": "recall70",
    "average_recall": "AR", "mabo": "MABO",
}  # fmt: skip
_BLOCKS = (
    ("boxes per image, at most", "by_budget"), ("the same in random order", "random_order"),
    ("class, all boxes", "by_class"), ("size", "by_size"),
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class ProposalReport:
    """A proposal method's result on a data set, over objects that are not difficult.

    Attributes:
        split: name of the data set's split.
        evaluation: coverage of the objects.
        random_order: coverage by the same boxes in random order, against which a ranking is measured.
        seconds_per_image: mean time of the proposer for one image, without decoding; None if all failed or the
            boxes were read from a file.
        images_per_second: of all workers together, including decoding; None where `seconds_per_image` is.
        failed: image id and error of the images without proposals; their objects count as not covered.
    """

    split: str
    evaluation: ProposalEvaluation
    random_order: ProposalEvaluation
    seconds_per_image: float | None
    images_per_second: float | None
    failed: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: those of `ProposalEvaluation.to_dict`, times and failures."""
        return {
            "split": self.split,
            **self.evaluation.to_dict(),
            "random_order": self.random_order.to_dict()["by_budget"],
            "seconds_per_image": self.seconds_per_image,
            "images_per_second": self.images_per_second,
            "failed": self.failed,
        }

    def table(self) -> str:
        """The result as text."""
        content = self.to_dict()
        width = max(len(name) for heading, key in _BLOCKS for name in (heading, *content[key]))
        lines = []
        for heading, key in _BLOCKS:
            lines.append(f"{heading:{width}}  " + "  ".join(f"{title:>8}" for title in _COLUMNS.values()))
            for name, row in content[key].items():
                cells = (f"{row[c]:8.0f}" if c in ("boxes", "objects") else f"{row[c]:8.3f}" for c in _COLUMNS)
                lines.append(f"{name:{width}}  " + "  ".join(cells))
            lines.append("")
        lines += [f"{key} {content[key]:.4g}" for key in ("boxes", "recall50", "recall70")]
        lines.append(f"class_recall50 {content['class_recall50']:.4g} (mean over the classes, as in the paper)")
        lines += [f"{key} {content[key]:.4g}" for key in ("average_recall", "mabo")]
        speed = ""
        if self.seconds_per_image is not None:
            lines.append(f"seconds_per_image {self.seconds_per_image:.4f}")
            speed = f"{self.images_per_second:.2f} images per second; "
        lines.append(f"{speed}{content['images']} images of {self.split}")
        if self.failed:
            lines.append(f"images that failed: {len(self.failed)}; their objects count as not covered")
        return "\n".join(lines)


def evaluate_proposals(proposer: Proposer, dataset: AnnotatedImages) -> ProposalReport:
    """Run a proposer over a data set, one image after the other, and measure how well it covers the objects.

    Raises:
        InputError: an image or annotation is missing, an annotation is invalid, or there are no objects.
    """
    paths = [dataset.image_path(index) for index in range(len(dataset))]
    return evaluate_files(propose_files(paths, proposer, read_pixels), dataset)


def evaluate_files(
    files: Iterable[FileProposals], dataset: AnnotatedImages, *, limit: int | None = None, progress: bool = False
) -> ProposalReport:
    """Measure how well proposals, one result for each image of a data set in its order, cover the objects.

    Results that were read from a file took the proposer 0 seconds; the report then has no times.

    Args:
        limit: take only the best `limit` boxes of an image.

    Raises:
        InputError: an annotation is missing or invalid, or there are no objects.
    """
    truths = [dataset[index].annotations for index in range(len(dataset))]  # errors show before the long part
    if all(truth.difficult.all() for truth in truths):
        raise InputError(f"{dataset.root}: split '{dataset.split}' has only difficult objects; give another split")
    evaluation, in_random_order = ProposalEvaluation(dataset.class_names), ProposalEvaluation(dataset.class_names)
    random = np.random.default_rng(0)
    seconds: list[float] = []
    failed: dict[str, str] = {}
    start = time.perf_counter()
    for index, result in enumerate(
        Progress(files, total=len(truths), desc="proposals", unit="image", hidden=not progress, leave=False)
    ):
        truth, proposals, error = truths[index], result.proposals, result.error
        if proposals is not None:
            seconds.append(result.seconds)
            try:
                check_size(proposals.image_size, truth.image_size)
            except InputError as wrong_size:
                proposals, error = None, str(wrong_size)
        if proposals is None:
            failed[dataset.ids[index]] = error or "no proposals"
            no_boxes = np.empty((0, 4), np.float32)
            proposals = Proposals(no_boxes, no_boxes[:, 0], np.empty(0, np.int16), ("none",), truth.image_size)
        counted = ~truth.difficult
        best = proposals if limit is None else proposals.top(limit)
        evaluation.add(best, truth.boxes[counted], truth.labels[counted])
        shuffled = dataclasses.replace(best, boxes=random.permutation(best.boxes), regions=None)
        in_random_order.add(shuffled, truth.boxes[counted], truth.labels[counted])
    timed = sum(seconds) > 0
    return ProposalReport(
        split=dataset.split,
        evaluation=evaluation,
        random_order=in_random_order,
        seconds_per_image=float(np.mean(seconds)) if timed else None,
        images_per_second=len(truths) / (time.perf_counter() - start) if timed else None,
        failed=failed,
    )


def read_pixels(content: bytes) -> np.ndarray:
    """An image file's bytes as upright (H, W, 3) uint8 RGB.

    Raises:
        InputError: the bytes are not a supported image.
    """
    try:
        return read_image(content, "photo").pixels
    except InputError as error:  # the caller knows the file and names it
        raise InputError(str(error).removeprefix("photo: ")) from None
