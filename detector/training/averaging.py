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
        average = get_ema_multi_avg_fn(decay)
        super().__init__(network, multi_avg_fn=average, use_buffers=True)
        self.average = average

    @torch.no_grad()
    def update_parameters(self, network: nn.Module) -> None:
        if self.n_averaged == 0:
            super().update_parameters(network)
            return
        pairs = list(zip(*(chain(one.parameters(), one.buffers()) for one in (self.module, network)), strict=True))
        numbers = [pair for pair in pairs if pair[0].is_floating_point()]
        self.average([own for own, _ in numbers], [new for _, new in numbers], self.n_averaged)
        for own, new in pairs:
            if not own.is_floating_point():  # counters
                own.copy_(new)
        self.n_averaged += 1
