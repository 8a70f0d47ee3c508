"""From the boxes of an image to their class scores and offsets, by one model or several."""

import copy
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, get_args

import numpy as np
import torch
from torch import Tensor, nn

from detector.config import CropConfig, InputConfig, ModelConfig, RCNNConfig, ScoringHead
from detector.crops import crop_windows, warp_windows
from detector.devices import upload
from detector.engines import Engine, ImageMaps, make_engine
from detector.errors import InputError
from detector.images import Image
from detector.network import RegionClassifier
from detector.rcnn import CropClassifier, CropFeatures
from detector.regions import Regions
from detector.transforms import box_scale, input_size, resize
from detector.weights import Model
from proposals import Proposals
from proposals.multibox.proposer import to_proposals


@dataclass(frozen=True)
class RegionScores:
    """What is known of R regions of an image.

    Attributes:
        scores: (R, num_classes) float32, 0..1: how sure it is that the region is an object of the class.
        offsets: (R, 1, 4) or (R, num_classes, 4) float32, whitened offsets from the region to the object
            (`proposals.boxes`), for all classes or for each; None: boxes stay as they are.
    """

    scores: Tensor
    offsets: Tensor | None


class ImageView(Protocol):
    """An image as a model has seen it: what boxes share is computed once."""

    def score(self, boxes: Tensor) -> RegionScores:
        """Scores of boxes (R, 4), float32 xyxy in pixels of the image, on the model's device."""
        ...


class RegionScorer(Protocol):
    """A model, ready to judge boxes: of one image (`view`), or of several at once (`prepare`, `look`, `score`)."""

    @property
    def network(self) -> nn.Module: ...

    @property
    def config(self) -> ModelConfig | RCNNConfig: ...

    def view(self, image: Image) -> ImageView:
        """Looks at an image, before boxes of it are judged."""
        ...

    def prepare(self, image: Image) -> np.ndarray:
        """(h, w, 3) uint8: the pixels that the network is given. Needs no network; any thread may do it."""
        ...

    def look(self, images: Sequence[Image], inputs: Sequence[np.ndarray]) -> list[Any]:
        """The views of images, of which `inputs` are prepared."""
        ...

    def score(self, views: Sequence[Any], boxes: Sequence[Tensor]) -> list[RegionScores]:
        """Scores of boxes (R_i, 4) of each of the views, as `ImageView.score` gives them for one."""
        ...


def make_scorer(model: Model, device: torch.device, dtype: torch.dtype, engine: str = "torch") -> RegionScorer:
    """The scorer for a model of either kind; the model itself is left as it is.

    Args:
        engine: what runs the pass over the image (`detector.engines.make_engine`).

    Raises:
        InputError: the model cannot detect, or the engine cannot run it.
    """
    network, config = copy.deepcopy(model.network).eval().requires_grad_(False).to(device), model.config
    if isinstance(network, RegionClassifier) and isinstance(config, ModelConfig):
        return SharedScorer(network, config, make_engine(engine, model, network, dtype))
    if isinstance(network, CropClassifier) and isinstance(config, RCNNConfig):
        if config.head != "softmax" and not network.svm_weight.any():
            raise InputError("the model has no SVMs: its training did not come to its end; use head softmax")
        if engine != "torch":
            raise InputError(f"engine {engine} is for models for regions; this one sees crops, which torch runs")
        return CropScorer(network, config, dtype)
    raise InputError(f"a model for {model.kind} cannot detect; give one for regions or crops")


def average_scores(members: Sequence[RegionScores]) -> RegionScores:
    """The ensemble of several models' scores of the same regions: the mean of the scores, as GoogLeNet's six networks
    were averaged for each region, and of the offsets of those that have any."""
    if len(members) == 1:
        return members[0]
    scores = torch.stack([m.scores for m in members]).mean(dim=0)
    classes = scores.shape[1]
    moved = [m.offsets.expand(-1, classes, 4) for m in members if m.offsets is not None]
    return RegionScores(scores, torch.stack(moved).mean(dim=0) if moved else None)


def fetch(scored: Sequence[RegionScores]) -> list[RegionScores]:
    """The scores of several images on the CPU. A GPU is waited for once, whatever their number."""
    if all(one.scores.device.type == "cpu" for one in scored):
        return list(scored)
    moved, classes = scored[0].offsets is not None, scored[0].scores.shape[1]
    rows = [one.scores if one.offsets is None else torch.cat((one.scores, one.offsets.flatten(1)), 1) for one in scored]
    counts = [len(own) for own in rows]
    return [
        RegionScores(own[:, :classes], own[:, classes:].unflatten(1, (-1, 4)) if moved else None)
        for own in torch.cat(rows).cpu().split(counts)
    ]


def calibrate(log_odds: Tensor, calibration: tuple[float, float]) -> Tensor:
    """Scores in 0..1 from log-odds or margins, by Platt scaling with (slope, offset)."""
    slope, shift = calibration
    return (slope * log_odds + shift).sigmoid()


class SharedScorer:
    """Judges boxes by one pass of the network over the whole image.

    Args:
        mirrored: whether the network sees images mirrored left to right.
    """

    def __init__(self, network: RegionClassifier, config: ModelConfig, engine: Engine, mirrored: bool = False) -> None:
        self.network, self.config, self.engine, self.mirrored = network, config, engine, mirrored

    def variant(self, short_side: int, mirrored: bool) -> "SharedScorer":
        """The same network with another input."""
        inputs = self.config.input
        long_side = round(inputs.long_side * short_side / inputs.short_side)
        changed = replace(self.config, input=InputConfig(short_side, long_side))
        return SharedScorer(self.network, changed, self.engine, mirrored)

    def view(self, image: Image) -> "SharedView":
        """One pass of the trunk."""
        return self.look([image], [self.prepare(image)])[0]

    def prepare(self, image: Image) -> np.ndarray:
        """The image in the network's input size."""
        wanted = input_size(image.width, image.height, self.config.input.short_side, self.config.input.long_side)
        pixels = resize(image.pixels, wanted)
        return np.ascontiguousarray(pixels[:, ::-1] if self.mirrored else pixels)

    @torch.inference_mode()
    def look(self, images: Sequence[Image], inputs: Sequence[np.ndarray]) -> list["SharedView"]:
        """One pass of the trunk for all images whose inputs have the same size."""
        device = self.network.mean.device
        views = {}
        for members in _alike([one.shape for one in inputs]):
            pixels = inputs[members[0]][None] if len(members) == 1 else np.stack([inputs[i] for i in members])
            maps = self.engine(upload(torch.from_numpy(pixels), device).permute(0, 3, 1, 2))
            for place, i in enumerate(members):
                size = (images[i].width, images[i].height)
                scale = torch.from_numpy(box_scale(size, (pixels.shape[2], pixels.shape[1])))
                views[i] = SharedView(self, size, upload(scale, device), maps, place)
        return [views[i] for i in range(len(inputs))]

    @torch.inference_mode()
    def score(self, views: Sequence["SharedView"], boxes: Sequence[Tensor]) -> list[RegionScores]:
        """The boxes of all images of a pass are judged together."""
        scored: dict[int, RegionScores] = {}
        for members in _alike([id(view.batch) for view in views]):
            own = [self._mirror(boxes[i], views[i].image_size[0]) * views[i].scale for i in members]
            regions = Regions.of_images(own, [views[i].place for i in members])
            predictions = self.network.classify(views[members[0]].batch.votes, regions)
            log_odds = predictions.class_logits.softmax(dim=1)[:, 1:].logit(eps=1e-6)
            scores = calibrate(log_odds, self.config.postprocess.calibration)
            counts, offsets = [len(boxes[i]) for i in members], predictions.offsets[:, None]
            if self.mirrored:
                offsets = torch.cat((-offsets[..., :1], offsets[..., 1:]), dim=-1)
            parts = zip(members, scores.split(counts), offsets.split(counts), strict=True)
            scored |= {i: RegionScores(own, offsets) for i, own, offsets in parts}
        return [scored[i] for i in range(len(views))]

    def _mirror(self, boxes: Tensor, width: int) -> Tensor:
        """Boxes (R, 4) of an image of that width, as the network sees it."""
        if not self.mirrored:
            return boxes
        x1, y1, x2, y2 = boxes.unbind(1)
        return torch.stack((width - x2, y1, width - x1, y2), dim=1)

    @torch.inference_mode()
    def propose(self, views: Sequence["SharedView"], limit: int) -> list[Proposals]:
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
            rows = torch.cat((head.boxes(found.offsets), found.logits[..., None]), dim=2).cpu()
            for i in members:
                own, size = rows[views[i].place], views[i].image_size
                proposals[i] = to_proposals(own[:, :4], own[:, 4], size, head.config.nms_iou, limit)
        return [proposals[i] for i in range(len(views))]


@dataclass(frozen=True)
class SharedView:
    """An image after the trunk's pass.

    Attributes:
        image_size: (width, height) in pixels.
        scale: (4,) by which boxes are multiplied to lie on the network's input.
        batch: maps of the network, for all images of the pass.
        place: of this image among them.
    """

    scorer: SharedScorer
    image_size: tuple[int, int]
    scale: Tensor
    batch: ImageMaps
    place: int

    @property
    def maps(self) -> ImageMaps:
        """The maps for this one image."""
        own = slice(self.place, self.place + 1)
        return ImageMaps(self.batch.features[own], self.batch.votes[own])

    def score(self, boxes: Tensor) -> RegionScores:
        return self.scorer.score([self], [boxes])[0]

    def propose(self, limit: int) -> Proposals:
        """As `SharedScorer.propose`."""
        return self.scorer.propose([self], limit)[0]


def _alike(keys: Sequence[Hashable]) -> list[list[int]]:
    """The places of equal keys, for each key that there is."""
    places: dict[Hashable, list[int]] = {}
    for place, key in enumerate(keys):
        places.setdefault(key, []).append(place)
    return list(places.values())


class CropScorer:
    """Judges boxes one by one: each is a crop that goes through the whole network (R-CNN)."""

    def __init__(self, network: CropClassifier, config: RCNNConfig, dtype: torch.dtype) -> None:
        network.backbone.to(dtype).to(memory_format=torch.channels_last)
        self.network, self.config, self.dtype = network, config, dtype

    def view(self, image: Image) -> "CropView":
        return CropView(self, image)

    def prepare(self, image: Image) -> np.ndarray:
        """The image as it is: crops are made where the network runs."""
        return image.pixels

    def look(self, images: Sequence[Image], inputs: Sequence[np.ndarray]) -> list["CropView"]:
        return [CropView(self, image) for image in images]

    def score(self, views: Sequence["CropView"], boxes: Sequence[Tensor]) -> list[RegionScores]:
        """Image by image: the crops of one fill batches by themselves."""
        return [view.score(own) for view, own in zip(views, boxes, strict=True)]

    @torch.inference_mode()
    def judge(self, features: CropFeatures, config: RCNNConfig) -> RegionScores:
        """What the heads that `config` names say of crops."""
        heads: tuple[ScoringHead, ...] = get_args(ScoringHead) if config.head == "both" else (config.head,)
        scores = [calibrate(self.network.log_odds(features, h), getattr(config.calibration, h)) for h in heads]
        offsets = self.network.offsets(features) if config.box_regression else None
        return RegionScores(torch.stack(scores).mean(dim=0), offsets)

    @torch.inference_mode()
    def features(self, image: Image, boxes: Tensor) -> CropFeatures:
        """Features of boxes (R, 4) in pixels of the image; those with the same window are computed once."""
        batches, which = self.crops(image, boxes)
        parts = [vars(self.network.features(batch)) for batch in batches]
        return CropFeatures(**{name: torch.cat([part[name] for part in parts])[which] for name in parts[0]})

    def crops(self, image: Image, boxes: Tensor) -> tuple[Iterator[Tensor], Tensor]:
        """Batches of the crops (B, 3, size, size) of boxes (R, 4) that differ, at least one batch, which may be empty;
        and (R,) which of the crops each box is."""
        config = self.config.crops
        pixels, scale = reduce_large(image.pixels, config.longest_side)
        normalised = self.network.normalise(torch.from_numpy(pixels).permute(2, 0, 1).to(boxes.device))
        windows = crop_windows(boxes * torch.from_numpy(scale).to(boxes), config)
        windows, which = torch.unique(windows, dim=0, return_inverse=True)
        some = windows.split(batch_size(config, boxes.device)) if len(windows) else (windows,)
        return (warp_windows(normalised, part, config.size).to(self.dtype) for part in some), which


@dataclass(frozen=True)
class CropView:
    """An image whose boxes are judged one by one: nothing is shared."""

    scorer: CropScorer
    image: Image

    def score(self, boxes: Tensor) -> RegionScores:
        return self.scorer.judge(self.scorer.features(self.image, boxes), self.scorer.config)


def reduce_large(pixels: np.ndarray, longest_side: int) -> tuple[np.ndarray, np.ndarray]:
    """An image (H, W, 3) uint8 of at most that side, and the (4,) factors for boxes (xyxy) in it."""
    height, width = pixels.shape[:2]
    factor = min(1.0, longest_side / max(width, height))
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return resize(pixels, size), box_scale((width, height), size)


_BYTES_PER_PIXEL = 600
"""Memory that a crop needs on its way through GoogLeNet, in bytes a pixel of the crop; measured in float32."""


def batch_size(crops: CropConfig, device: torch.device) -> int:
    """How many crops go through the network at once: what an eighth of the free memory holds, from 1 to 16 on a CPU
    (more does not run faster: the layers then outgrow its caches) and to 256 on a GPU."""
    if device.type == "cuda":
        free, most = torch.cuda.mem_get_info(device)[0], 256
    else:
        free, most = _free_memory(), 16
    return max(1, min(most, free // 8 // (crops.size**2 * _BYTES_PER_PIXEL)))


def _free_memory() -> int:
    """Bytes; on Linux with what the system would give up for it (its file cache above all), elsewhere a guess."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii", errors="replace").splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return 1 << 30
