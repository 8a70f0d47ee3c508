"""Proposals from the outputs of a MultiBox network."""

import hashlib

import cv2
import numpy as np
import torch
from torch import Tensor

from proposals.multibox.network import MultiBox
from proposals.types import Proposals, checked_image
from proposals.union import nms

SOURCE = "multibox"
"""The source name of the proposals."""


def to_proposals(boxes: Tensor, logits: Tensor, image_size: tuple[int, int], nms_iou: float, limit: int) -> Proposals:
    """Returns the most confident boxes of one image after non-maximum suppression, which runs on the CPU.

    Args:
        boxes: (K, 4), xyxy as fractions of the image's sides.
        logits: (K,), of the confidences.
        image_size: (width, height) in pixels.
        limit: maximum number of boxes.
    """
    width, height = image_size
    boxes, logits = boxes.cpu(), logits.cpu()
    sides = boxes.new_tensor((width, height, width, height))
    boxes = torch.minimum((boxes.float() * sides).clamp(min=0), sides)
    scores = logits.float().sigmoid()
    large = ((boxes[:, 2:] - boxes[:, :2]) >= 1).all(dim=1)
    boxes, scores = boxes[large], scores[large]
    scores, order = scores.sort(descending=True, stable=True)
    boxes = boxes[order]
    keep = torch.from_numpy(nms(boxes.numpy(), nms_iou, limit))
    return Proposals(boxes[keep].numpy(), scores[keep].numpy(), np.zeros(len(keep), np.int16), (SOURCE,), image_size)


class MultiBoxProposer:
    """A proposer that runs a MultiBox network.

    Args:
        network: the network, in evaluation mode.
        size: side of the network's square input in pixels.
        limit: maximum number of boxes.
        dtype: data type of the network's computations.
    """

    def __init__(self, network: MultiBox, size: int, limit: int = 200, dtype: torch.dtype = torch.float32) -> None:
        self.network = network.to(dtype).to(memory_format=torch.channels_last)
        self.size, self.limit, self.dtype = size, limit, dtype

    @property
    def fingerprint(self) -> str:
        digest = hashlib.blake2b(f"multibox {self.size} {self.limit} {self.network.head.config}".encode())
        for tensor in self.network.state_dict().values():
            digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:32]

    @torch.inference_mode()
    def __call__(self, image: np.ndarray) -> Proposals:
        return self.propose([image])[0]

    @torch.inference_mode()
    def propose(self, images: list[np.ndarray]) -> list[Proposals]:
        """Proposes boxes for a batch of images (H, W, 3) uint8 RGB of any sizes in one pass."""
        images = [checked_image(image) for image in images]
        if not images:
            return []
        square = np.stack([cv2.resize(i, (self.size, self.size), interpolation=cv2.INTER_AREA) for i in images])
        batch = torch.from_numpy(square).permute(0, 3, 1, 2).to(self.network.mean.device, self.dtype)
        predictions = self.network(batch)
        head = self.network.head
        boxes = head.boxes(predictions.box_deltas)
        return [
            to_proposals(b, logits, (i.shape[1], i.shape[0]), head.config.nms_iou, self.limit)
            for b, logits, i in zip(boxes, predictions.logits, images, strict=True)
        ]
