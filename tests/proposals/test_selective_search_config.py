import itertools
import re
from dataclasses import replace
from typing import Any

import pydantic
import pytest

from proposals import PRESETS, SelectiveSearch, SelectiveSearchConfig
from proposals.config import SIMILARITIES


@pytest.mark.parametrize(
    ("name", "spaces", "similarities", "ks"),
    [
        ("single", "HSV", "CTSF", "100"),
        ("fast", "HSV Lab", "CTSF TSF", "50 100"),
        ("quality", "HSV Lab rgI H I", "CTSF TSF F S", "50 100 150 300"),
    ],
)
def test_presets_are_those_of_table_8(name: str, spaces: str, similarities: str, ks: str) -> None:
    search = SelectiveSearch(SelectiveSearchConfig.preset(name))
    combinations = itertools.product(spaces.split(), ks.split(), similarities.split())
    assert list(search.source_names) == [
        f"selective_search/{space}/{similarity}/{k}" for space, k, similarity in combinations
    ]


def test_the_presets_of_the_paper_differ_only_in_their_strategies() -> None:
    assert list(PRESETS) == ["single", "fast", "balanced", "quality"]
    default = SelectiveSearchConfig()
    assert SelectiveSearchConfig.preset("fast") == default
    assert len({SelectiveSearch(config).fingerprint for config in PRESETS.values()}) == 4
    strategies = {name: getattr(default, name) for name in ("color_spaces", "similarities", "ks")}
    papers = [PRESETS[name] for name in ("single", "fast", "quality")]
    assert {replace(config, **strategies) for config in papers} == {default}


def test_unknown_preset() -> None:
    with pytest.raises(ValueError, match=r"^preset 'slow' .* single, fast, balanced, quality$"):
        SelectiveSearchConfig.preset("slow")


def test_similarities() -> None:
    assert " ".join(SIMILARITIES) == "CTSF CTS CTF CSF TSF CT CS CF TS TF SF C T S F"


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("color_spaces", ("HSV", "lab"), "'lab' .*'Lab'.* RGB, I, Lab, rgI, HSV, rgb, C, H$"),
        ("color_spaces", "HSV", "list.* not 'HSV'$"),
        ("color_spaces", (1,), "1 "),
        ("similarities", ("FC",), "'FC' .* CTSF, .*TSF.*, C, T, S, F$"),
        ("similarities", [["C", "T"]], r"\['C', 'T'\]"),
        ("similarities", ("CTSF", "S", "CTSF"), "twice: CTSF, S, CTSF"),
        ("ks", (50, 50.0), "twice"),
        ("ks", (), r"list.* not \(\)$"),
        ("ks", ("50",), "number .* not '50'$"),
        ("ks", [[50]], r"number .* not \[50\]$"),
        ("ks", (0,), "above 0 .* not 0$"),
        ("ks", (float("nan"),), "number .* not nan$"),
        ("sigma", -0.1, "from 0 "),
        ("sigma", "0.8", "number"),
        ("superpixel_scale", 0, "above 0 "),
        ("minimum_size", float("inf"), "from 0 "),
        ("working_width", 0, "whole number from 16 "),
        ("working_width", 500.5, "whole number"),
        ("working_width", 10_001, "to 10000, not 10001$"),
        ("enlarge", 1, "not 1$"),
        ("minimum_box_side", 0, "whole number from 1 "),
        ("seed", -1, "whole number from 0 "),
    ],
)
def test_invalid_settings_name_the_field(field: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{field}:? .*{message}") as error:
        SelectiveSearchConfig(**{field: value})
    assert "\n" not in str(error.value)


CHANGES: dict[str, Any] = {
    "color_spaces": ("HSV",),
    "similarities": ("CTSF",),
    "ks": (50, 150),
    "minimum_size": 100,
    "sigma": 0.5,
    "superpixel_scale": 2,
    "working_width": None,
    "enlarge": True,
    "minimum_box_side": 10,
    "seed": 1,
}


@pytest.mark.parametrize("field", CHANGES)
def test_every_setting_changes_the_fingerprint(field: str) -> None:
    config = SelectiveSearchConfig(**{field: CHANGES[field]})
    fingerprint = SelectiveSearch(config).fingerprint
    assert fingerprint != SelectiveSearch().fingerprint
    assert re.fullmatch("[0-9a-f]{32}", fingerprint)
    assert fingerprint == SelectiveSearch(config, threads=2).fingerprint


def test_integers_and_lists_give_the_same_configuration() -> None:
    values: Any = {"color_spaces": ["HSV", "Lab"], "ks": [50, 100], "superpixel_scale": 1}
    config = SelectiveSearchConfig(**values)
    assert config == SelectiveSearchConfig()
    assert SelectiveSearch(config).fingerprint == SelectiveSearch().fingerprint


def test_pydantic_reads_it() -> None:
    adapter = pydantic.TypeAdapter(SelectiveSearchConfig)
    config = SelectiveSearchConfig(ks=(50, 100, 150), working_width=None, enlarge=True, seed=3)
    assert adapter.validate_json(adapter.dump_json(config)) == config
    for values in ({"similarities": ["X"]}, {"workin_width": 500}):
        with pytest.raises(pydantic.ValidationError, match=next(iter(values))):
            adapter.validate_python(values)
