"""Fine-tuning of a trained region classifier on a user's photos; the best weights by the held-back ones are kept."""

import dataclasses
import json
import logging
import math
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from detector.errors import InputError
from detector.evaluation.calibration import fit_calibration
from detector.evaluation.voc import VOCResult, voc_average_precision
from detector.network import RegionClassifier
from detector.pipeline import Detector
from detector.training.data import ProposedImages
from detector.training.own_data.split import PhotoSet
from detector.training.own_data.transfer import match_classes, transfer_weights
from detector.training.parts import Part
from detector.training.recipes import Recipe
from detector.training.regions import RegionTask, detect_proposed
from detector.weights import Model, save_model
from proposals.files import atomic_write

log = logging.getLogger(__name__)

MODEL = "model.safetensors"
HISTORY = "history.json"
_CALIBRATING = 30
"""Right and wrong detections that a calibration of its own needs at least; with fewer the starting model's serves."""
_WITHOUT = 0.2
"""Part of the held-back photos that has to be without objects for it: where all show one, scores seem too good."""


class OwnDataTask(RegionTask):
    """Trains a copy of a model on other classes.

    Args:
        recipe: of the plan.
        start: the model to start from.
        data, held_back: photos whose proposals are in the cache.
    """

    several_processes = False
    workers = False  # photos that fail are remembered

    def __init__(
        self, recipe: Recipe, start: Model, data: ProposedImages[PhotoSet], held_back: ProposedImages[PhotoSet]
    ) -> None:
        self.start = start
        self.others = match_classes(data.dataset.class_names, start).others
        super().__init__(recipe, data, held_back, len(self.others))
        kept = len(data.dataset.class_names) + 1
        for parameter in self.network.maps.parameters():
            parameter.register_hook(lambda gradient: self._without_others(gradient, kept))
        self.failed: dict[Path, str] = {}  # photos that could be read before the training, and then not

    def _without_others(self, gradient: Tensor, kept: int) -> Tensor:
        """The other classes stay as they are: photos that show none of them can only unteach them."""
        votes = gradient.view(self.network.bins**2, -1, *gradient.shape[1:]).clone()
        votes[:, kept : kept + len(self.others)] = 0
        return votes.view_as(gradient)

    def initialise(self, init: Path | None) -> None:
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

    def evaluate(self, network: nn.Module, facts: dict[str, Any], out: Path, last: bool) -> dict[str, float]:
        """Judges by held-back photos, always the same; writes the model if it is the best of the run."""
        assert isinstance(network, RegionClassifier)
        count = min(len(self.held_back), self.recipe.data.eval_limit)
        labels = self.data.dataset
        model = Model(network, self.recipe.model, labels.class_names, {}, self.others, labels.class_ids)
        found = detect_proposed(Detector(model, str(network.mean.device)), self.held_back, count)
        result = voc_average_precision(*found)
        # of few photos the 11 points see nothing beyond the tenth best; the area tells more
        score, mean_ap = (
            0.0 if math.isnan(one.mean_ap) else one.mean_ap for one in (voc_average_precision(*found, "voc10"), result)
        )
        history = read_history(out)
        before = max((value for step, value in history.items() if step != facts["steps"]), default=-1.0)
        if score >= before:  # of equal ones the later, which has seen more
            facts |= {"mAP": round(mean_ap, 4), "metric": result.metric, "split": "held back", "images": count}
            save_model(dataclasses.replace(model, config=self.calibrated(result), facts=facts), out / MODEL)
        history[facts["steps"]] = score
        with atomic_write(out / HISTORY) as temporary:
            temporary.write_text(json.dumps(history))
        precision, recall = result.at_score(0.5)
        return {"mAP": mean_ap, "precision at 0.5": precision, "recall at 0.5": recall, "images": count}

    def calibrated(self, result: VOCResult) -> Any:
        """The model's configuration with scores that say how often a detection is right."""
        right = sum(int(one.true_positive.sum()) for one in result.classes.values())
        wrong = sum(len(one.true_positive) for one in result.classes.values()) - right
        samples = self.held_back.dataset.samples
        without = sum(not len(sample.annotations) for sample in samples) / len(samples)
        if min(right, wrong) < _CALIBRATING or without < _WITHOUT:
            return self.recipe.model
        post = self.recipe.model.postprocess
        post = dataclasses.replace(post, calibration=fit_calibration(result, post.calibration))
        return dataclasses.replace(self.recipe.model, postprocess=post)


def read_history(out: Path) -> dict[int, float]:
    """mAP (by area) by step of the evaluations of a run so far."""
    try:
        return {int(step): float(value) for step, value in json.loads((out / HISTORY).read_text()).items()}
    except (OSError, ValueError, AttributeError):
        return {}
