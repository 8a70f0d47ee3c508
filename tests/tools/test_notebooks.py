"""The notebooks: they are those of their sources, run, and tell right answers from wrong ones."""

import re
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat import NotebookNode
from notebooks.teacher.build import COURSE, QUICKSTART, TEACHER, blanked, notebooks, read_cells
from torch.nn.functional import adaptive_avg_pool2d

EXERCISES = dict(
    zip(
        COURSE,
        (
            ("color_histogram", "intersection", "size_similarity", "fill_similarity", "union", "grouping"),
            ("iou", "rank", "recall", "mabo"),
            ("windows", "label_regions", "mine"),
            ("nms", "true_positives", "average_precision_11"),
        ),
        strict=True,
    )
)
"""The functions that students write in each part of the course."""
PART = {name: part for part, names in EXERCISES.items() for name in names}

MUTANTS = [
    ("color_histogram", "joined / joined.sum()", "joined"),
    ("color_histogram", "25 // 256", "25 // 255"),
    ("intersection", "np.minimum(a, b).sum()", "1 - np.abs(a - b).sum()"),
    ("size_similarity", "(a.size + b.size)", "max(a.size, b.size)"),
    ("fill_similarity", " - a.size - b.size", ""),
    ("union", "(a.size * a.color + b.size * b.color) / size", "(a.color + b.color) / 2"),
    ("grouping", "max(similarities", "min(similarities"),
    ("grouping", "if i in pair or j in pair for", "if i in pair for"),
    ("iou", "np.clip(high - low, 0, None)", "(high - low)"),
    ("iou", "areas[:, None] + object_areas - shared", "areas[:, None] + object_areas"),
    ("rank", "* each for", "for"),
    ("rank", "np.sort(first)", "first"),
    ("recall", ">=", ">"),
    ("mabo", "np.mean([best[labels == label].mean() for label in np.unique(labels)])", "best.mean()"),
    ("windows", "+ 0.5", ""),
    ("windows", "size - 2 * context", "size - context"),
    ("label_regions", "best < 0.3", "best <= 0.3"),
    ("label_regions", "[:, labels == label]", ""),
    ("mine", "> -1", "> 1"),
    ("mine", "np.arange(len(negative)) < first", "np.ones(len(negative), bool)"),
    ("nms", "overlaps[index, kept]", "overlaps[index, : index]"),
    ("nms", "-scores", "scores"),
    ("true_positives", " and target not in taken", ""),
    ("true_positives", " * (images[:, None] == object_images)", ""),
    ("average_precision_11", "recall >= level", "np.isclose(recall, level, atol=0.05)"),
    ("average_precision_11", "/ objects", "/ found[-1]"),
]
"""Wrong answers: the function, a piece of its solution, and what stands there instead."""


def tags(cell: NotebookNode) -> list[str]:
    return cell.metadata.get("tags", [])


def defined(cell: NotebookNode) -> str:
    """The function that the cell of an exercise defines."""
    match = re.search(r"^def (\w+)", cell.source, re.MULTILINE)
    assert match is not None
    return match[1]


def test_the_files_are_those_of_the_sources():
    """With outputs stripped; `python tools/notebooks/teacher/build.py` writes them."""
    for path, text in notebooks().items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name} is not up to date"
        for cell in nbformat.reads(text, 4).cells:
            assert cell.cell_type == "markdown" or (cell.outputs, cell.execution_count) == ([], None)


@pytest.mark.parametrize("part", COURSE)
def test_an_exercise_has_a_blank_and_a_check(part: str):
    cells = read_cells(part)
    exercises = [cell for cell in cells if "exercise" in tags(cell)]
    assert tuple(map(defined, exercises)) == EXERCISES[part]
    for cell in exercises:
        head, solution = cell.source.split("    # SOLUTION\n")
        assert blanked(cell).source == f'{head}    raise NotImplementedError("your code here")'
        assert "return" in solution
        assert any(re.search(rf"\b{defined(cell)}\b", check.source) for check in cells if "check" in tags(check))
    text = (TEACHER.parent / f"{part}.ipynb").read_text(encoding="utf-8")
    assert "SOLUTION" not in text
    assert text.count('NotImplementedError(\\"your code here\\")') == len(exercises)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Cells can run in this process, with pixels in place of GoogLeNet's features, which take most of the time."""
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib").use("agg")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("course"))
        patch.syspath_prepend(TEACHER.parent)
        patch.setattr(
            "rcnn_scenes.network.features",
            lambda crops: adaptive_avg_pool2d(crops / 255, 8).flatten(1)[..., None, None],
        )
        yield


@pytest.fixture(scope="module")
def solved(here: None, request: pytest.FixtureRequest) -> dict[str, Any]:
    """The names that a part with solutions defines up to its last check, without figures of answers."""
    cells = read_cells(request.param)
    last = max(number for number, cell in enumerate(cells) if "check" in tags(cell))
    names: dict[str, Any] = {"__name__": "__main__"}
    for cell in cells[: last + 1]:
        if cell.cell_type == "code" and "answer" not in tags(cell):
            exec(cell.source, names)
    return names


@pytest.mark.slow
@pytest.mark.parametrize(
    ("solved", "name", "right", "wrong"),
    [(PART[name], name, right, wrong) for name, right, wrong in MUTANTS],
    ids=[f"{name}: {wrong}" for name, _, wrong in MUTANTS],
    indirect=["solved"],
)
def test_a_wrong_answer_fails_its_check(solved: dict[str, Any], name: str, right: str, wrong: str):
    cells = read_cells(PART[name])
    [exercise] = [cell for cell in cells if "exercise" in tags(cell) and defined(cell) == name]
    check = next(cell for cell in cells[cells.index(exercise) :] if "check" in tags(cell))
    assert right in exercise.source
    names = dict(solved)
    exec(exercise.source, names)
    exec(check.source, names)  # the right answer passes, also after the whole part
    exec(exercise.source.replace(right, wrong), names)
    with pytest.raises((AssertionError, IndexError, KeyError, ValueError)):
        exec(check.source, names)


@pytest.mark.slow
@pytest.mark.parametrize("part", COURSE)
def test_a_part_fails_at_its_blanks_only(here: None, part: str):
    names: dict[str, Any] = {"__name__": "__main__"}
    for cell in map(blanked, read_cells(part)):
        if cell.cell_type == "code":
            needs_answers = {"check", "answer"} & set(tags(cell))
            with pytest.raises(NotImplementedError, match="your code") if needs_answers else nullcontext():
                exec(cell.source, names)


def run(path: Path, folder: Path) -> str:
    """What the cells of a notebook print, run in `folder`."""
    client = pytest.importorskip("nbclient").NotebookClient
    pytest.importorskip("ipykernel")
    for package in ("sklearn", "matplotlib", "fastapi"):
        pytest.importorskip(package)
    resources = {"metadata": {"path": str(folder)}}
    cells = client(nbformat.read(path, 4), timeout=600, kernel_name="python3", resources=resources).execute().cells
    outputs = [each for cell in cells if cell.cell_type == "code" for each in cell.outputs]
    return "".join(each.text for each in outputs if each.output_type == "stream" and each.name == "stdout")


@pytest.mark.slow
def test_the_five_minutes(tmp_path: Path):
    text = run(TEACHER.parent / f"{QUICKSTART}.ipynb", tmp_path)
    assert re.search(r"^cat\.jpg <Detections: cat 0\.\d+ in 451x300 pixels>", text, re.MULTILINE)
    assert re.search(r"^astronaut\.jpg <Detections: person 0\.\d+", text, re.MULTILINE)
    assert re.search(r"^dog +1 ", text, re.MULTILINE)
    assert re.search(r"<Detections: (disc|triangle) [01]\.\d+[^\n]* in 160x160 pixels>", text)
    assert (tmp_path / "five_minutes/why.html").stat().st_size > 10_000


@pytest.mark.slow
@pytest.mark.parametrize("part", COURSE)
def test_the_solutions_pass_all_checks(tmp_path: Path, part: str):
    text = run(TEACHER / f"{part}_solutions.ipynb", tmp_path)
    assert {name for name in EXERCISES[part] if not re.search(rf"\b{name}\b[^\n]*: right", text)} == set()
    figures = re.findall(r'^finish\("(\w+)"\)', (TEACHER / f"{part}.py").read_text(encoding="utf-8"), re.MULTILINE)
    assert {file.name for file in (tmp_path / "figures").iterdir()} == {
        f"{figure}.{ending}" for figure in figures for ending in ("svg", "png")
    }
