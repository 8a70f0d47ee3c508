"""Dropout that is the same for one process and for several that share a batch."""

import torch
from torch import Tensor, distributed, nn


class BatchDropout(nn.Dropout):
    """Dropout whose mask is drawn for the whole batch of all processes, of which each takes its own rows.

    Sample i of the batch belongs to process i modulo their number. With the same torch seed in all of them, the masks
    together are those that one process would draw for the batch.
    """

    def forward(self, x: Tensor) -> Tensor:  # (B, C) -> (B, C)
        if not self.training or self.p == 0:
            return x
        together = distributed.is_available() and distributed.is_initialized()
        rank, world = (distributed.get_rank(), distributed.get_world_size()) if together else (0, 1)
        kept = torch.rand(len(x) * world, *x.shape[1:], device=x.device)[rank::world] >= self.p
        return x * kept / (1 - self.p)
