"""The report: its content, that it loads nothing from outside, and that a browser shows it."""

import dataclasses
import re
import shutil
import subprocess
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from PIL import Image

from detector.data.detection_table import DetectionTable
from detector.data.ground_truth import GroundTruth
from detector.data.traces import ObjectTraces
from detector.errors import InputError
from detector.evaluation.errors import MissReason, diagnose
from detector.evaluation.errors.diagnosis import count_reasons
from detector.evaluation.evaluation import Metric, evaluate
from detector.evaluation.metrics.bootstrap import bootstrap_average_precision
from detector.evaluation.metrics.voc import match_voc
from detector.evaluation.report.page import explain
from detector.evaluation.report.pictures import WORST
from detector.evaluation.report.sections import MATRIX_CLASSES, matrix_part, summary
from tests.detector.evaluation.tables import table_of, truth_of

VOID = {"meta", "br", "hr", "img", "input", "link"}
# Elements whose end tag HTML allows to omit.
OPTIONAL = {"td", "th", "tr"}
SECTIONS = ["classes", "errors", "misses", "confusion", "sizes", "curves", "calibration", "worst", "measured"]


class Page(HTMLParser):
    """The parsed page: its text, tags and attributes; it fails where elements are not nested."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        while self._open[-1] != tag and self._open[-1] in OPTIONAL:
            self._open.pop()
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self._open or self._open[-1] not in ("style", "script"):
            self.words.append(data)

    def attributes(self, name: str) -> list[str]:
        return [value or "" for _, attributes in self.tags for key, value in attributes.items() if key == name]


def traces_of(truth: GroundTruth) -> ObjectTraces:
    rng = np.random.default_rng(0)
    return ObjectTraces(
        proposal_overlaps=rng.random(len(truth)),
        sources=rng.integers(0, 2, len(truth)),
        source_names=("selective_search", "multibox"),
        region_scores=rng.random(len(truth)) * (rng.random(len(truth)) < 0.5),
    )


@pytest.fixture
def full(random_data: Callable) -> tuple:
    return random_data(0, images=30, difficult=0.1)


def rendered(truth: GroundTruth, detections: DetectionTable, traced: bool = True, **options: object) -> str:
    """`options` may name another metric or title."""
    data, failed = options.pop("data", "some photos"), options.pop("failed", {})
    evaluation = evaluate(truth, detections, options.pop("metric", "voc07"), data=data, failed=failed)
    options = {"title": "a model", "traces": traces_of(truth) if traced else None} | options
    with TemporaryDirectory() as folder:
        explain(path := Path(folder) / "why.html", truth, detections, evaluation, **options)
        return path.read_text(encoding="utf-8")


@pytest.fixture
def photos(tmp_path: Path, full: tuple) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for image_id in full[0].image_ids[:-1]:
        pixels = np.random.default_rng(image_id).integers(0, 255, (30, 40, 3), np.uint8)
        Image.fromarray(pixels).resize((400, 300)).save(folder / f"{image_id}.jpg")
    return folder


def test_all_sections_in_order(full: tuple, photos: Path) -> None:
    html = rendered(*full, photos=photos)
    page, diagnosis = Page(html), diagnose(*full, traces=traces_of(full[0]))
    intervals = bootstrap_average_precision([diagnosis.matches], "voc07")
    ends = [f"{100 * low:.0f} – {100 * high:.0f}" for low, high in zip(intervals.low, intervals.high, strict=True)]
    assert [value for value in page.attributes("id") if value != "top"] == SECTIONS
    assert [value for value in page.attributes("href") if value.startswith("#")] == [
        *(f"#{name}" for name in SECTIONS), "#top",
    ]  # fmt: skip
    for (name, result), interval in zip(diagnosis.result.classes.items(), ends, strict=False):
        assert f"{name} {100 * result.ap:.1f} {interval} {result.objects} {len(result.scores)}" in page.text
    interval = f"{100 * intervals.low[-1]:.1f} to {100 * intervals.high[-1]:.1f}"
    assert f"mAP, % {100 * diagnosis.result.mean_ap:.1f} 95 % interval {interval}" in page.text
    for line in summary(diagnosis):
        assert line in page.text
    counts = count_reasons(diagnosis.miss_reasons)[0]
    assert f"at any score {counts[0]} {counts[1]} {counts[2]} {counts[3]}" in page.text
    assert f"{counts.sum()} objects, missed ones first" in page.text
    assert "PASCAL VOC 2007, average precision at 11 points, IoU of at least 0.5" in page.text
    assert f"numpy {np.__version__}" in page.text
    assert html.count("data:image/jpeg;base64,") == WORST
    assert "nan" not in page.text.lower()
    assert html == rendered(*full, photos=photos)
    # Nothing is loaded from outside.
    assert not re.search(r"https?:|//[a-z]|@import|url\(", re.sub(r"base64,[^\"]*", "", html))
    assert page.attributes("src") == []
    assert all(value.startswith(("#", "data:image/jpeg;base64,")) for value in page.attributes("href"))
    assert not {"link", "iframe", "object", "embed", "form"} & {tag for tag, _ in page.tags}


def test_names_cannot_become_html(full: tuple, tmp_path: Path) -> None:
    truth, detections = full
    evil = "<script>alert('x')</script>\"'><img src=x onerror=alert(1)>{{ 7 * 7 }}"
    names = (evil, *truth.class_names[1:])
    ids = tuple(f"{evil}{i}" for i in truth.image_ids)
    truth = dataclasses.replace(truth, class_names=names, image_ids=ids, files=ids)
    detections = dataclasses.replace(detections, class_names=names, image_ids=ids)
    traces = dataclasses.replace(traces_of(truth), source_names=(evil, "multibox"))
    options = {"data": evil, "failed": {evil: evil}, "title": evil, "files": {evil: evil}}
    page = Page(rendered(truth, detections, traces=traces, photos=tmp_path, **options))
    assert sum(tag == "script" for tag, _ in page.tags) == 1
    assert not any(tag == "img" for tag, _ in page.tags)
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert evil in page.text
    assert f"Precision against recall of {evil}" in page.attributes("aria-label")


def test_a_photo_that_cannot_be_shown_is_explained(full: tuple, photos: Path) -> None:
    truth, detections = full
    first, second, third = (truth.image_ids[i] for i in diagnose(*full).images.worst(3))
    (photos / f"{first}.jpg").unlink()
    (photos / f"{second}.jpg").write_bytes(b"no photo")
    sizes = np.zeros((len(truth.image_ids), 2), np.int64)
    sizes[third] = 500, 300
    text = Page(rendered(dataclasses.replace(truth, image_sizes=sizes), detections, photos=photos)).text
    assert f"No picture: {first}: no such photo in the folder given" in text
    assert f"No picture: {second}.jpg: " in text
    assert f"No picture: {third}.jpg: 400x300 pixels, but annotated as 500x300" in text


def test_what_is_missing_is_said(full: tuple) -> None:
    text = Page(rendered(*full, traced=False)).text
    assert "These detections came without traces" in text
    assert "no folder of photos was given" in text
    truth, detections = full
    detections = dataclasses.replace(detections, scores=detections.scores * 7)
    assert "Some scores lie outside 0 to 1" in Page(rendered(truth, detections)).text
    for objects in (0, 1):
        truth = truth_of(*[(0, 0, (0, 0, 9, 9))] * objects, images=1)
        text = Page(rendered(truth, table_of(truth))).text
        assert "There are no detections." in text
        assert ("no objects that count" in text) == (objects == 0)


@pytest.mark.parametrize("lowest", [0.00025, 0.25])
def test_the_lowest_score_is_that_of_the_detections(full: tuple, lowest: float) -> None:
    """An object with only a detection of a very low score counts as found."""
    truth, detections = full
    detections = dataclasses.replace(detections, scores=np.full(len(detections), lowest))
    text = Page(rendered(truth, detections)).text
    assert f"Detections {len(detections)} with scores of {lowest} or more;" in text
    reasons = diagnose(truth, detections, traces=traces_of(truth)).miss_reasons
    hits = np.count_nonzero(match_voc(truth, detections)[0.5].true_positive)
    assert count_reasons(reasons)[0, MissReason.FOUND] == hits > 0


@pytest.mark.parametrize(
    ("metric", "numbers"), [("coco", ["COCO AP, %", "COCO AP50, %"]), ("ilsvrc", ["ILSVRC mAP, %"]), ("voc07", [])]
)
def test_numbers_of_another_metric_are_named(full: tuple, metric: Metric, numbers: list[str]) -> None:
    text = Page(rendered(*full, metric=metric)).text
    for name in numbers:
        assert name in text
    assert ("VOC mAP at IoU 0.5, %" in text) == ("everything below explains it" in text) == bool(numbers)


def test_many_classes_are_cut(random_data: Callable) -> None:
    truth, detections = random_data(1, images=200, classes=60)
    part = matrix_part(diagnose(truth, detections, score=0))
    assert len(part["columns"]) == len(part["rows"]) == MATRIX_CLASSES + 1
    assert part["left_out"] == 60 - MATRIX_CLASSES
    name, cells, _ = part["rows"][0]
    assert (name, cells[0][0]) == ("background", 0)


def test_wrong_arguments(full: tuple, tmp_path: Path) -> None:
    truth, detections = full
    evaluation = evaluate(truth, detections)
    with pytest.raises(InputError, match=r"nowhere.*No such file or directory"):
        explain(tmp_path / "nowhere" / "report.html", truth, detections, evaluation, title="a model")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError, match="other images or classes"):
        explain(tmp_path / "why.html", truth.first(3), detections, evaluation, title="a model")


CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_a_browser_shows_it(full: tuple, photos: Path, tmp_path: Path) -> None:
    """At the width of a phone no part of the page is wider, and tables can be sorted."""
    probe = tmp_path / "probe.html"
    page = rendered(*full, photos=photos)
    # In a frame, because a window of Chromium is at least 500 pixels wide. The script acts like a user of the phone.
    script = """<script>addEventListener("load", () => {
      const root = document.documentElement;
      document.querySelectorAll("details").forEach((details) => { details.open = true; });
      const button = document.querySelector("#classes thead button");
      button.click();
      const smallest = Math.min(...[...document.querySelectorAll("main *")].filter((e) => e.textContent.trim())
        .map((e) => parseFloat(getComputedStyle(e).fontSize)));
      parent.postMessage([root.scrollWidth, root.clientWidth, root.scrollHeight, smallest,
        document.querySelector("#classes tbody th").textContent,
        document.querySelector("image").getBoundingClientRect().width].join(" "), "*");
    });</script></body>"""
    inner = tmp_path / "inner.html"
    inner.write_text(page.replace("</body>", script), encoding="utf-8")
    probe.write_text(
        '<body><pre></pre><script>addEventListener("message", (e) => { document.querySelector("pre").textContent = '
        '"measured " + e.data; })</script><iframe src="inner.html" style="width:360px;height:800px;border:0"></iframe>',
        encoding="utf-8",
    )
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
             "--disable-background-networking", "--disable-component-update", "--allow-file-access-from-files",
             "--virtual-time-budget=5000"]  # fmt: skip
    command = [CHROMIUM, *flags, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", probe.as_uri()]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    measured = re.search(r"measured (\d+) (\d+) (\d+) ([\d.]+) (\S+) ([\d.]+)", dom)
    assert measured is not None, dom[:2000]
    scroll, width, height, smallest, first, picture = measured.groups()
    assert int(scroll) <= int(width) <= 360
    assert int(height) > 5000
    assert float(smallest) >= 12
    assert first == full[0].class_names[-1]  # sorted by the click, downwards
    assert 300 < float(picture) <= 360
