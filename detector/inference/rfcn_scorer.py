"""From the boxes of an image to their class scores and box_deltas, by a model of either kind."""

import copy
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from detector.config import InputConfig, ModelConfig, RCNNConfig
from detector.errors import InputError
from detector.inference.engines import Engine, make_engine
from detector.inference.rcnn_scorer import RCNNScorer
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


class ImageFeatures(Protocol):
    """An image as a model has seen it: what boxes share is computed once."""

    def score(self, boxes: Tensor) -> RegionScores:
        """Scores of boxes (R, 4), float32 xyxy in pixels of the image, on the model's device."""
        ...


class RegionScorer(Protocol):
    """A model, ready to score boxes: of one image (`encode`) or of several (`prepare`, `encode_batch`, `score`)."""

    @property
    def network(self) -> nn.Module: ...

    @property
    def config(self) -> ModelConfig | RCNNConfig: ...

    def encode(self, image: Image) -> ImageFeatures:
        """Looks at an image, before boxes of it are judged."""
        ...

    def prepare(self, image: Image) -> np.ndarray:
        """(h, w, 3) uint8: the pixels that the network is given. Needs no network; any thread may do it."""
        ...

    def encode_batch(self, images: Sequence[Image], inputs: Sequence[np.ndarray]) -> list[Any]:
        """The views of images, of which `inputs` are prepared."""
        ...

    def score(self, views: Sequence[Any], boxes: Sequence[Tensor]) -> list[RegionScores]:
        """Scores of boxes (R_i, 4) of each of the views, as `ImageFeatures.score` gives them for one."""
        ...


def make_scorer(model: Model, device: torch.device, dtype: torch.dtype, engine: str = "torch") -> RegionScorer:
    """The scorer for a model of either kind; the model itself is left as it is.

    Args:
        engine: what runs the pass over the image (`detector.inference.engines.make_engine`).

    Raises:
        InputError: the model cannot detect, or the engine cannot run it.
    """
    network, config = copy.deepcopy(model.network).eval().requires_grad_(False).to(device), model.config
    if isinstance(network, RFCN) and isinstance(config, ModelConfig):
        return RFCNScorer(network, config, make_engine(engine, model, network, dtype))
    if isinstance(network, RCNN) and isinstance(config, RCNNConfig):
        if config.head != "softmax" and not network.svm_weight.any():
            raise InputError("the model has no SVMs: its training did not come to its end; use head softmax")
        if engine != "torch":
            raise InputError(f"engine {engine} is for models for regions; this one sees crops, which torch runs")
        return RCNNScorer(network, config, dtype)
    raise InputError(f"a model for {model.kind} cannot detect; give one for regions or crops")


class RFCNScorer:
    """Judges boxes by one pass of the network over the whole image.

    Args:
        mirrored: whether the network sees images mirrored left to right.
    """

    def __init__(self, network: RFCN, config: ModelConfig, engine: Engine, flipped: bool = False) -> None:
        self.network, self.config, self.engine, self.flipped = network, config, engine, flipped

    def variant(self, short_side: int, flipped: bool) -> "RFCNScorer":
        """The same network with another input."""
        inputs = self.config.input
        long_side = round(inputs.long_side * short_side / inputs.short_side)
        changed = replace(self.config, input=InputConfig(short_side, long_side))
        return RFCNScorer(self.network, changed, self.engine, flipped)

    def encode(self, image: Image) -> "RFCNFeatures":
        """One pass of the backbone."""
        return self.encode_batch([image], [self.prepare(image)])[0]

    def prepare(self, image: Image) -> np.ndarray:
        """The image in the network's input size."""
        wanted = input_size(image.width, image.height, self.config.input.short_side, self.config.input.long_side)
        pixels = resize(image.pixels, wanted)
        return np.ascontiguousarray(pixels[:, ::-1] if self.flipped else pixels)

    @torch.inference_mode()
    def encode_batch(self, images: Sequence[Image], inputs: Sequence[np.ndarray]) -> list["RFCNFeatures"]:
        """One pass of the backbone for all images whose inputs have the same size."""
        device = self.network.mean.device
        views = {}
        for members in _alike([one.shape for one in inputs]):
            pixels = inputs[members[0]][None] if len(members) == 1 else np.stack([inputs[i] for i in members])
            maps = self.engine(upload(torch.from_numpy(pixels), device).permute(0, 3, 1, 2))
            for place, i in enumerate(members):
                size = (images[i].width, images[i].height)
                scale = torch.from_numpy(box_scale(size, (pixels.shape[2], pixels.shape[1])))
                views[i] = RFCNFeatures(self, size, upload(scale, device), maps, place)
        return [views[i] for i in range(len(inputs))]

    @torch.inference_mode()
    def score(self, views: Sequence["RFCNFeatures"], boxes: Sequence[Tensor]) -> list[RegionScores]:
        """The boxes of all images of a pass are judged together."""
        scored: dict[int, RegionScores] = {}
        for members in _alike([id(view.batch) for view in views]):
            own = [self._mirror(boxes[i], views[i].image_size[0]) * views[i].scale for i in members]
            regions = RoIs.of_images(own, [views[i].place for i in members])
            predictions = self.network.classify(views[members[0]].batch.score_maps, regions)
            log_odds = predictions.class_logits.softmax(dim=1)[:, 1:].logit(eps=1e-6)
            scores = calibrate(log_odds, self.config.postprocess.calibration)
            counts, box_deltas = [len(boxes[i]) for i in members], predictions.box_deltas[:, None]
            if self.flipped:
                box_deltas = torch.cat((-box_deltas[..., :1], box_deltas[..., 1:]), dim=-1)
            parts = zip(members, scores.split(counts), box_deltas.split(counts), strict=True)
            scored |= {i: RegionScores(own, box_deltas) for i, own, box_deltas in parts}
        return [scored[i] for i in range(len(views))]

    def _mirror(self, boxes: Tensor, width: int) -> Tensor:
        """Boxes (R, 4) of an image of that width, as the network sees it."""
        if not self.flipped:
            return boxes
        x1, y1, x2, y2 = boxes.unbind(1)
        return torch.stack((width - x2, y1, width - x1, y2), dim=1)

    @torch.inference_mode()
    def propose(self, views: Sequence["RFCNFeatures"], limit: int) -> list[Proposals]:
        """The most confident boxes of the model's MultiBox head for each view, at most `limit` an image.

        Raises:
            InputError: the model has no such head.
        """
        head = self.network.multibox
        if head is None:
            raise InputError("the model has no MultiBox head; use Selective Search")
        proposals = {}
        for members in _alike([id(view.batch) for view in views]):
            found = head(views[members[0]].batch.features.to(head.reduce.weight.dtype))
            # (B, K, 5), brought to the CPU in one transfer
            rows = torch.cat((head.boxes(found.box_deltas), found.logits[..., None]), dim=2).cpu()
            for i in members:
                own, size = rows[views[i].place], views[i].image_size
                proposals[i] = to_proposals(own[:, :4], own[:, 4], size, head.config.nms_iou, limit)
        return [proposals[i] for i in range(len(views))]


@dataclass(frozen=True)
class RFCNFeatures:
    """An image after the backbone's pass.

    Attributes:
        image_size: (width, height) in pixels.
        scale: (4,) by which boxes are multiplied to lie on the network's input.
        batch: maps of the network, for all images of the pass.
        place: of this image among them.
    """

    scorer: RFCNScorer
    image_size: tuple[int, int]
    scale: Tensor
    batch: ImageMaps
    place: int

    @property
    def maps(self) -> ImageMaps:
        """The maps for this one image."""
        own = slice(self.place, self.place + 1)
        return ImageMaps(self.batch.features[own], self.batch.score_maps[own])

    def score(self, boxes: Tensor) -> RegionScores:
        return self.scorer.score([self], [boxes])[0]

    def propose(self, limit: int) -> Proposals:
        """As `RFCNScorer.propose`."""
        return self.scorer.propose([self], limit)[0]


def _alike(keys: Sequence[Hashable]) -> list[list[int]]:
    """The places of equal keys, for each key that there is."""
    places: dict[Hashable, list[int]] = {}
    for place, key in enumerate(keys):
        places.setdefault(key, []).append(place)
    return list(places.values())
