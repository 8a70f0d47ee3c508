"""Training of the region classifier with shared computation: one image a step, its hardest regions."""

import dataclasses
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from detector.data.ground_truth import GroundTruth
from detector.data.voc import VOCDataset
from detector.evaluation.calibration import fit_calibration
from detector.evaluation.coverage import evaluate_proposals
from detector.evaluation.predictions import LOWEST_SCORE
from detector.evaluation.table import DetectionTable
from detector.evaluation.voc import VOCResult, voc_average_precision
from detector.multibox import SharedMultiBox
from detector.network import RegionClassifier
from detector.pipeline import Detector, first_with_multibox
from detector.regions import Regions
from detector.training.data import ProposedImages, sample_index
from detector.training.examples import Example, make_example
from detector.training.initial import initialise_backbone
from detector.training.loop import Task
from detector.training.objects import BUDGETS, recall_at_budgets, relative_objects, set_priors
from detector.training.recipes import Recipe
from detector.training.targets import hardest, match_regions, region_losses
from detector.weights import Model, save_model
from proposals import SelectiveSearch
from proposals.multibox.loss import multibox_loss


class RegionTask(Task[Example]):
    """Trains a region classifier.

    Args:
        recipe: what to do.
        data, held_back: the images to train on, and those to judge by.
        others: number of further classes that count as background (`RegionClassifier`).
    """

    network: RegionClassifier
    head = ("multibox",)

    def __init__(
        self, recipe: Recipe, data: ProposedImages[Any], held_back: ProposedImages[Any], others: int = 0
    ) -> None:
        self.recipe: Recipe = recipe
        self.data, self.held_back = data, held_back
        torch.manual_seed(recipe.seed)
        self.network = RegionClassifier(len(self.data.dataset.class_names), recipe.model.network, others)
        self.network.trunk.freeze_stem()

    def initialise(self, init: Path | None) -> None:
        initialise_backbone(self.network, self.network.trunk, init)
        if self.network.multibox is not None:
            set_priors(self.network.multibox, self.data.dataset, self.recipe.seed)

    def prepare(self) -> None:
        self.data.fill()

    def example(self, step: int) -> Example:
        return self.example_of(sample_index(self.recipe.seed, step, len(self.data)), step)

    def example_of(self, index: int, step: int) -> Example:
        """The example that a step makes of an image."""
        seed = self.recipe.seed
        image, proposals, annotations = self.data[index]
        inputs, augmentation = self.recipe.model.input, self.recipe.augmentation
        return make_example(image.pixels, proposals.boxes, annotations, inputs, augmentation, seed, step)

    def backward(self, model: nn.Module, example: Example, autocast: AbstractContextManager[None]) -> dict[str, float]:
        count = self.recipe.hard_regions
        device = self.network.mean.device
        regions = Regions.of_images([example.regions.to(device)])
        targets = match_regions(
            regions.boxes, example.objects.to(device), example.labels.to(device), example.difficult.to(device)
        )
        with autocast:
            features = self.network.features(example.image[None].to(device))
            maps = self.network.vote_maps(features)
            with torch.no_grad():  # score every region, train only the hardest
                losses = region_losses(self.network.classify(maps, regions), targets)
            chosen = hardest(losses.total, regions, count)
            predictions = self.network.classify(maps, regions[chosen])
        losses = region_losses(predictions, targets[chosen])
        classification, offsets = losses.classification.sum() / count, losses.offsets.sum() / count
        loss = classification + offsets
        numbers = {"classes": classification.item(), "offsets": offsets.item()}
        if self.network.multibox is not None:
            config = self.recipe.multibox
            height, width = example.image.shape[1:]
            truth = relative_objects(example.objects.to(device), example.difficult.to(device), width, height)
            with autocast:
                found = self.network.multibox(features if config.trunk else features.detach())
            proposed = multibox_loss(self.network.multibox, found, [truth], config.loss)
            loss = loss + config.weight * proposed.total
            numbers |= {"boxes": proposed.boxes.item(), "confidences": proposed.confidences.item()}
        loss.backward()
        return {"loss": loss.item(), **numbers}

    def evaluate(self, network: nn.Module, facts: dict[str, Any], out: Path, last: bool) -> dict[str, float]:
        """Evaluates on the first held-back images, after the last step on all; writes the calibrated model."""
        assert isinstance(network, RegionClassifier)
        count = len(self.held_back) if last else min(len(self.held_back), self.recipe.data.eval_limit)
        model = Model(network, self.recipe.model, self.data.dataset.class_names, {})
        detector = Detector(model, str(network.mean.device))
        result = evaluate_proposed(detector, self.held_back, count)
        recalls = {} if network.multibox is None else multibox_recall(detector, self.held_back.dataset.first(count))
        precision, recall = result.at_score(0.5)
        facts |= {
            "mAP": round(result.mean_ap, 4),
            "metric": result.metric,
            "split": self.recipe.data.eval_split,
            "images": count,
            **{name: round(value, 4) for name, value in recalls.items()},
        }
        post = dataclasses.replace(self.recipe.model.postprocess, calibration=fit_calibration(result))
        config = dataclasses.replace(self.recipe.model, postprocess=post)
        save_model(dataclasses.replace(model, config=config, facts=facts), out / "model.safetensors")
        judged = {"mAP": result.mean_ap, "precision at 0.5": precision, "recall at 0.5": recall}
        return {**judged, **recalls, "images": count}


def multibox_recall(detector: Detector, dataset: VOCDataset) -> dict[str, float]:
    """Recall of the detector's MultiBox head on a data set, at numbers of boxes."""
    proposer = SharedMultiBox(first_with_multibox(detector.scorers), max(BUDGETS))
    return recall_at_budgets(evaluate_proposals(proposer, dataset))


def evaluate_proposed(detector: Detector, images: ProposedImages[Any], count: int) -> VOCResult:
    """VOC07 average precision on the first `count` images; Selective Search's proposals are the cached ones."""
    return voc_average_precision(*detect_proposed(detector, images, count))


def detect_proposed(
    detector: Detector, images: ProposedImages[Any], count: int
) -> tuple[GroundTruth, DetectionTable]:
    """The objects of the first `count` images, and what is detected there among the cached proposals."""
    truth, found = [], []
    for index in range(count):
        image, proposals, annotations = images[index]
        truth.append(annotations)
        if isinstance(detector.proposer, SelectiveSearch):
            found.append(detector.detect_proposals(image, proposals, LOWEST_SCORE))
        else:
            found.append(detector.detect(image, LOWEST_SCORE))
    objects = GroundTruth.from_annotations(images.dataset.ids[: len(truth)], truth, images.dataset.class_names)
    return objects, DetectionTable.from_detections(objects, found)
