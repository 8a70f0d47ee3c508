import pytest

from detector.data import VOC_CLASSES
from detector.structures.class_names import default_class_ids, same_classes

# VOC's classes under COCO's names, in VOC's order.
COCO = (
    "airplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "dining table", "dog",
    "horse", "motorcycle", "person", "potted plant", "sheep", "couch", "train", "tv",
)  # fmt: skip


def test_vocs_classes_are_in_coco() -> None:
    assert same_classes(COCO, VOC_CLASSES) == dict(zip(COCO, VOC_CLASSES, strict=True))
    assert same_classes(VOC_CLASSES, COCO) == dict(zip(VOC_CLASSES, COCO, strict=True))


@pytest.mark.parametrize(
    ("name", "targets", "same"),
    [
        ("Traffic_Light", ["traffic light"], "traffic light"),
        ("traffic-light", ["TRAFFIC  LIGHT"], "TRAFFIC  LIGHT"),
        ("tv or monitor", ["tv", "tvmonitor"], "tv"),
        ("kite", ["bird"], None),
        ("catfish", ["cat"], None),
    ],
)
def test_spellings(name: str, targets: list[str], same: str | None) -> None:
    assert same_classes([name], targets).get(name) == same


@pytest.mark.parametrize(
    ("names", "ids"),
    [
        (("person", "toothbrush"), (1, 90)),
        (("aeroplane", "motorbike", "sofa", "pottedplant", "diningtable", "tvmonitor"), (5, 4, 63, 64, 67, 72)),
        (("cat", "raccoon"), (1, 2)),
        (("tv", "tvmonitor"), (1, 2)),
    ],
)
def test_default_ids_are_cocos_if_all_classes_are(names: tuple[str, ...], ids: tuple[int, ...]):
    assert default_class_ids(names) == ids
