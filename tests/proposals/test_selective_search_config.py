import itertools
import re
from dataclasses import FrozenInstanceError, fields, replace
from typing import Any

import pydantic
import pytest

from proposals import PRESETS, SelectiveSearch, SelectiveSearchConfig
from proposals.config import COLOR_SPACES, SIMILARITIES


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
    assert (config.sigma, config.minimum_size, config.superpixel_scale) == (0.8, None, 1)
    assert (config.working_width, config.enlarge, config.minimum_box_side) == (500, False, 20)


@pytest.mark.parametrize(
    ("name", "strategies", "spaces", "similarities", "ks"),
    [
        ("single", 1, "HSV", "CTSF", "100"),
        ("fast", 8, "HSV Lab", "CTSF TSF", "50 100"),
        ("quality", 80, "HSV Lab rgI H I", "CTSF TSF F S", "50 100 150 300"),
    ],
)
def test_presets_are_those_of_the_paper(name: str, strategies: int, spaces: str, similarities: str, ks: str) -> None:
    names = SelectiveSearch(SelectiveSearchConfig.preset(name)).source_names
    assert len(names) == len(set(names)) == strategies
    # Table 8 of the paper.
    assert list(names) == [
        f"selective_search/{space}/{similarity}/{k}"
        for space in spaces.split()
        for k in ks.split()
        for similarity in similarities.split()
    ]


def test_presets_differ_in_their_strategies_alone() -> None:
    assert list(PRESETS) == ["single", "fast", "quality"]
    assert SelectiveSearchConfig.preset("fast") == SelectiveSearchConfig()
    assert len({SelectiveSearch(config).fingerprint for config in PRESETS.values()}) == 3
    default = SelectiveSearchConfig()
    strategies = {name: getattr(default, name) for name in ("color_spaces", "similarities", "ks")}
    for config in PRESETS.values():
        assert replace(config, **strategies) == default


def test_a_preset_can_be_changed() -> None:
    config = SelectiveSearchConfig.preset("single", superpixel_scale=2, ks=[50, 150], seed=4)
    assert config == SelectiveSearchConfig(
        color_spaces=("HSV",), similarities=("CTSF",), ks=(50, 150), superpixel_scale=2, seed=4
    )
    assert config.ks == (50.0, 150.0)
    # The preset itself stays as it is.
    assert SelectiveSearchConfig.preset("single").seed == 0
    with pytest.raises(ValueError, match=r"^seed must be a whole number"):
        SelectiveSearchConfig.preset("quality", seed=-3)
    with pytest.raises(TypeError, match="colors"):
        SelectiveSearchConfig.preset("single", colors=("HSV",))


@pytest.mark.parametrize("name", ["slow", "Fast", "", "selective_search"])
def test_an_unknown_preset_names_the_known(name: str) -> None:
    with pytest.raises(ValueError, match=f"^preset '{name}' is unknown; .* single, fast, quality$"):
        SelectiveSearchConfig.preset(name)


def test_there_are_eight_color_spaces_and_fifteen_similarities() -> None:
    assert COLOR_SPACES == ("RGB", "I", "Lab", "rgI", "HSV", "rgb", "C", "H")
    assert " ".join(SIMILARITIES) == "CTSF CTS CTF CSF TSF CT CS CF TS TF SF C T S F"
    every = SelectiveSearch(SelectiveSearchConfig(color_spaces=COLOR_SPACES, similarities=SIMILARITIES))
    assert len(set(every.source_names)) == 8 * 15 * 2


def test_settings_cannot_be_changed_afterwards() -> None:
    with pytest.raises(FrozenInstanceError):
        SelectiveSearchConfig().seed = 3  # type: ignore[misc]
    with pytest.raises(TypeError, match="colors"):
        SelectiveSearchConfig(colors=("HSV",))  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"color_spaces": ("HSV", "lab")},
            "color_spaces: 'lab' is unknown; do you mean 'Lab'\\? Known are RGB, I, Lab, rgI, HSV, rgb, C, H$",
        ),
        ({"color_spaces": ("hsv", "BGR")}, "color_spaces: 'hsv' is unknown"),
        ({"similarities": ("FC",)}, "similarities: 'FC' is unknown; .* CTSF, .*TSF.*, C, T, S, F$"),
        ({"similarities": ("ctsf",)}, "similarities: 'ctsf' is unknown; do you mean 'CTSF'"),
        ({"similarities": ("CTSF", "S", "CTSF")}, "similarities must not hold the same value twice: CTSF, S, CTSF"),
        ({"similarities": ("",)}, "similarities: '' is unknown"),
        ({"color_spaces": "HSV"}, "color_spaces must be a list, not 'HSV'"),
        ({"ks": ()}, "ks must not be empty"),
        ({"ks": ("50",)}, r"ks must be a list of numbers, not \('50',\)"),
        ({"ks": (True,)}, "ks must be a list of numbers"),
        ({"ks": [[50]]}, "ks must be a list of numbers"),
        ({"color_spaces": (1,)}, "color_spaces must be a list of names"),
        ({"similarities": [["C", "T"]]}, "similarities must be a list of names"),
        ({"ks": (50, 50.0)}, "ks must not hold the same value twice"),
        ({"ks": (0,)}, "ks must be a number above 0"),
        ({"ks": (float("nan"),)}, "ks must be a number"),
        ({"sigma": -0.1}, "sigma must be a number from 0"),
        ({"sigma": "0.8"}, "sigma must be a number"),
        ({"superpixel_scale": 0}, "superpixel_scale must be a number above 0"),
        ({"minimum_size": float("inf")}, "minimum_size must be a number from 0"),
        ({"minimum_size": -1}, "minimum_size must be a number from 0"),
        ({"minimum_size": True}, "minimum_size must be a number from 0"),
        ({"working_width": 0}, "working_width must be a whole number from 16"),
        ({"working_width": 500.5}, "working_width must be a whole number"),
        ({"working_width": 10_001}, "working_width must be a whole number from 16 to 10000, not 10001"),
        ({"enlarge": 1}, "enlarge must be true or false, not 1"),
        ({"enlarge": None}, "enlarge must be true or false, not None"),
        ({"minimum_box_side": 0}, "minimum_box_side must be a whole number from 1"),
        ({"seed": -1}, "seed must be a whole number from 0"),
        ({"seed": True}, "seed must be a whole number"),
    ],
)
def test_wrong_settings_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}") as error:
        SelectiveSearchConfig(**changes)
    assert "\n" not in str(error.value)


CHANGES: tuple[dict[str, Any], ...] = (
    {"color_spaces": ("HSV",)},
    {"similarities": ("CTSF",)},
    {"ks": (50, 150)},
    {"minimum_size": 100},
    {"sigma": 0.5},
    {"superpixel_scale": 2},
    {"working_width": None},
    {"enlarge": True},
    {"minimum_box_side": 10},
    {"seed": 1},
)


def test_every_setting_is_among_the_changes() -> None:
    assert [*itertools.chain(*CHANGES)] == [field.name for field in fields(SelectiveSearchConfig)]


@pytest.mark.parametrize("changes", CHANGES)
def test_every_setting_changes_the_fingerprint(changes: dict[str, Any]) -> None:
    fingerprint = SelectiveSearch(SelectiveSearchConfig(**changes)).fingerprint
    assert fingerprint != SelectiveSearch().fingerprint
    assert re.fullmatch("[0-9a-f]{32}", fingerprint)
    assert fingerprint == SelectiveSearch(SelectiveSearchConfig(**changes), threads=2).fingerprint


def test_whole_numbers_and_lists_make_the_same_configuration() -> None:
    written: Any = {"color_spaces": ["HSV", "Lab"], "ks": [50, 100], "superpixel_scale": 1}
    config = SelectiveSearchConfig(**written)
    assert config == SelectiveSearchConfig()
    assert hash(config) == hash(SelectiveSearchConfig())
    assert SelectiveSearch(config).fingerprint == SelectiveSearch().fingerprint
    whole, decimal = (SelectiveSearch(SelectiveSearchConfig(minimum_size=size)) for size in (40, 40.0))
    assert whole.fingerprint == decimal.fingerprint


def test_pydantic_reads_it() -> None:
    adapter = pydantic.TypeAdapter(SelectiveSearchConfig)
    config = SelectiveSearchConfig(ks=(50, 100, 150), working_width=None, enlarge=True, seed=3)
    assert adapter.validate_json(adapter.dump_json(config)) == config
    with pytest.raises(pydantic.ValidationError, match=" are CTSF"):
        adapter.validate_python({"similarities": ["X"]})
    with pytest.raises(pydantic.ValidationError, match="workin_width"):
        adapter.validate_python({"workin_width": 500})


def test_threads_must_be_positive() -> None:
    with pytest.raises(ValueError, match="threads must be at least 1, not 0"):
        SelectiveSearch(threads=0)
