"""R-CNN: class scores and box deltas of boxes, each of which passes the network as a crop."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from torch import Tensor

from detector.config import RCNNConfig, ScoringHead
from detector.models.rcnn import RCNN, CropFeatures
from detector.ops.crops import crop_windows, warp_windows
from detector.ops.transforms import box_scale, resize
from detector.structures.image import Image
from detector.structures.region_scores import RegionScores, calibrate

# Memory that a crop takes on its way through GoogLeNet in float32, measured: bytes per pixel of the crop.
_BYTES_PER_PIXEL = 600


class RCNNScorer:
    """Scores boxes one by one: each is a crop that passes the whole network (R-CNN).

    The methods are those of `detector.inference.rfcn_scorer.RFCNScorer`.
    """

    def __init__(self, network: RCNN, config: RCNNConfig, dtype: torch.dtype) -> None:
        network.backbone.to(dtype).to(memory_format=torch.channels_last)
        self.network, self.config, self.dtype = network, config, dtype

    def encode(self, image: Image) -> "RCNNFeatures":
        """The image itself: boxes share no computation."""
        return RCNNFeatures(self, image)

    def prepare(self, image: Image) -> np.ndarray:
        """The pixels at full size: crops are cut on the network's device."""
        return image.pixels

    def encode_batch(self, images: Sequence[Image], inputs: Sequence[np.ndarray]) -> list["RCNNFeatures"]:
        return [RCNNFeatures(self, image) for image in images]

    def score(self, features: Sequence["RCNNFeatures"], boxes: Sequence[Tensor]) -> list[RegionScores]:
        """Scores image by image: the crops of a single image fill whole batches."""
        return [image.score(image_boxes) for image, image_boxes in zip(features, boxes, strict=True)]

    @torch.inference_mode()
    def score_features(self, features: CropFeatures, config: RCNNConfig) -> RegionScores:
        """Scores of crops by the heads that `config` names."""
        heads: tuple[ScoringHead, ...] = get_args(ScoringHead) if config.head == "both" else (config.head,)
        scores = [calibrate(self.network.log_odds(features, h), getattr(config.calibration, h)) for h in heads]
        box_deltas = self.network.box_deltas(features) if config.box_regression else None
        return RegionScores(torch.stack(scores).mean(dim=0), box_deltas)

    @torch.inference_mode()
    def features(self, image: Image, boxes: Tensor) -> CropFeatures:
        """Features of boxes (R, 4), xyxy pixels of the image; boxes with the same window are computed once."""
        batches, window_index = self.crops(image, boxes)
        parts = [vars(self.network.features(batch)) for batch in batches]
        return CropFeatures(**{name: torch.cat([part[name] for part in parts])[window_index] for name in parts[0]})

    def crops(self, image: Image, boxes: Tensor) -> tuple[Iterator[Tensor], Tensor]:
        """The crops of boxes.

        Args:
            boxes: (R, 4) xyxy pixels of the image, on the network's device.

        Returns:
            Batches (B, 3, size, size) of the distinct crops, at least one batch, which may be empty; and (R,) int64,
            the crop of each box.
        """
        config = self.config.crops
        pixels, scale = reduce_large(image.pixels, config.longest_side)
        normalized = self.network.normalize(torch.from_numpy(pixels).permute(2, 0, 1).to(boxes.device))
        windows = crop_windows(boxes * torch.from_numpy(scale).to(boxes), config)
        windows, window_index = torch.unique(windows, dim=0, return_inverse=True)
        batches = windows.split(batch_size(config.size, boxes.device)) if len(windows) else (windows,)
        return (warp_windows(normalized, batch, config.size).to(self.dtype) for batch in batches), window_index


@dataclass(frozen=True)
class RCNNFeatures:
    """An image whose boxes pass the network one by one."""

    scorer: RCNNScorer
    image: Image

    def score(self, boxes: Tensor) -> RegionScores:
        """Scores of boxes (R, 4), float32 xyxy pixels of the image, on the network's device."""
        return self.scorer.score_features(self.scorer.features(self.image, boxes), self.scorer.config)


def reduce_large(pixels: np.ndarray, longest_side: int) -> tuple[np.ndarray, np.ndarray]:
    """Reduces an image to a longest side.

    Args:
        pixels: (H, W, 3) uint8.
        longest_side: in pixels; smaller images keep their size.

    Returns:
        The (h, w, 3) uint8 image, and the (4,) factors that scale xyxy boxes to it.
    """
    height, width = pixels.shape[:2]
    factor = min(1.0, longest_side / max(width, height))
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return resize(pixels, size), box_scale((width, height), size)


def batch_size(side: int, device: torch.device) -> int:
    """Crops of `side` pixels that pass the network at once: as many as an eighth of the free memory holds, at least 1.

    At most 16 on a CPU, where more outgrow the caches and do not run faster, and 256 on a GPU.
    """
    if device.type == "cuda":
        free, limit = torch.cuda.mem_get_info(device)[0], 256
    else:
        free, limit = _free_memory(), 16
    return max(1, min(limit, free // 8 // (side**2 * _BYTES_PER_PIXEL)))


def _free_memory() -> int:
    """Free bytes, on Linux with what the system can reclaim, such as the file cache; elsewhere a guess of 1 GiB."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii", errors="replace").splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return 1 << 30
