"""Detection of classes without boxes: a detector finds regions, an ImageNet classifier names them.

The score of a class in a region is the classifier's probability of it, from the mean of the features in the region,
times the objectness that the detector gives the region: the probability that it is no background and nothing that
the classifier cannot name. Detectors were made from ImageNet's labels of whole images before: Hoffman et al., LSDA,
2014; Redmon and Farhadi, YOLO9000, 2017.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from detector.config import RegionClassifierConfig
from detector.models.backbones import make_backbone
from detector.models.classifier import ImageClassifier
from detector.models.synsets import SynsetClasses
from detector.ops.devices import upload, without_denormals
from detector.ops.fused import freeze
from detector.ops.mean_pool import mean_pool
from detector.ops.transforms import box_scale, input_size, normalize, resize
from detector.structures.class_names import same_classes
from detector.structures.image import Image
from detector.structures.region_scores import RegionScores, average_scores, calibrate

_LONGEST = 2.25
"""Most times that the classifier's input is longer than wide or the other way round."""


class ClassifierScorer:
    """Names boxes by a classifier, with one pass of its dense backbone over the whole image.

    The methods are those of `detector.inference.rfcn_scorer.RFCNScorer`; the scores are probabilities of the classes in
    boxes that show one of the classifier's classes, and there are no box deltas.

    Args:
        network: classifies whole images.
        backbone: the name of its backbone.
        classes: the classes that the scores are for.
        dtype: number format of the backbone.
    """

    def __init__(
        self,
        network: ImageClassifier,
        backbone: str,
        config: RegionClassifierConfig,
        classes: SynsetClasses,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        dense = make_backbone(backbone, dense=True)
        dense.load_state_dict(network.backbone.state_dict())
        self.network = ImageClassifier(network.num_classes, dense)
        self.network.classifier.load_state_dict(network.classifier.state_dict())
        self.network.eval().requires_grad_(False).to(device)
        self.network.backbone.to(dtype).to(memory_format=torch.channels_last)
        freeze(self.network.backbone)
        self.config, self.dtype = config, dtype
        members = torch.zeros(network.num_classes, len(classes.names))
        for label, indices in enumerate(classes.members):
            members[list(indices), label] = 1
        self._members = members.to(device)

    def encode(self, image: Image) -> "ClassifierFeatures":
        """Runs the backbone over one image."""
        return self.encode_batch([image], [self.prepare(image)])[0]

    def prepare(self, image: Image) -> np.ndarray:
        """The network's input, (h, w, 3) uint8."""
        return _resized(image, self.config.short_side)

    @torch.inference_mode()
    @without_denormals()
    def encode_batch(self, images: Sequence[Image], inputs: Sequence[np.ndarray]) -> list["ClassifierFeatures"]:
        """Runs the backbone over several images, one by one.

        Args:
            inputs: of the images, from `prepare`.
        """
        features = []
        for image, pixels in zip(images, inputs, strict=True):
            maps, photo = self._maps(pixels), None
            if self.config.photo_side is not None:
                mean = self._maps(_resized(image, self.config.photo_side)).mean(dim=(1, 2))
                photo = self.network.classifier(mean).softmax(dim=0) @ self._members
            scale = torch.from_numpy(box_scale((image.width, image.height), (pixels.shape[1], pixels.shape[0])))
            features.append(ClassifierFeatures(self, maps, upload(scale, maps.device), photo))
        return features

    def _maps(self, pixels: np.ndarray) -> Tensor:
        x = upload(torch.from_numpy(np.ascontiguousarray(pixels))[None], self.network.mean.device).permute(0, 3, 1, 2)
        x = normalize(x.float(), self.network.mean, self.network.std).to(self.dtype)
        return self.network.backbone(x)[0].float()

    @torch.inference_mode()
    def score(self, features: Sequence["ClassifierFeatures"], boxes: Sequence[Tensor]) -> list[RegionScores]:
        """Class probabilities of boxes (R_i, 4) of each image, float32 xyxy pixels of the image."""
        backbone, scored = self.network.backbone, []
        for image, image_boxes in zip(features, boxes, strict=True):
            pooled = mean_pool(image.maps, image_boxes * image.scale, backbone.stride, backbone.offset)
            probabilities = self.network.classifier(pooled).softmax(dim=1)
            scored.append(RegionScores(probabilities @ self._members, None, image.photo))
        return scored


@dataclass(frozen=True)
class ClassifierFeatures:
    """An image after the classifier's pass.

    Attributes:
        maps: (C, h, w) float32 features.
        scale: (4,) factors that scale xyxy boxes of the image to the network's input.
        photo: (num_classes,) probabilities of the classes in the whole image, with `photo_side`.
    """

    scorer: ClassifierScorer
    maps: Tensor
    scale: Tensor
    photo: Tensor | None

    def score(self, boxes: Tensor) -> RegionScores:
        """Class probabilities of boxes (R, 4), float32 xyxy pixels of the image, on the network's device."""
        return self.scorer.score([self], [boxes])[0]


class ClassTransfer:
    """Joins the scores of a detector's models with the class probabilities of a `ClassifierScorer`.

    Args:
        detector_classes: names of the classes of the detector's models.
        detector_calibration: of the detector's scores, which come without it.
    """

    def __init__(
        self,
        config: RegionClassifierConfig,
        classes: SynsetClasses,
        detector_classes: Sequence[str],
        detector_calibration: tuple[float, float],
    ) -> None:
        self.config, self.classes, self.detector_calibration = config, classes, detector_calibration
        self.nameable = [i for i, name in enumerate(detector_classes) if name not in config.unnamed]
        same = same_classes(classes.names, detector_classes) if config.own_scores else {}
        self.own = [classes.names.index(name) for name in same]
        self.detector_labels = [list(detector_classes).index(name) for name in same.values()]

    def __call__(self, members: Sequence[RegionScores]) -> RegionScores:
        """The scores of an image's regions.

        Args:
            members: of the detector's models, softmax over their classes and the background without calibration, and
                last of the classifier.
        """
        *detectors, named = members
        detected = average_scores(detectors)
        objectness = detected.scores[:, self.nameable].sum(dim=1, keepdim=True).clamp(max=1)
        scores = named.scores * objectness**self.config.objectness_power
        if named.photo is not None and len(scores):
            scores = named.photo * scores / scores.amax(dim=0).clamp(min=1e-30)
        scores = calibrate(scores.logit(eps=1e-6), self.config.calibration)
        own = detected.scores[:, self.detector_labels].logit(eps=1e-6)
        scores[:, self.own] = calibrate(own, self.detector_calibration)
        return RegionScores(scores, detected.box_deltas)


def _resized(image: Image, side: int) -> np.ndarray:
    return resize(image.pixels, input_size(image.width, image.height, side, _LONGEST * side))
