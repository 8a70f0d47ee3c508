"""The summary of a custom data set."""

from collections.abc import Callable
from dataclasses import replace

from detector.data.annotations import Annotations
from detector.data.custom_dataset import CustomDataset
from detector.data.faults import Fault
from detector.training.custom_dataset.summary import summarize


def test_numbers_and_text(custom_dataset: Callable[..., CustomDataset]):
    data = custom_dataset([[(0, (0, 0, 60, 45))], [(0, (0, 0, 12, 9)), (1, (0, 0, 120, 90))], []])
    hard = Annotations([[0, 0, 60, 45]], [0], [True], (120, 90))
    samples = (*data.samples, replace(data.samples[0], id="hard", annotations=hard))
    faults = tuple(Fault(f"{number}.jpg", "", "damaged") for number in range(23))
    summary = summarize(replace(data, samples=samples, faults=faults, notes=("two photos have no labels",)))
    assert (summary.photos, summary.empty, summary.difficult) == (4, 1, 1)
    assert summary.boxes == {"bus": 2, "robot": 1}
    assert summary.photos_with == {"bus": 2, "robot": 1}
    assert summary.box_sides == (0.1, 0.5, 1.0)
    text = str(summary)
    for line in (
        "photos       4, 1 of them without objects",
        "boxes        3, and 1 ",
        "box sizes    10 to 100 % of the photo's side, median 50 %",
        "  bus         2 boxes in 2 photos",
        "note         two photos have no labels",
        "left out     23 photos",
        "  19.jpg: damaged\n  ... and 3 more",
    ):
        assert line in text
    assert "20.jpg" not in text
