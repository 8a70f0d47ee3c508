import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.data.voc_xml import parse_annotation, parse_xml
from detector.errors import InputError

LABELS = {"cat": 0, "dog": 1}


def annotation(*objects: str) -> bytes:
    body = "".join(f"<object>{one}</object>" for one in objects)
    return f"<annotation><size><width>100</width><height>80</height></size>{body}</annotation>".encode()


def an_object(name: str, box: tuple[float, ...], more: str = "") -> str:
    sides = "".join(f"<{k}>{v}</{k}>" for k, v in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True))
    return f"<name>{name}</name>{more}<bndbox>{sides}</bndbox>"


def test_all_faults_of_a_file_are_reported_and_the_rest_is_read() -> None:
    content = annotation(
        an_object("lynx", (1, 1, 5, 5)),
        an_object("dog", (1, 1, 5, 5), "<difficult>1</difficult>"),
        an_object("cat", (1, 1, 500, 5)),
        "<name>cat</name>",
        an_object("cat", (1.5, 1, 5, 5), "<difficult>maybe</difficult>"),
    )
    reported: list[tuple[str, str]] = []
    objects = parse_annotation(content, LABELS, lambda record, fault: reported.append((record, fault)))
    assert reported == [
        ("object 1", "unknown class 'lynx', known are cat, dog"),
        ("object 3", "bndbox (1, 1, 500, 5): xmax is outside the image of 100 x 80 pixels"),
        ("object 4", "field bndbox/xmin is missing"),
        ("object 5", "field difficult is 'maybe', expected 0 or 1"),
    ]
    assert (objects.boxes, objects.labels, objects.difficult) == (((0, 0, 5, 5),), (1,), (True,))
    assert objects.image_size == (100, 80)


def test_a_fault_of_the_whole_file_has_no_record() -> None:
    reported: list[tuple[str, str]] = []
    objects = parse_annotation(
        annotation(an_object("cat", (1, 1, 5, 5))).replace(b"80", b"-1"),
        LABELS,
        lambda record, fault: reported.append((record, fault)),
    )
    assert reported == [("", "field size/height is -1, expected a positive whole number")]
    assert objects.boxes == ()


BOMB = b"""<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY a "lol">
<!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;">
<!ENTITY d "&c;&c;&c;&c;&c;&c;&c;&c;&c;&c;"><!ENTITY e "&d;&d;&d;&d;&d;&d;&d;&d;&d;&d;">]>
<annotation>&e;&e;&e;&e;&e;&e;&e;&e;&e;&e;</annotation>"""


def test_an_entity_bomb_is_refused() -> None:
    with pytest.raises(InputError, match="has a document type declaration"):
        parse_xml(BOMB)


@given(st.integers(0, 200))
def test_a_truncated_annotation_is_never_read_in_part(end: int) -> None:
    content = annotation(an_object("cat", (1, 1, 5, 5)), an_object("dog", (1, 1, 5, 5)))
    with pytest.raises(InputError, match="is not well-formed XML: "):
        parse_xml(content[: min(end, len(content) - 1)])


sides = st.integers(1, 80)


@given(sides, sides, sides, sides)
def test_a_box_has_the_pixels_that_both_ends_include(x1: int, y1: int, x2: int, y2: int) -> None:
    xmin, xmax, ymin, ymax = min(x1, x2), max(x1, x2), min(y1, y2), max(y1, y2)

    def fail(record: str, fault: str) -> None:
        raise AssertionError(fault)

    objects = parse_annotation(annotation(an_object("cat", (xmin, ymin, xmax, ymax))), LABELS, fail)
    left, top, right, bottom = objects.boxes[0]
    assert right - left == len(range(xmin, xmax + 1))
    assert bottom - top == len(range(ymin, ymax + 1))
    assert (left, top) == (xmin - 1, ymin - 1)
