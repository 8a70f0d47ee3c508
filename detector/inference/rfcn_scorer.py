"""R-FCN: class scores and box deltas of boxes, from one pass of the network over the image."""

import copy
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from detector.config import InputConfig, ModelConfig, RCNNConfig
from detector.errors import InputError
from detector.inference.class_transfer import ClassifierFeatures, ClassifierScorer
from detector.inference.engines import Engine, make_engine
from detector.inference.rcnn_scorer import RCNNFeatures, RCNNScorer
from detector.models.rcnn import RCNN
from detector.models.rfcn import RFCN, ImageMaps
from detector.models.weights import Model
from detector.ops.devices import upload
from detector.ops.transforms import box_scale, input_size, resize
from detector.structures.image import Image
from detector.structures.region_scores import RegionScores, calibrate
from detector.structures.rois import RoIs
from proposals import Proposals
from proposals.multibox.proposer import to_proposals


class RFCNScorer:
    """Scores boxes with one pass of the network over the whole image.

    Args:
        network: in evaluation mode, on its device.
        config: of the model.
        engine: runs the network's pass over images.
        flipped: whether the network is given the images mirrored left to right.
    """

    def __init__(self, network: RFCN, config: ModelConfig, engine: Engine, flipped: bool = False) -> None:
        self.network, self.config, self.engine, self.flipped = network, config, engine, flipped

    def with_input(self, short_side: int, flipped: bool) -> "RFCNScorer":
        """The same network on inputs of another size (short side in pixels) or mirrored."""
        inputs = self.config.input
        long_side = round(inputs.long_side * short_side / inputs.short_side)
        config = replace(self.config, input=InputConfig(short_side, long_side))
        return RFCNScorer(self.network, config, self.engine, flipped)

    def encode(self, image: Image) -> "RFCNFeatures":
        """Runs the network over one image."""
        return self.encode_batch([image], [self.prepare(image)])[0]

    def prepare(self, image: Image) -> np.ndarray:
        """The network's input, (h, w, 3) uint8. Runs no network; any thread may call it."""
        size = input_size(image.width, image.height, self.config.input.short_side, self.config.input.long_side)
        pixels = resize(image.pixels, size)
        return np.ascontiguousarray(pixels[:, ::-1] if self.flipped else pixels)

    @torch.inference_mode()
    def encode_batch(self, images: Sequence[Image], inputs: Sequence[np.ndarray]) -> list["RFCNFeatures"]:
        """Runs the network over several images; those with inputs of one size pass it together.

        Args:
            inputs: of the images, from `prepare`.
        """
        device = self.network.mean.device
        features = {}
        for group in _group_indices([pixels.shape for pixels in inputs]):
            pixels = inputs[group[0]][None] if len(group) == 1 else np.stack([inputs[i] for i in group])
            maps = self.engine(upload(torch.from_numpy(pixels), device).permute(0, 3, 1, 2))
            for index, i in enumerate(group):
                size = (images[i].width, images[i].height)
                scale = torch.from_numpy(box_scale(size, (pixels.shape[2], pixels.shape[1])))
                features[i] = RFCNFeatures(self, size, upload(scale, device), maps, index)
        return [features[i] for i in range(len(inputs))]

    @torch.inference_mode()
    def score(self, features: Sequence["RFCNFeatures"], boxes: Sequence[Tensor]) -> list[RegionScores]:
        """Scores boxes of several images; those of images that passed the network together are pooled together.

        Args:
            boxes: (R_i, 4) of each image, float32 xyxy pixels of the image, on the network's device.
        """
        scored: dict[int, RegionScores] = {}
        for group in _group_indices([id(image.batch_maps) for image in features]):
            scaled = [self._flip(boxes[i], features[i].image_size[0]) * features[i].scale for i in group]
            rois = RoIs.of_images(scaled, [features[i].index for i in group])
            predictions = self.network.classify(features[group[0]].batch_maps.score_maps, rois)
            log_odds = predictions.class_logits.softmax(dim=1)[:, 1:].logit(eps=1e-6)
            post = self.config.postprocess
            scores = calibrate(log_odds, post.calibration, post.class_calibrations)
            counts, box_deltas = [len(boxes[i]) for i in group], predictions.box_deltas[:, None]
            if self.flipped:
                box_deltas = torch.cat((-box_deltas[..., :1], box_deltas[..., 1:]), dim=-1)
            scored |= zip(group, map(RegionScores, scores.split(counts), box_deltas.split(counts)), strict=True)
        return [scored[i] for i in range(len(features))]

    def _flip(self, boxes: Tensor, width: int) -> Tensor:
        """Boxes (R, 4) of an image `width` pixels wide where they lie in the network's input, mirrored if that is."""
        if not self.flipped:
            return boxes
        x1, y1, x2, y2 = boxes.unbind(1)
        return torch.stack((width - x2, y1, width - x1, y2), dim=1)

    @torch.inference_mode()
    def propose(self, features: Sequence["RFCNFeatures"], limit: int) -> list[Proposals]:
        """The most confident boxes of the model's MultiBox head, at most `limit` per image.

        Raises:
            InputError: the model has no MultiBox head.
        """
        head = self.network.multibox
        if head is None:
            raise InputError("the model has no MultiBox head; use Selective Search")
        proposals = {}
        for group in _group_indices([id(image.batch_maps) for image in features]):
            predictions = head(features[group[0]].batch_maps.features.to(head.reduce.weight.dtype))
            # (B, K, 5), brought to the CPU in one transfer
            rows = torch.cat((head.boxes(predictions.box_deltas), predictions.logits[..., None]), dim=2).cpu()
            for i in group:
                boxes, confidences = rows[features[i].index].split((4, 1), dim=1)
                proposals[i] = to_proposals(
                    boxes, confidences[:, 0], features[i].image_size, head.config.nms_iou, limit
                )
        return [proposals[i] for i in range(len(features))]


@dataclass(frozen=True)
class RFCNFeatures:
    """An image after the network's pass.

    Attributes:
        image_size: (width, height) in pixels.
        scale: (4,) factors that scale xyxy boxes of the image to the network's input.
        batch_maps: the network's maps for all images of the pass.
        index: of this image in the pass.
    """

    scorer: RFCNScorer
    image_size: tuple[int, int]
    scale: Tensor
    batch_maps: ImageMaps
    index: int

    @property
    def maps(self) -> ImageMaps:
        """The maps of this image alone, a batch of one."""
        rows = slice(self.index, self.index + 1)
        return ImageMaps(self.batch_maps.features[rows], self.batch_maps.score_maps[rows])

    def score(self, boxes: Tensor) -> RegionScores:
        """Scores of boxes (R, 4), float32 xyxy pixels of the image, on the network's device."""
        return self.scorer.score([self], [boxes])[0]

    def propose(self, limit: int) -> Proposals:
        """MultiBox proposals, as `RFCNScorer.propose`."""
        return self.scorer.propose([self], limit)[0]


RegionScorer = RFCNScorer | RCNNScorer | ClassifierScorer
"""A model that is ready to score boxes."""
ImageFeatures = RFCNFeatures | RCNNFeatures | ClassifierFeatures
"""What the boxes of an image share, computed once."""


def make_scorer(model: Model, device: torch.device, dtype: torch.dtype, engine: str = "torch") -> RegionScorer:
    """The scorer of a model; it works on a copy of the network.

    Args:
        dtype: number format of the network.
        engine: runs the pass over the image (`detector.inference.engines.make_engine`).

    Raises:
        InputError: the model cannot detect, or the engine cannot run it.
    """
    network, config = copy.deepcopy(model.network).eval().requires_grad_(False).to(device), model.config
    if isinstance(network, RFCN) and isinstance(config, ModelConfig):
        return RFCNScorer(network, config, make_engine(engine, model, network, dtype))
    if isinstance(network, RCNN) and isinstance(config, RCNNConfig):
        if config.head != "softmax" and not network.svm_weight.any():
            raise InputError("the model has no SVMs because its training did not finish; use head softmax")
        if engine != "torch":
            raise InputError(f"engine {engine} runs R-FCN models only; use engine torch for an R-CNN on crops")
        return RCNNScorer(network, config, dtype)
    raise InputError(f"a model for {model.kind} cannot detect; give one for regions or crops")


def _group_indices(keys: Sequence[Hashable]) -> list[list[int]]:
    """Groups indices by equal keys, in the order in which the keys first appear."""
    groups: dict[Hashable, list[int]] = {}
    for index, key in enumerate(keys):
        groups.setdefault(key, []).append(index)
    return list(groups.values())
