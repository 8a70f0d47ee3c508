"""Photos labeled by the names of their folders or files."""

from pathlib import Path

import pytest

from detector.data.image_folder import class_folders, labeled_photos
from detector.errors import InputError
from detector.inference.classification import imagenet_classes

CLASSES = ("n01440764 tench, Tinca tinca", "n01443537 goldfish, Carassius auratus", "cat", "red circle", "red_square")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "photos"


def make(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def labels(root: Path, classes: tuple[str, ...] = CLASSES) -> dict[str, int]:
    return {str(p.path.relative_to(root)): p.label for p in labeled_photos(root, classes)}


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("n01440764/x.jpg", 0),
        ("n01443537/deeper/x.JPEG", 1),
        ("n01443537_goldfish/x.png", 1),
        ("n01440764_tench.jpg", 0),
        ("n01443537_10026.JPEG", 1),
        ("n01443537.jpg", 1),
        ("n01440764 tench, Tinca tinca/x.jpg", 0),
        ("tench/x.jpg", 0),
        ("goldfish_1.jpg", 1),
        ("cat/dog.jpg", 2),
        ("cat_1_b.webp", 2),
        ("cat.jpg", 2),
        ("red circle/1.jpg", 3),
        ("red circle_1.jpg", 3),
        ("red_square/1.jpg", 4),
        ("red_square_1.jpg", 4),
        ("red_square.jpg", 4),
    ],
)
def test_names(root: Path, name: str, label: int):
    make(root, name)
    assert labels(root) == {name: label}


def test_order_and_what_is_no_photo(root: Path):
    make(root, "cat/b.jpg", "cat/a.jpg", "n01440764_x.png", "cat/notes.txt", "synset_words.txt")
    (root / "folder.jpg").mkdir()
    assert list(labels(root)) == ["cat/a.jpg", "cat/b.jpg", "n01440764_x.png"]


def test_hidden_files_are_left_out(root: Path):
    """As macOS and notebooks leave them behind; `detector.runner.sources` passes them over too."""
    make(root, "cat/a.jpg", "cat/._a.jpg", ".ipynb_checkpoints/cat.jpg", "cat/.trash/b.jpg", "._cat.jpg")
    assert list(labels(root)) == ["cat/a.jpg"]


def test_a_hidden_folder_above_does_not_matter(tmp_path: Path):
    make(tmp_path / ".cache/photos", "cat/a.jpg")
    assert list(labels(tmp_path / ".cache/photos")) == ["cat/a.jpg"]


@pytest.mark.parametrize("name", ["tiger", "tiger shark", "espresso", "espresso maker", "bee", "bee eater"])
def test_a_whole_name_is_not_the_beginning_of_another(root: Path, name: str):
    classes = imagenet_classes()
    make(root, f"{name}/1.jpg")
    assert labels(root, classes) == {f"{name}/1.jpg": classes.index(name)}


def test_a_whole_name_comes_before_a_synonym(root: Path):
    make(root, "crane_1.jpg")
    assert labels(root, ("crane, bird", "crane")) == {"crane_1.jpg": 1}


def test_of_equal_names_the_first_counts(root: Path):
    make(root, "crane_1.jpg", "maillot/1.jpg")
    classes = ("crane", "x", "crane, machine", "maillot", "maillot")
    assert labels(root, classes) == {"crane_1.jpg": 0, "maillot/1.jpg": 3}


def test_the_longest_name_counts(root: Path):
    make(root, "red_1.jpg", "red_blue_1.jpg")
    assert labels(root, ("red", "red_blue")) == {"red_1.jpg": 0, "red_blue_1.jpg": 1}


@pytest.mark.parametrize("name", ["dog/cat.jpg", "dog_1.jpg", "catalogue.jpg", "n99999999/x.jpg", "red_1.jpg"])
def test_unknown_class(root: Path, name: str):
    make(root, "cat/1.jpg", name)
    with pytest.raises(
        InputError, match=r"is not one of the model's 5 classes, such as 'n01440764 tench, Ti"
    ) as caught:
        labeled_photos(root, CLASSES)
    assert str(caught.value).startswith(f"{root / name}: '")
    assert "\n" not in str(caught.value)


def test_folders_without_photos(root: Path):
    with pytest.raises(InputError, match=r"photos: no such folder of photos"):
        labeled_photos(root, CLASSES)
    make(root, "cat/readme.txt")
    with pytest.raises(InputError, match=r"photos: holds no photos; name them CLASS/photo\.jpg or CLASS_photo\.jpg"):
        labeled_photos(root, CLASSES)
    with pytest.raises(InputError, match=r"readme\.txt: no such folder"):
        labeled_photos(root / "cat/readme.txt", CLASSES)


def test_class_folders(root: Path):
    with pytest.raises(InputError, match="photos: no such folder"):
        class_folders(root)
    make(root, "b/1.jpg", "c.jpg", ".hidden/1.jpg")
    with pytest.raises(InputError, match="photos: has 1 subfolders; give one for each of at least two classes"):
        class_folders(root)
    make(root, "a/1.jpg", "B/1.jpg")
    assert class_folders(root) == ("B", "a", "b")


def test_linked_folders_are_followed(root: Path, tmp_path: Path):
    elsewhere = tmp_path / "elsewhere"
    make(elsewhere, "1.jpg")
    root.mkdir()
    (root / "cat").symlink_to(elsewhere, target_is_directory=True)
    assert labels(root, ("cat", "dog")) == {"cat/1.jpg": 0}
