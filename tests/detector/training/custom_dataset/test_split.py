"""The validation photos: a share of each class, the same every time, with objects left to train on."""

from collections.abc import Callable

import pytest

from detector.data.custom_dataset import CustomDataset
from detector.errors import InputError
from detector.training.custom_dataset.split import split_data

BUS = (0, (10, 10, 60, 60))
ROBOT = (1, (60, 30, 110, 80))


def test_a_fifth_of_each_kind_is_val(custom_dataset: Callable[..., CustomDataset]):
    data = custom_dataset([[BUS]] * 20 + [[ROBOT]] * 10 + [[]] * 5)
    split = split_data(data)
    kinds = [[tuple(sample.annotations.labels) for sample in part.samples] for part in (split.train, split.val)]
    assert [kinds[1].count(kind) for kind in ((0,), (1,), ())] == [4, 2, 1]
    assert sorted(split.train.ids + split.val.ids) == [sample.id for sample in data.samples]
    assert split_data(data).val.ids == split.val.ids
    assert set(split_data(data, seed=1).val.ids) != set(split.val.ids)
    assert not any(note.startswith("every photo shows an object") for note in split.notes)


@pytest.mark.parametrize("photos", [2, 5])
def test_few_photos(custom_dataset: Callable[..., CustomDataset], photos: int):
    split = split_data(custom_dataset([[BUS]] * photos, ["bus"]))
    assert (len(split.train), len(split.val)) == (photos - 1, 1)
    assert any("20 objects" in note and "bus (" in note for note in split.notes)
    assert any(note.startswith("every photo shows an object") for note in split.notes)


@pytest.mark.parametrize("photos", [1, 2])
def test_a_rare_class_is_trained_and_if_possible_evaluated(custom_dataset: Callable[..., CustomDataset], photos: int):
    split = split_data(custom_dataset([[BUS]] * 10 + [[ROBOT]] * photos))
    assert (split.train.boxes()[1], split.val.boxes()[1]) == (1, photos - 1)
    assert any(note.endswith("no validation photo shows them: robot") for note in split.notes) is (photos == 1)


def test_a_class_without_examples_is_left_out(custom_dataset: Callable[..., CustomDataset]):
    split = split_data(custom_dataset([[BUS, (2, (0, 0, 9, 9))]] * 5, ["bus", "robot", "tea"]))
    assert split.train.class_names == split.val.class_names == ("bus", "tea")
    assert set(split.train.samples[0].annotations.labels) == {0, 1}
    assert any(note.startswith("left out") and note.endswith(": robot") for note in split.notes)


def test_the_val_part_of_the_data_is_used(custom_dataset: Callable[..., CustomDataset]):
    split = split_data(custom_dataset([[BUS]] * 6, ["bus"], val=["001.png", "004.png", "005.png"]))
    assert set(split.val.ids) == {"001.png", "004.png", "005.png"}


def test_data_that_cannot_be_split(custom_dataset: Callable[..., CustomDataset]):
    with pytest.raises(InputError, match=r"photos: 1 photo .* at least 2"):
        split_data(custom_dataset([[BUS], [], []], ["bus"]))
    with pytest.raises(InputError, match=r"photos: part 'val'"):
        split_data(custom_dataset([[BUS], [BUS], []], ["bus"], val=["002.png"]))
    with pytest.raises(InputError, match=r"photos: .*'Bus' and 'bus'"):
        split_data(custom_dataset([[BUS, ROBOT]] * 4, ["Bus", "bus"]))


def test_the_digest_changes_with_the_data(custom_dataset: Callable[..., CustomDataset]):
    first = split_data(custom_dataset([[BUS]] * 5, ["bus"])).digest
    assert split_data(custom_dataset([[BUS]] * 5, ["bus"])).digest == first
    assert split_data(custom_dataset([[BUS]] * 5, ["coach"])).digest != first
    assert split_data(custom_dataset([[(0, (10, 10, 60, 61))]] * 5, ["bus"])).digest != first
