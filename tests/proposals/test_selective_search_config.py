from typing import Any

import pydantic
import pytest

from proposals import SelectiveSearch, SelectiveSearchConfig


def test_the_default_is_the_fast_preset_of_the_paper() -> None:
    names = SelectiveSearch().source_names
    assert len(names) == 8
    assert set(names) == {
        f"selective_search/{space}/{similarity}/{k}"
        for space in ("HSV", "Lab")
        for similarity in ("CTSF", "TSF")
        for k in (50, 100)
    }
    config = SelectiveSearchConfig()
    assert (config.sigma, config.minimum_size_scale, config.superpixel_scale) == (0.8, 1, 1)
    assert (config.working_width, config.minimum_box_side) == (500, 20)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"colour_spaces": ("HSV", "lab")}, "colour_spaces: unknown 'lab', known are HSV, Lab"),
        ({"similarities": ("FC",)}, "similarities: unknown 'FC', known are CTSF, .*TSF.*, C, T, S, F"),
        ({"similarities": ("",)}, "similarities: unknown ''"),
        ({"colour_spaces": "HSV"}, "colour_spaces must be a list, not 'HSV'"),
        ({"ks": ()}, "ks must not be empty"),
        ({"ks": (50, 50.0)}, "ks must not hold the same value twice"),
        ({"ks": (0,)}, "ks must be a number above 0"),
        ({"ks": (float("nan"),)}, "ks must be a number"),
        ({"sigma": -0.1}, "sigma must be a number from 0"),
        ({"sigma": "0.8"}, "sigma must be a number"),
        ({"superpixel_scale": 0}, "superpixel_scale must be a number above 0"),
        ({"minimum_size_scale": float("inf")}, "minimum_size_scale must be"),
        ({"working_width": 0}, "working_width must be a whole number from 16"),
        ({"working_width": 500.5}, "working_width must be a whole number"),
        ({"minimum_box_side": 0}, "minimum_box_side must be a whole number from 1"),
        ({"seed": -1}, "seed must be a whole number from 0"),
        ({"seed": True}, "seed must be a whole number"),
    ],
)
def test_wrong_settings_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SelectiveSearchConfig(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"colour_spaces": ("HSV",)},
        {"similarities": ("CTSF",)},
        {"ks": (50, 150)},
        {"minimum_size_scale": 2},
        {"sigma": 0.5},
        {"superpixel_scale": 2},
        {"working_width": None},
        {"minimum_box_side": 10},
        {"seed": 1},
    ],
)
def test_every_setting_changes_the_fingerprint(changes: dict[str, Any]) -> None:
    fingerprint = SelectiveSearch(SelectiveSearchConfig(**changes)).fingerprint
    assert fingerprint != SelectiveSearch().fingerprint
    assert fingerprint == SelectiveSearch(SelectiveSearchConfig(**changes), threads=2).fingerprint


def test_whole_numbers_and_lists_make_the_same_configuration() -> None:
    written: Any = {"colour_spaces": ["HSV", "Lab"], "ks": [50, 100], "superpixel_scale": 1}
    config = SelectiveSearchConfig(**written)
    assert config == SelectiveSearchConfig()
    assert hash(config) == hash(SelectiveSearchConfig())
    assert SelectiveSearch(config).fingerprint == SelectiveSearch().fingerprint


def test_pydantic_reads_it() -> None:
    adapter = pydantic.TypeAdapter(SelectiveSearchConfig)
    config = SelectiveSearchConfig(ks=(50, 100, 150), working_width=None, seed=3)
    assert adapter.validate_json(adapter.dump_json(config)) == config
    with pytest.raises(pydantic.ValidationError, match="known are CTSF"):
        adapter.validate_python({"similarities": ["X"]})
    with pytest.raises(pydantic.ValidationError, match="workin_width"):
        adapter.validate_python({"workin_width": 500})


def test_threads_must_be_positive() -> None:
    with pytest.raises(ValueError, match="threads must be at least 1, not 0"):
        SelectiveSearch(threads=0)
