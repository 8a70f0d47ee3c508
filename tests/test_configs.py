"""Every file in configs/ is what its readers take."""

from pathlib import Path

import pytest
import yaml

from detector.config import DetectorConfig, parse
from detector.training.recipes import load_recipe

CONFIGS = sorted((Path(__file__).parents[1] / "configs").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_a_configuration(path: Path):
    values = yaml.safe_load(path.read_text())
    if "models" in values:
        assert parse(DetectorConfig, values, path.name).models
    else:
        load_recipe(path)
    lines = path.read_text().splitlines()
    assert lines[0].startswith("# ")
    assert any(line.startswith("#   python tools/") for line in lines), "the header gives the command"
