import numpy as np
import pytest
import torch

from detector.structures.region_scores import RegionScores, average_scores, calibrate


def test_calibrate_by_hand():
    result = calibrate(torch.tensor([-1.0, 0, 3]), (2.0, -1.0))
    assert result.tolist() == pytest.approx([1 / (1 + np.e**3), 1 / (1 + np.e), 1 / (1 + np.e**-5)])


def test_each_class_may_have_its_own_calibration():
    log_odds = torch.randn(5, 2)
    result = calibrate(log_odds, (9.0, 9.0), ((2.0, -1.0), (0.5, 3.0)))
    expected = [calibrate(log_odds[:, 0], (2.0, -1.0)), calibrate(log_odds[:, 1], (0.5, 3.0))]
    torch.testing.assert_close(result, torch.stack(expected, dim=1))


def test_average_of_one_is_itself():
    one = RegionScores(torch.rand(3, 2), torch.rand(3, 1, 4))
    assert average_scores([one]) is one


def test_average_of_agnostic_and_class_box_deltas():
    agnostic, each = torch.rand(3, 1, 4), torch.rand(3, 2, 4)
    members = [
        RegionScores(torch.full((3, 2), 0.2), agnostic),
        RegionScores(torch.full((3, 2), 0.3), None),  # contributes to the scores only
        RegionScores(torch.full((3, 2), 0.7), each),
    ]
    result = average_scores(members)
    torch.testing.assert_close(result.scores, torch.full((3, 2), 0.4))
    torch.testing.assert_close(result.box_deltas, (agnostic.repeat(1, 2, 1) + each) / 2)
    assert average_scores(members[1:2] * 2).box_deltas is None
