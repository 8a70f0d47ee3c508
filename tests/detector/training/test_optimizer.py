"""The average is the library's, without its waiting."""

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from detector.training.optimizer import ExponentialAverage


def test_it_is_that_of_pytorch():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    expected = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)
    average = ExponentialAverage(network, 0.9)
    for _ in range(5):
        for parameter in network.parameters():
            parameter.data += torch.randn_like(parameter)
        network(torch.randn(2, 3, 4, 4))
        expected.update_parameters(network)
        average.update_parameters(network)
    for name, tensor in expected.state_dict().items():
        if "num_batches" not in name:  # of which PyTorch takes a mean, too
            torch.testing.assert_close(average.state_dict()[name], tensor)
    assert average.state_dict().keys() == expected.state_dict().keys()
    assert average.module[1].num_batches_tracked == 5


def test_a_step_that_counts_as_several_forgets_as_much():
    start, new = nn.Linear(2, 1), nn.Linear(2, 1)
    average = ExponentialAverage(start, 0.9)
    average.update_parameters(start)
    average.update_parameters(new, 3.5)
    torch.testing.assert_close(average.module.weight, 0.9**3.5 * start.weight + (1 - 0.9**3.5) * new.weight)
