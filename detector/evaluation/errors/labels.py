"""Suspected faults of labels: objects and detections that disagree, most suspicious first.

The kinds are those of Tkachenko, Thyagarajan and Mueller, "ObjectLab: Automated Diagnosis of Mislabeled Images in
Object Detection Data", 2023: overlooked, swapped and badly located boxes. They rate images, this module rates boxes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torchvision.ops import batched_nms

from detector.data.detection_table import DetectionTable
from detector.data.ground_truth import GroundTruth
from detector.evaluation.errors.tide import BACKGROUND_IOU
from detector.evaluation.metrics.pairs import BoolArray, FloatArray, IntArray, best_of_pairs, pairs_of_images
from detector.evaluation.report.sheet import COLORS, draw_photos
from detector.structures.image import read_image
from detector.visualization.boxes import Mark
from detector.visualization.files import save_picture

Kind = Literal["missing box", "wrong class", "loose box"]
LOWEST_SUSPICION = 0.1
_SAME_PLACE = 0.5
"""IoU from which two boxes show one object."""
_TIGHT = 0.7
"""IoU from which a label is as tight as detectors are."""
_PART = 0.3
"""IoU below which a detection of an object's class is of a part of it, or of another object."""
_PHOTOS = 24
_COLORS = {"label": COLORS["wrong"], "model": COLORS["missed"]}
_NO_ROWS = np.zeros(0, np.int64)


@dataclass(frozen=True)
class LabelFault:
    """A suspected fault of one label.

    Attributes:
        kind: a detection has no label ("missing box"), or a label's class or box differs from a detection's.
        suspicion: 0 to 1, comparable across kinds.
        image: index of the image in the data set.
        label: row of the label in the data set; None for a missing box.
        detection: row of the detection that disagrees.
    """

    kind: Kind
    suspicion: float
    image: int
    label: int | None
    detection: int

    def to_dict(self, truth: GroundTruth, detections: DetectionTable) -> dict[str, Any]:
        """JSON values: the file, both classes and boxes (xyxy pixels, right and bottom exclusive), the score."""
        row, label = self.detection, self.label
        return {
            "file": truth.files[self.image],
            "kind": self.kind,
            "suspicion": round(self.suspicion, 3),
            "label": None if label is None else truth.class_names[truth.labels[label]],
            "label_box": None if label is None else truth.boxes[label].round(1).tolist(),
            "detected": truth.class_names[detections.labels[row]],
            "detected_box": detections.boxes[row].round(1).tolist(),
            "score": round(float(detections.scores[row]), 3),
        }

    def describe(self, truth: GroundTruth, detections: DetectionTable) -> str:
        """One line for readers."""
        said = self.to_dict(truth, detections)
        box = ", ".join(f"{side:.0f}" for side in said["label_box"] or said["detected_box"])
        what = {
            "missing box": "{detected} without a label",
            "wrong class": "{label}, rather {detected}",
            "loose box": "{label}",
        }[self.kind].format(**said)
        return f"{said['suspicion']:.2f}  {self.kind}  {said['file']}  ({box}): {what}"


def find_label_faults(
    truth: GroundTruth, detections: DetectionTable, everything: GroundTruth | None = None
) -> list[LabelFault]:
    """Compares labels with the detections of a model that was not trained on them; one that was repeats their faults.

    s is the score of the detection that disagrees. Difficult objects are not judged, and no box is missing on them.
        missing box: s; the detection overlaps no object of its class (IoU up to 0.1), and none of another by 0.5.
        wrong class: s (1 - t), where t is the highest score of the label's own class; all overlap by 0.5.
        loose box: s (1 - t) (1 - IoU), for an IoU of 0.3 to 0.7 with the label, where t is the highest score of a
            detection that overlaps the label by 0.7.

    Args:
        everything: the same images with the objects of all classes, of which `truth` has those that the model knows; no
            box is missing where one of them is. By default `truth`.

    Returns:
        Faults of a suspicion of at least `LOWEST_SUSPICION`, the highest first; of each label the most suspicious.
    """
    pieces = list(pairs_of_images(truth, detections, any_class=True))
    rows, objects, overlaps = (
        np.concatenate([empty, *(getattr(piece, name) for piece in pieces)])
        for name, empty in (("detections", _NO_ROWS), ("objects", _NO_ROWS), ("overlaps", np.zeros(0)))
    )
    scores = detections.scores[rows]
    same = detections.labels[rows] == truth.labels[objects]
    judged = ~truth.difficult[objects]

    def highest(size: int, index: IntArray, values: FloatArray, chosen: BoolArray) -> FloatArray:
        """(size,) the highest of the chosen values at each index; 0 without any."""
        result = np.zeros(size)
        np.maximum.at(result, index[chosen], values[chosen])
        return result

    own = highest(len(truth), objects, scores, same & (overlaps >= _SAME_PLACE))
    tight = highest(len(truth), objects, scores, same & (overlaps >= _TIGHT))
    wrong = judged & ~same & (overlaps >= _SAME_PLACE)
    loose = judged & same & (overlaps >= _PART) & (overlaps < _TIGHT)
    suspicion = np.where(wrong, scores * (1 - own[objects]), 0.0)
    suspicion = np.where(loose, scores * (1 - tight[objects]) * (1 - overlaps), suspicion)
    faults: dict[int, LabelFault] = {}
    for pair in np.argsort(-suspicion, kind="stable")[: np.count_nonzero(suspicion >= LOWEST_SUSPICION)].tolist():
        row, label = int(rows[pair]), int(objects[pair])
        kind: Kind = "wrong class" if wrong[pair] else "loose box"
        faults.setdefault(label, LabelFault(kind, float(suspicion[pair]), int(truth.images[label]), label, row))

    near = highest(len(detections), rows, overlaps, same) > BACKGROUND_IOU
    near |= best_of_pairs(pairs_of_images(everything or truth, detections, any_class=True), len(near))[1] >= _SAME_PLACE
    alone = np.flatnonzero(~near & (detections.scores >= LOWEST_SUSPICION))
    # Two classes at one place are one missing box.
    first = batched_nms(
        *map(torch.from_numpy, (detections.boxes[alone], detections.scores[alone], detections.images[alone])),
        _SAME_PLACE,
    )
    missing = (
        LabelFault("missing box", float(detections.scores[row]), int(detections.images[row]), None, row)
        for row in alone[first.numpy()].tolist()
    )
    return sorted([*faults.values(), *missing], key=lambda fault: -fault.suspicion)


def draw_label_faults(
    path: Path, faults: Sequence[LabelFault], truth: GroundTruth, detections: DetectionTable, folder: Path
) -> None:
    """Writes a picture of the photos with the most suspicious faults: doubted labels, and what the model detects.

    Args:
        folder: of the images' files.

    Raises:
        InputError: a photo cannot be read or the picture cannot be written.
    """
    marks: dict[int, list[Mark]] = {}
    for fault in faults:
        if fault.image not in marks and len(marks) == _PHOTOS:
            continue
        of_image = marks.setdefault(fault.image, [])
        for label, row, table in (("label", fault.label, truth), ("model", fault.detection, detections)):
            if row is not None:
                x1, y1, x2, y2 = table.boxes[row].tolist()
                of_image.append(Mark((x1, y1, x2, y2), truth.class_names[table.labels[row]], _COLORS[label]))
    sheet = draw_photos(
        list(marks), marks, lambda image: read_image(folder / truth.files[image]).pixels, list(_COLORS.items())
    )
    save_picture(path, sheet)
