"""R-CNN: from the boxes of an image to class scores and box deltas, each box as a crop."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from torch import Tensor

from detector.config import CropConfig, RCNNConfig, ScoringHead
from detector.models.rcnn import RCNN, CropFeatures
from detector.ops.crops import crop_windows, warp_windows
from detector.ops.transforms import box_scale, resize
from detector.structures.image import Image
from detector.structures.region_scores import RegionScores, calibrate


class RCNNScorer:
    """Judges boxes one by one: each is a crop that goes through the whole network (R-CNN)."""

    def __init__(self, network: RCNN, config: RCNNConfig, dtype: torch.dtype) -> None:
        network.backbone.to(dtype).to(memory_format=torch.channels_last)
        self.network, self.config, self.dtype = network, config, dtype

    def encode(self, image: Image) -> "RCNNFeatures":
        return RCNNFeatures(self, image)

    def prepare(self, image: Image) -> np.ndarray:
        """The image as it is: crops are made where the network runs."""
        return image.pixels

    def encode_batch(self, images: Sequence[Image], inputs: Sequence[np.ndarray]) -> list["RCNNFeatures"]:
        return [RCNNFeatures(self, image) for image in images]

    def score(self, views: Sequence["RCNNFeatures"], boxes: Sequence[Tensor]) -> list[RegionScores]:
        """Image by image: the crops of one fill batches by themselves."""
        return [view.score(own) for view, own in zip(views, boxes, strict=True)]

    @torch.inference_mode()
    def score_features(self, features: CropFeatures, config: RCNNConfig) -> RegionScores:
        """What the heads that `config` names say of crops."""
        heads: tuple[ScoringHead, ...] = get_args(ScoringHead) if config.head == "both" else (config.head,)
        scores = [calibrate(self.network.log_odds(features, h), getattr(config.calibration, h)) for h in heads]
        box_deltas = self.network.box_deltas(features) if config.box_regression else None
        return RegionScores(torch.stack(scores).mean(dim=0), box_deltas)

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
        normalized = self.network.normalize(torch.from_numpy(pixels).permute(2, 0, 1).to(boxes.device))
        windows = crop_windows(boxes * torch.from_numpy(scale).to(boxes), config)
        windows, which = torch.unique(windows, dim=0, return_inverse=True)
        some = windows.split(batch_size(config, boxes.device)) if len(windows) else (windows,)
        return (warp_windows(normalized, part, config.size).to(self.dtype) for part in some), which


@dataclass(frozen=True)
class RCNNFeatures:
    """An image whose boxes are judged one by one: nothing is shared."""

    scorer: RCNNScorer
    image: Image

    def score(self, boxes: Tensor) -> RegionScores:
        return self.scorer.score_features(self.scorer.features(self.image, boxes), self.scorer.config)


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
