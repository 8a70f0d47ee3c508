import pytest
import torch

from detector.structures.rois import RoIs


def test_each_roi_keeps_the_index_of_its_image():
    rois = RoIs.of_images([torch.zeros(2, 4), torch.zeros(0, 4), torch.ones(1, 4)])
    assert rois.image_index.tolist() == [0, 0, 2]
    assert len(rois[rois.image_index == 2]) == 1
    assert RoIs.of_images([torch.zeros(1, 4), torch.zeros(2, 4)], [3, 1]).image_index.tolist() == [3, 1, 1]


@pytest.mark.parametrize(("boxes", "images"), [((3, 5), (3,)), ((12,), (3,)), ((3, 4), (2,)), ((3, 4), (3, 1))])
def test_wrong_shapes_are_refused(boxes: tuple[int, ...], images: tuple[int, ...]):
    with pytest.raises(ValueError, match=r"boxes \(R, 4\)"):
        RoIs(torch.zeros(boxes), torch.zeros(images, dtype=torch.long))
