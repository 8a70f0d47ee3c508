"""The page without a server: accepted and refused requests, and whose photos it shows."""

import io
import re
from concurrent.futures import Future
from html.parser import HTMLParser
from pathlib import Path
from threading import Event

import pytest
from PIL import ExifTags
from PIL import Image as PillowImage

from detector.data import VOCDataset
from detector.explorer import Explanation
from detector.explorer.image_cache import BusyError, ImageCache, Session
from detector.explorer.page import make_page
from detector.inference.pipeline import DetectionPipeline

STATIC = Path(__file__).parents[3] / "detector/explorer/static"


@pytest.fixture(scope="module")
def opened(client, photos: Path) -> str:
    """The stages of the cat."""
    answer = client.open("/photos?name=cat.jpg", (photos / "cat.jpg").read_bytes())
    assert answer.status_code == 200
    return answer.text


def saved(kind: str, image: PillowImage.Image, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def key_of(html: str) -> str:
    found = re.search(r'data-key="([\w-]+)"', html)
    assert found is not None
    return found[1]


class Forms(HTMLParser):
    """The panels of a page, and the initial values of their controls."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.panels: dict[str, dict[str, str]] = {}
        self._values: dict[str, str] = {}
        self._select = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attributes}
        if tag == "form":
            self._values = self.panels[given["data-panel"]] = {}
        elif tag == "select":
            self._select = given["name"]
        elif tag == "option":
            self._values.setdefault(self._select, given["value"])
        elif tag == "input" and "data-values" in given:
            self._values[given["name"]] = given["data-values"].split()[int(given["value"])]
        elif tag == "input" and given.get("value"):
            self._values[given["name"]] = given["value"]


def test_every_panel_answers_its_controls_with_pictures(client, opened: str, explanation: Explanation):
    panels = Forms(opened).panels
    assert set(panels) == {
        "segmentation", "levels", "proposals", "region", "regression", "suppression", "detections",
    }  # fmt: skip
    for panel, values in panels.items():
        answer = client.get(f"/photos/{key_of(opened)}/{panel}", params=values)
        assert answer.status_code == 200, answer.text
        assert answer.text.count("data:image/jpeg;base64,") == {"segmentation": 8}.get(panel, answer.text.count("<img"))
        assert "<img" in answer.text
    assert "cat.jpg</strong>: 451x300 pixels;" in opened
    assert "1 object," in opened
    assert f"<td>cat</td><td>{explanation.detections()[0].score:.2f}</td>" in answer.text


def test_nothing_comes_from_elsewhere(client, opened: str):
    page = client.get("/")
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "http" not in policy
    texts = [page.text, opened, *(path.read_text() for path in STATIC.iterdir())]
    for text in texts:
        assert set(re.findall(r"https?://[\w.]+|[\"(]//[\w.]+", text)) <= {"http://www.w3.org"}  # the name of SVG
    assert client.get("/docs").status_code == client.get("/openapi.json").status_code == 404
    for name in re.findall(r'(?:src|href)="(static/[\w.]+)"', page.text):
        assert client.get(f"/{name}").status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/static/../page.py", "/static/%2e%2e/page.py", "/static/..%2fpage.py", "/static/%2e%2e%2f%2e%2e%2fpipeline.py",
        "/static//etc/passwd", "/static/%2fetc%2fpasswd", "/page.py", "/templates/page.html", "/static/",
        "/photos/..%2f..%2fetc%2fpasswd/detections?score=0.5",
    ],
)  # fmt: skip
def test_no_other_file_is_read(client, path: str):
    answer = client.get(path)
    assert answer.status_code in (404, 405, 410)
    assert "import" not in answer.text
    assert "root:" not in answer.text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "x.jpg: is a Git LFS pointer"),
        (b"this is a text\n", "x.jpg: not a photo in a known format; convert it to JPEG or PNG"),
        (b"", "x.jpg: the file is empty"),
        (b"\xff\xd8\xff\xe0" + b"\0" * 40, "x.jpg: "),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "x.jpg: not a photo in a known format"),
        (saved("JPEG", PillowImage.effect_noise((400, 300), 90))[:5000], "x.jpg: damaged or cut short"),
    ],
)
def test_a_file_that_is_not_an_image_gives_one_line(client, content: bytes, message: str):
    answer = client.open("/photos?name=x.jpg", content)
    assert answer.status_code == 422
    assert answer.text.startswith(message)
    assert "\n" not in answer.text


RED, BLUE = (PillowImage.new("RGB", (32, 24), color) for color in ("red", "blue"))
PHOTO = saved("PNG", RED)
TURNED = PillowImage.Exif()
TURNED[ExifTags.Base.Orientation] = 6


@pytest.mark.parametrize(
    ("content", "size"),
    [
        (saved("PNG", PillowImage.new("RGB", (1, 1))), "1x1 pixels;"),
        (saved("JPEG", RED, exif=TURNED), "24x32 pixels;"),
        (saved("GIF", RED, save_all=True, append_images=[BLUE]), "32x24 pixels;"),
        (saved("PNG", PillowImage.new("RGB", (3, 3000))), "3x3000 pixels, reduced to 2x2000;"),
    ],
    ids=["one pixel", "rotated", "animated", "narrow"],
)
def test_odd_photos_are_shown(client, content: bytes, size: str):
    answer = client.open("/photos", content)
    assert answer.status_code == 200, answer.text
    assert size in answer.text
    for panel, values in Forms(answer.text).panels.items():
        shown = client.get(f"/photos/{key_of(answer.text)}/{panel}", params=values)
        assert shown.status_code == 200, (panel, shown.text)


@pytest.mark.slow
def test_a_photo_of_100_megapixels(client):
    """A small file that decodes to 300 MB and is reduced before it is kept."""
    answer = client.open("/photos", saved("PNG", PillowImage.new("L", (10_000, 10_000), 90)))
    assert answer.status_code == 200, answer.text
    assert "10000x10000 pixels, reduced to 2000x2000;" in answer.text


def test_a_photo_of_400_megapixels(client):
    answer = client.open("/photos", saved("PNG", PillowImage.new("1", (20_000, 20_000))))
    assert (answer.status_code, "larger than the limit of 150 megapixels" in answer.text) == (422, True)


def test_a_larger_upload_is_refused_with_or_without_a_content_length(client):
    assert client.open("/photos", b"\0" * 3_000_001).status_code == 413

    async def parts():
        for _ in range(1000):
            sent.append(100_000)
            yield b"\0" * 100_000

    sent: list[int] = []
    answer = client.open("/photos", parts())
    assert answer.status_code == 413
    assert answer.text.startswith("the file is larger than 3 MB")
    assert sum(sent) < 4_000_000, "the rest is not read"


def test_a_name_is_shown_as_text_and_cut(client):
    answer = client.open("/photos", b"")
    assert answer.text.startswith("photo: the file is empty")
    answer = client.open(f"/photos?name=%3Cb%3E%0A{500 * 'x'}", PHOTO)
    assert "<b>" not in answer.text
    assert "&lt;b&gt;xxx" in answer.text
    assert "x" * 100 not in answer.text


def test_requests_of_other_sites_and_for_other_hosts_are_refused(client):
    """Without a preflight request, a page of another site can send only the content types of forms."""
    for kind in ("text/plain", "multipart/form-data; boundary=x", "application/x-www-form-urlencoded"):
        for path in ("/photos", "/examples/0", "/samples/1"):
            assert client("POST", path, content=PHOTO, headers={"content-type": kind}).status_code == 415
    assert client.get("/", headers={"host": "example.org"}).status_code == 400
    for name in ("localhost:7860", "127.0.0.1:7860", "[::1]:7860", "localhost"):
        assert client.get("/", headers={"host": name}).status_code == 200


@pytest.mark.parametrize(
    "query",
    [
        "segmentation?k=7", "segmentation?k=nan", "segmentation", "levels?space=HSV&similarity=CTSF&k=50&count=0",
        "levels?space=x&similarity=CTSF&k=50&count=5", "proposals?count=-1", "proposals?count=5&source=99",
        "region?region=99999", "region?region=-1", "region?region=0&label=20", "region?region=0&x=2&y=0.5",
        "regression?score=0", "regression?score=nan", "suppression?score=0.5&iou=1.5", "detections?score=high",
    ],
)  # fmt: skip
def test_values_out_of_range_are_refused_in_one_line(client, opened: str, query: str):
    answer = client.get(f"/photos/{key_of(opened)}/{query}")
    assert answer.status_code == 422
    assert answer.text
    assert "\n" not in answer.text


def test_a_photo_without_annotations_has_no_ground_truth(client, opened: str):
    assert client.get(f"/photos/{key_of(opened)}/truth?count=5&score=0.5").status_code == 404
    assert client.open("/samples/000001").status_code == 422


def test_examples(client):
    page = client.get("/").text
    assert re.findall(r'data-open="(\w+/\d+)" title="(\w+)"', page) == [
        ("examples/0", "astronaut"),
        ("examples/1", "cat"),
    ]
    assert "cat.jpg</strong>" in client.open("/examples/1").text
    assert client.open("/examples/2").status_code == 422


def test_without_the_source_code_the_page_has_no_examples(
    detector: DetectionPipeline, client_of, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setattr("detector.explorer.image_cache._EXAMPLES", tmp_path / "site-packages/tests/photos")
    image_cache = ImageCache(detector)
    client = client_of(make_page(image_cache))
    page = client.get("/")
    assert page.status_code == 200
    assert "data-open" not in page.text
    assert client.open("/examples/0").status_code == 422
    image_cache.close()


def test_the_least_recently_used_photo_is_dropped_first(detector: DetectionPipeline, client_of):
    image_cache = ImageCache(detector, kept=2)
    client = client_of(make_page(image_cache))
    first, second = (key_of(client.open("/photos", PHOTO).text) for _ in range(2))
    assert first != second
    assert client.get(f"/photos/{first}/detections?score=0.5").status_code == 200
    third = key_of(client.open("/photos", PHOTO).text)
    codes = [client.get(f"/photos/{key}/detections?score=0.5").status_code for key in (first, second, third)]
    assert codes == [200, 410, 200]
    image_cache.close()


def test_photos_wait_in_a_queue_of_limited_length(detector: DetectionPipeline, monkeypatch: pytest.MonkeyPatch):
    done, order = Event(), []

    def slow(detector: DetectionPipeline, image):  # type: ignore[no-untyped-def]
        assert done.wait(10)
        order.append(image.name)
        return image

    monkeypatch.setattr("detector.explorer.image_cache.explain", slow)
    image_cache = ImageCache(detector, waiting=3)
    futures: list[Future[Session]] = [image_cache.add_upload(PHOTO, name) for name in "abc"]
    with pytest.raises(BusyError):
        image_cache.add_upload(PHOTO, "d")
    done.set()
    assert [future.result(10).name for future in futures] == order == ["a", "b", "c"]
    assert image_cache.add_upload(PHOTO, "d").result(10).name == "d"
    image_cache.close()


def test_an_image_of_a_data_set_has_its_objects(detector: DetectionPipeline, make_voc, client_of):
    root = make_voc({"a": [("cat", (1, 1, 50, 40), 0), ("dog", (60, 50, 90, 70), 1)], "b": []})
    image_cache = ImageCache(detector, VOCDataset(root, "val"))
    client = client_of(make_page(image_cache))
    assert '<option value="b">' in client.get("/").text
    stages = client.open("/samples/a").text
    values = Forms(stages).panels["truth"]
    shown = client.get(f"/photos/{key_of(stages)}/truth", params=values).text
    assert "<td>cat</td>" in shown
    assert "<td>dog (difficult)</td>" in shown
    assert "Recall of the first" in shown
    stages = client.open("/samples/b").text
    assert "No object counts" in client.get(f"/photos/{key_of(stages)}/truth", params=values).text
    answer = client.open("/samples/..%2fa")
    assert (answer.status_code, client.open("/samples/c").text) == (404, "c: no such image in val, which begins with a")
    image_cache.close()
