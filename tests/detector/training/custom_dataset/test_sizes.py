"""The input's size and the smallest proposal, from the sizes of the objects."""

from pathlib import Path

import pytest

from detector.config import InputConfig, ModelConfig
from detector.data.annotations import Annotations, Sample
from detector.training.custom_dataset.plan import Settings
from detector.training.custom_dataset.sizes import choose_sizes

START = ModelConfig(input=InputConfig(480, 1000))


def photos(*sides: int) -> list[Sample]:
    """Photos of 600 x 400 pixels, each with one square object."""
    return [Sample(str(s), Path(), Annotations([[5, 5, 5 + s, 5 + s]], [0], [False], (600, 400))) for s in sides]


@pytest.mark.parametrize(
    ("side", "short_side", "smallest", "notes"),
    [
        (100, 480, 20, 0),
        (38, 512, 20, 1),  # 38 of 400 pixels are 45.6 of 480, and 48.6 of 512
        (25, 768, 17, 2),
        (13, 800, 9, 2),  # 26 of 800
        (4, 800, 4, 3),  # 8 of 800
    ],
)
def test_small_objects_get_a_larger_input_and_smaller_proposals(side: int, short_side: int, smallest: int, notes: int):
    config, said = choose_sizes(START, photos(*[side] * 8), Settings())
    assert (config.input.short_side, config.input.long_side) == (short_side, round(1000 * short_side / 480))
    assert config.proposals.minimum_box_side == smallest
    assert len(said) == notes
    assert (len(said) == 3) == ("--tile 67" in " ".join(said))  # 4 pixels of 67 become 48 of 800


def test_a_few_small_objects_change_only_the_proposals():
    config, _ = choose_sizes(START, photos(*[100] * 48, 10, 10), Settings())
    assert config.input == START.input
    assert config.proposals.minimum_box_side == 7


def test_a_given_size_stays_and_what_is_kept_changes_nothing():
    assert choose_sizes(START, photos(10), Settings(size=320))[0].input == InputConfig(320, 667)
    assert choose_sizes(START, photos(10), Settings(keep=True)) == (START, [])
    nothing = Sample("a", Path(), Annotations([], [], [], (600, 400)))
    assert choose_sizes(START, [nothing], Settings()) == (START, [])
