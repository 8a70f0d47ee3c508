"""Fine-tuning of a trained R-FCN on a custom data set.

The last averaged weights become the model, unless earlier ones are better on the validation photos by more than noise.
"""

import copy
import dataclasses
import json
import logging
import math
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from detector.data.detection_table import DetectionTable
from detector.data.ground_truth import GroundTruth
from detector.errors import InputError
from detector.evaluation.comparison import compare
from detector.evaluation.metrics.voc import voc_average_precision
from detector.inference.pipeline import DetectionPipeline
from detector.models.rfcn import RFCN
from detector.models.weights import Model, load_model, save_model
from detector.training.augmentation import TrainingImage
from detector.training.budget import Budget
from detector.training.data import ProposedImages
from detector.training.image_labels import ImageLabelRFCN, plain
from detector.training.photos import PhotoSet
from detector.training.recipes import RFCNRecipe
from detector.training.tasks.rfcn import RFCNTask, detect_proposed
from detector.training.transfer import match_classes, transfer_weights
from proposals.files import atomic_write

log = logging.getLogger(__name__)

MODEL = "model.safetensors"
HISTORY = "history.json"
_NEW_CLASS_LOG_PRIOR = -1.5
"""How much rarer new classes are outside of the photos, log-odds."""


class CustomDatasetTask(RFCNTask):
    """Trains a copy of a model on other classes.

    Args:
        recipe: the plan's recipe.
        start: the model to start from.
        data, val: training and validation photos, whose proposals are cached.
        budget: time limit of the training.
        unlabeled: photos to train on without labels, whose proposals are cached.
    """

    several_processes = False
    workers = False  # unreadable photos are collected in this process

    def __init__(
        self,
        recipe: RFCNRecipe,
        start: Model,
        data: ProposedImages[PhotoSet],
        val: ProposedImages[PhotoSet],
        budget: Budget,
        unlabeled: ProposedImages[PhotoSet] | None = None,
    ) -> None:
        self.start, self.budget = start, budget
        self.extra_background_classes = match_classes(data.dataset.class_names, start).extra_background_classes
        super().__init__(recipe, data, val, len(self.extra_background_classes), unlabeled)
        self.kept = frozenset.intersection(*(sample.annotations.unlabeled for sample in data.dataset.samples))
        for parameter in self.network.score_conv.parameters():
            parameter.register_hook(self._freeze_other_classes)
        self.failed: dict[Path, str] = {}  # photos that became unreadable during the training

    def _freeze_other_classes(self, gradient: Tensor) -> Tensor:
        """Score maps of classes that no photo is annotated for stay fixed, since these photos could only worsen them:
        extra background classes, and those that the model keeps. With the latter the background and the box deltas stay
        fixed too, because all classes share them, and with image labels, which cannot improve them."""
        gradient = gradient.clone()
        scores, box_deltas = self.network.split_maps(gradient, dim=0)  # views of the gradient
        scores[:, len(self.data.dataset.class_names) + 1 :] = 0
        if self.kept or self.recipe.data.labels == "image":
            scores[:, [0, *(1 + label for label in self.kept)]] = 0
            box_deltas.zero_()
        return gradient

    def initialize(self, init: Path | None) -> None:
        transfer_weights(self.network, self.data.dataset.class_names, self.start)
        if isinstance(self.network, ImageLabelRFCN):
            self.network.remember_objectness()

    def prepare(self) -> None:
        """Does nothing: the proposals are made before the plan."""

    def read(self, images: ProposedImages[Any], index: int) -> TrainingImage:
        """A photo, or if it cannot be read the next readable one."""
        for candidate in range(index, index + len(images)):
            candidate %= len(images)
            try:
                return super().read(images, candidate)
            except InputError as error:
                path = images.dataset.image_path(candidate)
                if path not in self.failed:
                    log.warning("%s; using another photo instead", error)
                self.failed[path] = str(error)
        raise InputError("no photo can be read any more; check the disk")

    def evaluate(self, network: nn.Module, metadata: dict[str, Any], out: Path, last: bool) -> dict[str, float]:
        """Evaluates on the same validation photos every time. Before the last step the best weights become the model,
        after it the last ones do, unless the best ones are clearly better."""
        assert isinstance(network, RFCN)
        network = plain(network)
        if self.kept:
            network = self._with_rare_new_classes(network)
        labels = self.data.dataset
        model = Model(
            network, self.recipe.model, labels.class_names, {}, self.extra_background_classes, labels.class_ids
        )
        truth, detections = self._detect(model)
        result = voc_average_precision(truth, detections)
        # The 11 points of a few photos depend on the best tenth of the detections alone; the area tells more.
        area = voc_average_precision(truth, detections, "voc10")
        score, mean_ap = (0.0 if math.isnan(r.mean_ap) else r.mean_ap for r in (area, result))
        history = read_history(out)
        best = max((value for step, value in history.items() if step != metadata["steps"]), default=-1.0)
        # Of equally good weights the later ones, which have seen more photos.
        if score >= best or (last and not self._is_clearly_better(load_model(out / MODEL), truth, detections)):
            count = len(truth.image_ids)
            metric = "image labels" if self.recipe.data.labels == "image" else result.metric
            metadata |= {"mAP": round(mean_ap, 4), "metric": metric, "split": "val", "images": count}
            save_model(dataclasses.replace(model, metadata=metadata), out / MODEL)
        history[metadata["steps"]] = score
        with atomic_write(out / HISTORY) as temporary:
            temporary.write_text(json.dumps(history))
        precision, recall = result.at_score(0.5)
        return {
            "mAP": mean_ap,
            "precision at 0.5": precision,
            "recall at 0.5": recall,
            "images": len(truth.image_ids),
        }

    def _with_rare_new_classes(self, network: RFCN) -> RFCN:
        """A copy whose new classes have lower logits. The photos show them far more often than others do, where they
        would take the score of the old classes that they resemble (prior shift: Saerens et al., 2002). All log-odds of
        a new class fall by one number, so its detections keep their order."""
        network = copy.deepcopy(network)
        scores, _ = network.split_maps(network.score_conv.get_parameter("bias").detach(), dim=0)  # views
        scores[:, 1 + len(self.start.class_names) :] += _NEW_CLASS_LOG_PRIOR
        return network

    def _detect(self, model: Model) -> tuple[GroundTruth, DetectionTable]:
        detector = DetectionPipeline(model, str(next(self.network.parameters()).device))
        count = min(len(self.val), self.recipe.data.eval_limit)
        deadline = self.budget.deadline(closing=True)
        return detect_proposed(detector, self.val, count, deadline, self.recipe.data.labels)

    def _is_clearly_better(self, saved: Model, truth: GroundTruth, detections: DetectionTable) -> bool:
        """Whether a saved model is better than the one that gave `detections`, by more than other photos, or one more
        detected object, could change. False if time ends the evaluation early."""
        saved_truth, saved_detections = self._detect(saved)
        if saved_truth.image_ids != truth.image_ids:
            return False
        compared = compare(truth, saved_detections, detections, "voc10")
        objects = [count for count in compared.objects.values() if count]
        return bool(objects) and compared.difference.high[-1] < -1 / (len(objects) * min(objects))


def read_history(out: Path) -> dict[int, float]:
    """mAP (by area) of each evaluation so far, by step."""
    try:
        return {int(step): float(value) for step, value in json.loads((out / HISTORY).read_text()).items()}
    except (OSError, ValueError, AttributeError):
        return {}
