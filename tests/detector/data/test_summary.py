"""The summary of a custom data set."""

from collections.abc import Callable
from dataclasses import replace

from detector.data.annotations import Annotations
from detector.data.custom_dataset import CustomDataset
from detector.data.faults import Fault
from detector.data.summary import summarize


def test_counts_and_sizes(custom_dataset: Callable[..., CustomDataset]):
    data = custom_dataset([[(0, (0, 0, 60, 45))], [(0, (0, 0, 12, 9)), (1, (0, 0, 120, 90))], []])
    hard = Annotations([[0, 0, 60, 45]], [0], [True], (120, 90))
    samples = (*data.samples, replace(data.samples[0], id="hard", annotations=hard))
    faults = tuple(Fault(f"{number}.jpg", "", "damaged") for number in range(23))
    text = summarize(replace(data, samples=samples, faults=faults, notes=("two photos have no labels",)))
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
