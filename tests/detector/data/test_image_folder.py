"""Photos labeled by the names of their folders or files."""

from pathlib import Path

import pytest

from detector.data.image_folder import class_folders, labeled_photos
from detector.errors import InputError
from detector.inference.classification import imagenet_classes

CLASSES = ("n01440764 tench, Tinca tinca", "n01443537 goldfish, Carassius auratus", "cat", "red circle", "red_square")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / ".cache/photos"  # a hidden folder above does not matter


def make(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def labels(root: Path, classes: tuple[str, ...] = CLASSES) -> dict[str, int]:
    return {str(p.path.relative_to(root)): p.label for p in labeled_photos(root, classes)}


@pytest.mark.parametrize(
    ("classes", "expected"),
    [
        (
            CLASSES,
            {
                "n01440764/x.jpg": 0, "n01440764_tench.jpg": 0, "n01440764 tench, Tinca tinca/x.jpg": 0,
                "tench/x.jpg": 0,
                "n01443537/deeper/x.JPEG": 1, "n01443537_goldfish/x.png": 1, "n01443537_10026.JPEG": 1,
                "n01443537.jpg": 1, "goldfish_1.jpg": 1, "cat/dog.jpg": 2, "cat_1_b.webp": 2, "cat.jpg": 2,
                "red circle/1.jpg": 3, "red circle_1.jpg": 3, "red_square/1.jpg": 4, "red_square_1.jpg": 4,
                "red_square.jpg": 4,
            },
        ),
        (("crane, bird", "crane"), {"crane_1.jpg": 1}),  # a whole name comes before a synonym
        (("crane", "x", "crane, machine", "maillot", "maillot"), {"crane_1.jpg": 0, "maillot/1.jpg": 3}),
        (("red", "red_blue"), {"red_1.jpg": 0, "red_blue_1.jpg": 1}),
        (imagenet_classes(), {
            f"{name}/1.jpg": imagenet_classes().index(name)
            for name in ("tiger", "tiger shark", "espresso", "espresso maker", "bee", "bee eater")
        }),
    ],
)  # fmt: skip
def test_names(root: Path, classes: tuple[str, ...], expected: dict[str, int]):
    make(root, *expected)
    assert labels(root, classes) == expected


def test_order_links_and_what_is_no_photo(root: Path, tmp_path: Path):
    """Hidden files, as macOS and notebooks leave them behind, are passed over."""
    make(root, "cat/b.jpg", "cat/a.jpg", "n01440764_x.png", "cat/notes.txt", "synset_words.txt")
    make(root, "cat/._a.jpg", ".ipynb_checkpoints/cat.jpg", "cat/.trash/b.jpg", "._cat.jpg")
    (root / "folder.jpg").mkdir()
    make(tmp_path / "elsewhere", "1.jpg")
    (root / "tench").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    assert list(labels(root)) == ["cat/a.jpg", "cat/b.jpg", "n01440764_x.png", "tench/1.jpg"]


@pytest.mark.parametrize("name", ["dog/cat.jpg", "dog_1.jpg", "catalogue.jpg", "n99999999/x.jpg", "red_1.jpg"])
def test_unknown_class(root: Path, name: str):
    make(root, "cat/1.jpg", name)
    with pytest.raises(
        InputError, match=rf"^{root / name}: '.*is not one of the model's 5 classes, such as 'n01440764"
    ):
        labeled_photos(root, CLASSES)


def test_folders_without_photos(root: Path):
    with pytest.raises(InputError, match=r"photos: no such folder of photos"):
        labeled_photos(root, CLASSES)
    make(root, "cat/readme.txt")
    with pytest.raises(InputError, match=r"photos: holds no photos; name them CLASS/photo\.jpg or CLASS_photo\.jpg"):
        labeled_photos(root, CLASSES)


def test_class_folders(root: Path):
    with pytest.raises(InputError, match="photos: no such folder"):
        class_folders(root)
    make(root, "b/1.jpg", "c.jpg", ".hidden/1.jpg")
    with pytest.raises(InputError, match="photos: has 1 subfolders; give one for each of at least two classes"):
        class_folders(root)
    make(root, "a/1.jpg", "B/1.jpg")
    assert class_folders(root) == ("B", "a", "b")
