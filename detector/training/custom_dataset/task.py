"""Fine-tuning of a trained region classifier on a user's photos.

The last averaged weights become the model, unless earlier ones are better on the held-back photos by more than noise.
"""

import dataclasses
import json
import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from detector.data.detection_table import DetectionTable
from detector.data.ground_truth import GroundTruth
from detector.errors import InputError
from detector.evaluation.evaluation import match_by_metric
from detector.evaluation.metrics.bootstrap import compare_average_precision
from detector.evaluation.metrics.voc import voc_average_precision
from detector.inference.detector import Detector
from detector.models.rfcn import RFCN
from detector.models.weights import Model, load_model, save_model
from detector.training.budget import Budget
from detector.training.custom_dataset.split import PhotoSet
from detector.training.custom_dataset.transfer import match_classes, transfer_weights
from detector.training.data import ProposedImages
from detector.training.random_crop import Part
from detector.training.recipes import Recipe
from detector.training.tasks.rfcn import RegionTask, detect_proposed
from proposals.files import atomic_write

log = logging.getLogger(__name__)

MODEL = "model.safetensors"
HISTORY = "history.json"


class CustomDatasetTask(RegionTask):
    """Trains a copy of a model on other classes.

    Args:
        recipe: of the plan.
        start: the model to start from.
        data, val: photos whose proposals are in the cache.
        budget: of the training.
    """

    several_processes = False
    workers = False  # photos that fail are remembered

    def __init__(
        self,
        recipe: Recipe,
        start: Model,
        data: ProposedImages[PhotoSet],
        val: ProposedImages[PhotoSet],
        budget: Budget,
    ) -> None:
        self.start, self.budget = start, budget
        self.extra_background_classes = match_classes(data.dataset.class_names, start).extra_background_classes
        super().__init__(recipe, data, val, len(self.extra_background_classes))
        kept = len(data.dataset.class_names) + 1
        for parameter in self.network.score_conv.parameters():
            parameter.register_hook(lambda gradient: self._without_others(gradient, kept))
        self.failed: dict[Path, str] = {}  # photos that could be read before the training, and then not

    def _without_others(self, gradient: Tensor, kept: int) -> Tensor:
        """The other classes stay as they are: photos that show none of them can only unteach them."""
        votes = gradient.view(self.network.bins**2, -1, *gradient.shape[1:]).clone()
        votes[:, kept : kept + len(self.extra_background_classes)] = 0
        return votes.view_as(gradient)

    def initialize(self, init: Path | None) -> None:
        transfer_weights(self.network, self.data.dataset.class_names, self.start)

    def prepare(self) -> None:
        """Nothing: the proposals were made before the plan."""

    def read(self, index: int) -> Part:
        """A photo, or if it cannot be read the next that can."""
        for place in range(index, index + len(self.data)):
            place %= len(self.data)
            try:
                return super().read(place)
            except InputError as error:
                path = self.data.dataset.image_path(place)
                if path not in self.failed:
                    log.warning("%s; another photo takes its place", error)
                self.failed[path] = str(error)
        raise InputError("no photo can be read any more")

    def evaluate(self, network: nn.Module, metadata: dict[str, Any], out: Path, last: bool) -> dict[str, float]:
        """Judges by held-back photos, always the same. On the way the best weights become the model, at the end the
        last ones, unless those that are there are clearly better."""
        assert isinstance(network, RFCN)
        labels = self.data.dataset
        model = Model(
            network, self.recipe.model, labels.class_names, {}, self.extra_background_classes, labels.class_ids
        )
        truth, table = found = self._detect(model)
        result = voc_average_precision(*found)
        # of few photos the 11 points see nothing beyond the tenth best; the area tells more
        score, mean_ap = (
            0.0 if math.isnan(one.mean_ap) else one.mean_ap for one in (voc_average_precision(*found, "voc10"), result)
        )
        history = read_history(out)
        before = max((value for step, value in history.items() if step != metadata["steps"]), default=-1.0)
        # of equal ones the later, which has seen more
        if score >= before or (last and not self._is_clearly_better(load_model(out / MODEL), truth, table)):
            count = len(truth.image_ids)
            metadata |= {"mAP": round(mean_ap, 4), "metric": result.metric, "split": "held back", "images": count}
            save_model(dataclasses.replace(model, metadata=metadata), out / MODEL)
        history[metadata["steps"]] = score
        with atomic_write(out / HISTORY) as temporary:
            temporary.write_text(json.dumps(history))
        precision, recall = result.at_score(0.5)
        judged = {"mAP": mean_ap, "precision at 0.5": precision, "recall at 0.5": recall}
        return {**judged, "images": len(truth.image_ids)}

    def _detect(self, model: Model) -> tuple[GroundTruth, DetectionTable]:
        detector = Detector(model, str(next(self.network.parameters()).device))
        count = min(len(self.val), self.recipe.data.eval_limit)
        return detect_proposed(detector, self.val, count, self.budget.deadline(closing=True))

    def _is_clearly_better(self, kept: Model, truth: GroundTruth, table: DetectionTable) -> bool:
        """Whether a model is better than what gave `table` beyond what other photos, or one more object found, could
        change. Where time ends the judging early, nothing is clear."""
        same, found = self._detect(kept)
        if same.image_ids != truth.image_ids:
            return False
        (old, curve), (new, _) = match_by_metric(same, found, "voc10"), match_by_metric(truth, table, "voc10")
        objects = np.bincount(new[0].object_labels)
        objects = objects[objects > 0]
        if not len(objects):
            return False
        difference = compare_average_precision(old, new, curve).difference
        return difference.mean_high < -1 / (len(objects) * objects.min())


def read_history(out: Path) -> dict[int, float]:
    """mAP (by area) by step of the evaluations of a run so far."""
    try:
        return {int(step): float(value) for step, value in json.loads((out / HISTORY).read_text()).items()}
    except (OSError, ValueError, AttributeError):
        return {}
