"""Classes by WordNet id: of a classifier, and of a file."""

from pathlib import Path

import pytest

from detector.config import CONFIG_FOLDER
from detector.data.voc import VOC_CLASSES
from detector.errors import InputError
from detector.models.files import DEFAULT_CLASSIFIER, classes_of_model, model_files
from detector.models.synsets import synset_classes
from detector.structures.class_names import same_classes

CLASSES = (
    "n00000001 tabby, tabby cat",
    "n00000002 crane",
    "n00000003 crane",
    "n00000004 maillot",
    "n00000005 maillot, tank suit",
    "n00000006 Alsatian, German shepherd",
    "n00000007 Cardigan, corgi",
    "n00000008 cardigan",
)
checkout = pytest.mark.skipif(not DEFAULT_CLASSIFIER.exists(), reason="the classifier comes with a checkout")


def test_all_classes_of_a_classifier():
    """Two classes of one name are told apart by their WordNet ids, and a name wins over a synonym."""
    classes = synset_classes(CLASSES)
    assert classes.names == (
        *("tabby", "crane (n00000002)", "crane (n00000003)", "maillot (n00000004)", "maillot (n00000005)"),
        *("Alsatian", "Cardigan (n00000007)", "cardigan (n00000008)"),
    )
    assert classes.synsets == tuple(name[:9] for name in CLASSES)
    assert classes.members == tuple((index,) for index in range(8))
    assert classes.synonyms["tabby cat"] == classes.synonyms["n00000001"] == "tabby"
    assert classes.synonyms["alsatian"] == classes.synonyms["german shepherd"] == "Alsatian"
    assert classes.synonyms["tank suit"] == "maillot (n00000005)"
    assert "crane" not in classes.synonyms
    assert "cardigan" not in classes.synonyms


def test_classes_of_a_file(tmp_path: Path):
    path = tmp_path / "map.tsv"
    path.write_text("# mine\n\nn00000006\nn00000099\tanimal\tn00000001, n00000002\nn00000003\thoist\n")
    classes = synset_classes(CLASSES, path)
    assert classes.names == ("Alsatian", "animal", "hoist")
    assert classes.synsets == ("n00000006", "n00000099", "n00000003")
    assert classes.members == ((5,), (0, 1), (2,))
    assert classes.synonyms["german shepherd"] == "Alsatian"
    assert classes.synonyms["n00000099"] == "animal"
    assert classes.synonyms["crane"] == "hoist"
    assert "tabby cat" not in classes.synonyms, "one of several that are an animal"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "holds no class"),
        ("dog\n", "line 1 .*'dog'"),
        ("n00000001\nn00000099\tanimal\tn00000001,n00000009\n", "line 2: .*n00000009"),
        ("n00000099\tanimal\n", "line 1: .*n00000099"),
        ("n00000001\nn00000001\n", "line 2: n00000001 tabby"),
        ("n00000001\tx\nn00000002\tx\n", "line 2: n00000002 x"),
    ],
)
def test_wrong_files(tmp_path: Path, content: str, message: str):
    path = tmp_path / "map.tsv"
    path.write_text(content)
    with pytest.raises(InputError, match=rf"map\.tsv: {message}"):
        synset_classes(CLASSES, path)


def test_a_classifier_without_wordnet_ids():
    with pytest.raises(InputError, match="'dog'"):
        synset_classes(("n00000001 tabby", "dog"))


@checkout
def test_the_classes_of_the_detection_task():
    names, synonyms = classes_of_model("ilsvrc200")
    assert names is not None
    assert len(names) == 200
    assert (names[0], names[123], names[199]) == ("accordion", "person", "zebra")
    assert set(VOC_CLASSES) - set(same_classes(names, VOC_CLASSES).values()) == {"boat", "bottle", "pottedplant"}
    assert synonyms["n02121808"] == "domestic cat"
    assert [file.stem for file in model_files("ilsvrc200")] == ["voc07", "bvlc_googlenet"]


@checkout
def test_imagenets_classes():
    names, synonyms = classes_of_model("imagenet1000")
    assert classes_of_model(config=CONFIG_FOLDER / "imagenet1000.yaml") == (names, synonyms)
    assert names is not None
    assert len(set(names)) == 1000
    assert "golden retriever" in names
    assert synonyms["alsatian"] == "German shepherd"
