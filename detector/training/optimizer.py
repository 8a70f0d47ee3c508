"""The optimizer of a run, and its rate over the steps."""

import math

import torch
from torch import nn

from detector.training.recipes import OptimizerConfig


def learning_rate(config: OptimizerConfig, step: float) -> float:
    """Rate of a step, or of a place between two: linear warm-up, then half a cosine down to zero at the last step, or
    decay by a factor."""
    warm = min(1.0, (step + 1) / max(1, config.warmup_steps))
    if config.decay is not None:
        return config.lr * warm * config.decay ** (step // config.decay_every)
    return config.lr * warm * 0.5 * (1 + math.cos(math.pi * min(1.0, step / config.steps)))


def make_optimizer(network: nn.Module, config: OptimizerConfig, head: tuple[str, ...]) -> torch.optim.SGD:
    """SGD; biases and scales are not decayed, the head's rate has a factor of its own."""
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            groups.setdefault((name.split(".")[0] in head, parameter.ndim > 1), []).append(parameter)
    return torch.optim.SGD(
        [
            {
                "params": parameters,
                "weight_decay": config.weight_decay if is_weight else 0.0,
                "factor": config.head_lr_mult if in_head else 1.0,
                "head": in_head,
            }
            for (in_head, is_weight), parameters in groups.items()
        ],
        lr=config.lr,
        momentum=config.momentum,
        fused=True,
    )
