"""Every file in configs/ can be read, and has a header of three lines and a section in the README."""

from pathlib import Path

import pytest
import yaml

from detector.config import CONFIG_FOLDER, DetectorConfig, find_config, parse
from detector.errors import InputError
from detector.models.files import find_model
from detector.training.recipes import load_recipe

CONFIGS = sorted(CONFIG_FOLDER.rglob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_configuration(path: Path):
    values = yaml.safe_load(path.read_text())
    if "models" in values:
        assert all(find_model(name).exists() for name in parse(DetectorConfig, values, path.name).models)
    else:
        load_recipe(path)
    what, command, result, body = path.read_text().split("\n", 3)
    assert what.startswith("# ")
    assert command.startswith("#   python tools/")
    assert str(path.relative_to(CONFIG_FOLDER).with_suffix("")) in command.split()
    assert result.startswith("# ")
    assert not body.startswith("#")
    assert f"## {path.relative_to(CONFIG_FOLDER)}" in (CONFIG_FOLDER / "README.md").read_text()


def test_a_wrong_name_lists_the_names_that_work():
    with pytest.raises(InputError) as error:
        load_recipe("voc07")
    names = str(error.value).partition("the package has ")[2].split(", ")
    assert sorted(find_config(name) for name in names) == CONFIGS
