"""The head for other classes: known classes, background and box deltas are the starting model's."""

import dataclasses

import torch

from detector.models.rfcn import RFCN
from detector.models.weights import Model
from detector.structures.rois import RoIs
from detector.training.transfer import match_classes, transfer_multibox, transfer_weights
from proposals.multibox.config import MultiBoxConfig
from proposals.multibox.network import MultiBoxHead

NAMES = ("couch", "robot", "Bus", "drone")


def test_classes_are_matched_by_name(start: Model):
    transfer = match_classes(NAMES, start)
    assert transfer.sources == {"couch": "sofa", "robot": None, "Bus": "bus", "drone": None}


def test_known_classes_background_and_box_deltas_are_predicted_as_before(start: Model):
    assert match_classes(NAMES, start).extra_background_classes == ()
    network = RFCN(len(NAMES), start.config.network).eval()
    torch.manual_seed(1)
    transfer_weights(network, NAMES, start)
    image = torch.rand(1, 3, 96, 128) * 255
    regions = RoIs.of_images([torch.tensor([[0.0, 0.0, 60.0, 90.0], [20.0, 10.0, 120.0, 80.0]])])
    with torch.inference_mode():
        before, after = start.network(image, regions), network(image, regions)
    torch.testing.assert_close(after.box_deltas, before.box_deltas)
    torch.testing.assert_close(after.class_logits[:, [0, 1, 3]], before.class_logits[:, [0, 2, 1]])
    # a new class scores as the classes do on average, and two new ones differ a little
    mean = before.class_logits[:, 1:].mean(dim=1)
    difference = after.class_logits[:, [2, 4]] - mean[:, None]
    assert (difference.abs() < 0.2 * before.class_logits.std()).all()
    assert (difference[:, 0] != difference[:, 1]).all()


def test_remaining_classes_become_background(start: Model):
    """Before any training the chosen class scores as it did, and the rest is background."""
    assert match_classes(("Bus",), start).extra_background_classes == ("sofa",)
    network = RFCN(1, start.config.network, extra_background_classes=1).eval()
    transfer_weights(network, ("Bus",), start)
    image = torch.rand(1, 3, 96, 128) * 255
    regions = RoIs.of_images([torch.tensor([[0.0, 0.0, 60.0, 90.0], [20.0, 10.0, 120.0, 80.0]])])
    with torch.inference_mode():
        before, after = start.network(image, regions), network(image, regions)
    torch.testing.assert_close(after.box_deltas, before.box_deltas)
    scores = before.class_logits.softmax(dim=1)
    torch.testing.assert_close(
        after.class_logits.softmax(dim=1), torch.stack((scores[:, 0] + scores[:, 2], scores[:, 1]), dim=1)
    )
    # a training can start from such a model and choose the kept class again
    again = Model(network, start.config, ("Bus",), {}, ("sofa",))
    assert match_classes(("sofa", "robot"), again).sources == {"sofa": "sofa", "robot": None}
    back = RFCN(2, start.config.network).eval()
    transfer_weights(back, ("bus", "sofa"), again)
    with torch.inference_mode():
        torch.testing.assert_close(back(image, regions).class_logits, before.class_logits)


def test_a_network_without_extra_background_classes_leaves_the_others_out(start: Model):
    network = RFCN(1, start.config.network)
    transfer_weights(network, ("Bus",), start)
    (before, _), (after, _) = (n.split_maps(n.score_conv.weight, dim=0) for n in (start.network, network))
    assert torch.equal(after, before[:, [0, 1]])


def test_it_is_repeatable(start: Model):
    weights = []
    for _ in range(2):
        network = RFCN(1, start.config.network, extra_background_classes=2)
        torch.manual_seed(3)
        transfer_weights(network, ("robot",), start)
        weights.append(network.score_conv.weight)
    assert torch.equal(*weights)


def test_other_bins_keep_what_a_constant_map_predicts(start: Model):
    """7x7 bins become 3x3 for the scores by area; the box deltas keep theirs."""
    network = RFCN(2, dataclasses.replace(start.config.network, bins=3, delta_bins=7)).eval()
    transfer_weights(network, ("bus", "sofa"), start)
    features = torch.rand(1, network.backbone.out_channels, 1, 1).expand(-1, -1, 12, 16)
    regions = RoIs.of_images([torch.tensor([[30.0, 40.0, 150.0, 120.0]])])
    with torch.inference_mode():
        before, after = (n.classify(n.score_maps(features), regions) for n in (start.network, network))
    torch.testing.assert_close(after.class_logits, before.class_logits)
    torch.testing.assert_close(after.box_deltas, before.box_deltas)


def test_a_new_grid_starts_from_the_nearest_and_the_others_predict_as_before():
    torch.manual_seed(2)
    source = MultiBoxHead(8, MultiBoxConfig(grids=(4, 2, 1), shapes=2, channels=4))
    source.priors.uniform_(0.1, 0.2)
    for parameter in source.parameters():
        torch.nn.init.normal_(parameter)
    head = MultiBoxHead(8, MultiBoxConfig(grids=(8, 4, 2, 1), shapes=2, channels=4))
    transfer_multibox(head, source)
    features = torch.randn(1, 8, 24, 24)
    with torch.inference_mode():
        old, new = source(features), head(features)
    torch.testing.assert_close(new.logits[:, 128:], old.logits)
    torch.testing.assert_close(new.box_deltas[:, 128:], old.box_deltas)
    torch.testing.assert_close(head.priors[128:], source.priors)
    assert not head.priors[:128].any()
    torch.testing.assert_close(head.predict[0].weight, source.predict[0].weight)


def test_a_head_of_another_form_keeps_its_weights():
    source = MultiBoxHead(8, MultiBoxConfig(grids=(4, 1), shapes=2, channels=4))
    head = MultiBoxHead(8, MultiBoxConfig(grids=(4, 1), shapes=2, channels=4, coordinates="corners"))
    before = head.predict[0].weight.clone()
    transfer_multibox(head, source)
    torch.testing.assert_close(head.predict[0].weight, before)
