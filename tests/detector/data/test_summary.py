"""The summary of a custom data set."""

from dataclasses import replace
from pathlib import Path

from detector.data.annotations import Annotations, Sample
from detector.data.custom_dataset import CustomDataset
from detector.data.faults import Fault
from detector.data.summary import summarize


def sample(number: int, boxes: list[tuple[int, ...]], labels: list[int], difficult: bool = False) -> Sample:
    annotations = Annotations(boxes, labels, [difficult] * len(boxes), (120, 90))
    return Sample(f"{number}.png", Path(f"{number}.png"), annotations)


def test_counts_and_sizes():
    samples = (
        sample(0, [(0, 0, 60, 45)], [0]),
        sample(1, [(0, 0, 12, 9), (0, 0, 120, 90)], [0, 1]),
        sample(2, [], []),
        sample(3, [(0, 0, 60, 45)], [0], difficult=True),
    )
    faults = tuple(Fault(f"{number}.jpg", "", "damaged") for number in range(23))
    notes = ("two photos have no labels",)
    data = CustomDataset(Path("photos"), "voc", ("bus", "robot"), samples, faults=faults, notes=notes)
    text = summarize(data)
    for line in (
        "photos       4, 1 of them without objects",
        "sizes        120x90 to 120x90 pixels, median 120x90",
        "boxes        3, and 1 ",
        "box sizes    10 to 100 % of the photo's side, median 50 %",
        "  bus         2 boxes in 2 photos",
        "  robot       1 box in 1 photo",
        "note         two photos have no labels",
        "left out     23 photos",
        "  19.jpg: damaged\n  ... and 3 more",
    ):
        assert line in text
    assert "20.jpg" not in text
    assert "left out     1 photo\n" in summarize(replace(data, faults=faults[:1]))
