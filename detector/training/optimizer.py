"""The optimizer of a run, its learning rate over the steps, and the average of the weights that becomes the model."""

import math
from itertools import chain

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from detector.training.recipes import OptimizerConfig


def learning_rate(config: OptimizerConfig, step: float) -> float:
    """Learning rate at a position in the schedule, which may lie between two steps: linear warm-up, then half a cosine
    down to zero at the last step, or decay by a factor."""
    warmup = min(1.0, (step + 1) / max(1, config.warmup_steps))
    if config.decay is not None:
        return config.lr * warmup * config.decay ** (step // config.decay_every)
    return config.lr * warmup * 0.5 * (1 + math.cos(math.pi * min(1.0, step / config.steps)))


def make_optimizer(
    network: nn.Module, config: OptimizerConfig, head: tuple[str, ...], clipped_apart: tuple[str, ...]
) -> torch.optim.Optimizer:
    """The optimizer, without weight decay on biases and scales; the head's learning rate is multiplied by
    `head_lr_mult`. Names are of the network's children, as in `detector.training.loop.Task`."""
    groups: dict[tuple[bool, bool, bool], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            child = name.split(".")[0]
            groups.setdefault((child in head, child in clipped_apart, parameter.ndim > 1), []).append(parameter)
    parameter_groups = [
        {
            "params": parameters,
            "weight_decay": config.weight_decay if is_weight else 0.0,
            "factor": config.head_lr_mult if in_head else 1.0,
            "clipped_apart": apart,
        }
        for (in_head, apart, is_weight), parameters in groups.items()
    ]
    if config.algorithm == "adamw":
        return torch.optim.AdamW(parameter_groups, lr=config.lr, betas=(config.momentum, 0.999), fused=True)
    return torch.optim.SGD(parameter_groups, lr=config.lr, momentum=config.momentum, fused=True)


class ExponentialAverage(AveragedModel):
    """Exponential moving average of parameters and buffers; the first update copies them.

    `AveragedModel` copies its counter to the device at every update and waits for the GPU; this class does not.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        super().__init__(network, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)
        self.decay = decay

    @torch.no_grad()
    def update_parameters(self, network: nn.Module, steps: float = 1.0) -> None:
        """Adds the network to the average after a step that counts as `steps` steps."""
        if self.n_averaged == 0:
            super().update_parameters(network)
            return
        pairs = list(zip(*(chain(n.parameters(), n.buffers()) for n in (self.module, network)), strict=True))
        floats = [pair for pair in pairs if pair[0].is_floating_point()]
        average = get_ema_multi_avg_fn(self.decay**steps)
        average([averaged for averaged, _ in floats], [current for _, current in floats], self.n_averaged)
        for averaged, current in pairs:
            if not averaged.is_floating_point():  # counters
                averaged.copy_(current)
        self.n_averaged += 1
