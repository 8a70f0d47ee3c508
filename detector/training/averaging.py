"""The average of the weights over the steps of a training, which becomes the model."""

from itertools import chain

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


class ExponentialAverage(AveragedModel):
    """Exponential moving average of parameters and buffers; the first update copies them.

    `AveragedModel` itself copies its counter to the device at every update, for which a GPU is waited for.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        super().__init__(network, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)
        self.decay = decay

    @torch.no_grad()
    def update_parameters(self, network: nn.Module, steps: float = 1.0) -> None:
        """Takes in the network after a step that counts as several, or as a part of one."""
        if self.n_averaged == 0:
            super().update_parameters(network)
            return
        pairs = list(zip(*(chain(one.parameters(), one.buffers()) for one in (self.module, network)), strict=True))
        numbers = [pair for pair in pairs if pair[0].is_floating_point()]
        average = get_ema_multi_avg_fn(self.decay**steps)
        average([own for own, _ in numbers], [new for _, new in numbers], self.n_averaged)
        for own, new in pairs:
            if not own.is_floating_point():  # counters
                own.copy_(new)
        self.n_averaged += 1
