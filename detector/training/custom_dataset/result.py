"""What a training on a custom data set gave."""

import math
from dataclasses import dataclass
from pathlib import Path

from detector.data.faults import Fault
from detector.evaluation.metrics.voc import APResult
from detector.training.custom_dataset.split import join_names
from detector.training.recipes import Labels

_FEW_OBJECTS = 10
"""Validation objects of a class, below which one object can change the AP by more than ten points."""
_STILL_RISING = 1.0
"""mAP that the last two fifths of a training must bring for more steps to be worth their time."""


@dataclass(frozen=True, eq=False)
class FitResult:
    """The result of a training.

    Attributes:
        model: the model file.
        sheet: a picture of hits and misses.
        result: of the model on the validation photos.
        evaluated: number of validation photos that there was time to evaluate, and of all.
        score: lowest score to show, that of the best F1 on the validation photos; None without detections.
        calibration: how the scores are calibrated, or why they are not.
        photo: a validation photo, to try the model on.
        left_out: photos that could not be used, and why.
        minutes: time of the training, over all its sessions.
        history: mAP (by area) of each evaluation during the training, by step.
        warning: about a training that was too short; otherwise "".
        labels: "image" if only which classes a photo shows is known, and compared.
    """

    model: Path
    sheet: Path
    result: APResult
    evaluated: tuple[int, int]
    score: float | None
    calibration: str
    photo: Path
    left_out: tuple[Fault, ...]
    minutes: float
    history: dict[int, float]
    warning: str
    labels: Labels = "boxes"

    def __str__(self) -> str:
        width = max(len(name) for name in self.result.classes)
        classes = {name: result for name, result in self.result.classes.items() if result.objects}
        few = [name for name, result in classes.items() if result.objects < _FEW_OBJECTS]
        photos, val = self.evaluated
        metric = "which classes they show" if self.labels == "image" else "VOC07's 11 points, IoU 0.5"
        metric += f", {photos} of {val} for lack of time" if photos < val else ""
        lines = [
            f"mAP          {100 * self.result.mean_ap:.1f} on the validation photos ({metric})",
            *(
                f"  {name:{width}}  AP {100 * result.ap:5.1f}, {result.objects} object{'s' * (result.objects != 1)}"
                for name, result in classes.items()
            ),
            few and f"note         AP is uncertain with fewer than {_FEW_OBJECTS} objects: {join_names(few)}",
            f"at score 0.5 {self._precision_recall(0.5)}",
            self.score is not None and f"best F1      at score {self.score:g}: {self._precision_recall(self.score)}",
            f"scores       {self.calibration}",
            f"trained      {self.minutes:.1f} minutes",
            self._progress(),
            f"hits, misses {self.sheet}",
            f"model        {self.model}",
            self.warning and f"warning      {self.warning}",
        ]
        return "\n".join(line for line in lines if line)

    def _progress(self) -> str:
        """How the mAP rose, and whether it would go on rising; "" after fewer than two evaluations."""
        steps = sorted(self.history)
        if len(steps) < 2:
            return ""
        course = ", ".join(f"{100 * self.history[step]:.1f}" for step in steps)
        middle = max((step for step in steps if step <= 0.6 * steps[-1]), default=steps[0])
        gained = 100 * (self.history[steps[-1]] - self.history[middle])
        longer = (
            "a longer training will find more" if gained > _STILL_RISING else "a longer training will hardly find more"
        )
        return f"progress     {course} mAP (by area) up to step {steps[-1]}: {longer}"

    def _precision_recall(self, score: float) -> str:
        precision, recall = self.result.at_score(score)
        return "no detections" if math.isnan(precision) else f"precision {precision:.2f}, recall {recall:.2f}"
