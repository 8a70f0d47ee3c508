"""Dropout that gives the same result whether one process or several share a batch."""

import torch
from torch import Tensor, nn

from detector.ops.distributed import rank, world_size


class BatchDropout(nn.Dropout):
    """Dropout that draws the mask for the whole batch of all processes; each process takes its own rows.

    Sample i of the batch belongs to process i modulo the number of processes. With the same torch seed everywhere, the
    processes together use the mask that a single one would draw.
    """

    def forward(self, x: Tensor) -> Tensor:  # (B, C) -> (B, C)
        if not self.training or self.p == 0:
            return x
        world = world_size()
        kept = torch.rand(len(x) * world, *x.shape[1:], device=x.device)[rank() :: world] >= self.p
        return x * kept / (1 - self.p)
