"""The notebooks: they are those of their sources, run, and tell right answers from wrong ones."""

import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat import NotebookNode
from notebooks.teacher.build import COURSE, QUICKSTART, TEACHER, blanked, notebooks, read_cells
from torch.nn.functional import adaptive_avg_pool2d

from detector.models.rfcn import RFCN

EXERCISES = {
    **{"color_histogram": "1", "intersection": "1", "size_similarity": "1", "fill_similarity": "1", "union": "1"},
    **{"grouping": "1", "iou": "2", "rank": "2", "recall": "2", "mabo": "2", "windows": "3", "label_regions": "3"},
    **{"mine": "3", "nms": "4", "true_positives": "4", "average_precision_11": "4"},
}
"""The functions that students write, and the part of the course."""

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


def test_an_exercise_has_a_blank_and_a_check():
    cells = read_cells(COURSE)
    exercises = [cell for cell in cells if "exercise" in tags(cell)]
    assert [*map(defined, exercises)] == list(EXERCISES)
    for cell in exercises:
        head, solution = cell.source.split("    # SOLUTION\n")
        assert blanked(cell).source == f'{head}    raise NotImplementedError("your code here")'
        assert "return" in solution
        assert any(re.search(rf"\b{defined(cell)}\b", check.source) for check in cells if "check" in tags(check))
    text = (TEACHER.parent / f"{COURSE}.ipynb").read_text(encoding="utf-8")
    assert "SOLUTION" not in text
    assert text.count('NotImplementedError(\\"your code here\\")') == len(EXERCISES)


@pytest.fixture(scope="module")
def solved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The names that the course with solutions defines up to its last check, without figures, and with pixels in place
    of GoogLeNet's features, which take most of the time."""
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib").use("agg")
    cells = read_cells(COURSE)
    last = max(number for number, cell in enumerate(cells) if "check" in tags(cell))
    names: dict[str, Any] = {"__name__": "__main__"}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("course"))
        patch.setattr(
            RFCN, "features", lambda _, crops: adaptive_avg_pool2d(crops / 255, 8).flatten(1)[..., None, None]
        )
        for cell in cells[: last + 1]:
            if cell.cell_type == "code" and "answer" not in tags(cell):
                exec(compile(cell.source, str(cell.id), "exec"), names)
    return names


@pytest.mark.slow
@pytest.mark.parametrize(("name", "right", "wrong"), MUTANTS, ids=[f"{m[0]}: {m[2]}" for m in MUTANTS])
def test_a_wrong_answer_fails_its_check(solved: dict[str, Any], name: str, right: str, wrong: str):
    cells = read_cells(COURSE)
    [exercise] = [cell for cell in cells if "exercise" in tags(cell) and defined(cell) == name]
    check = next(cell for cell in cells[cells.index(exercise) :] if "check" in tags(cell))
    assert right in exercise.source
    names = dict(solved)
    exec(exercise.source, names)
    exec(check.source, names)  # the right answer passes, also after the whole course
    exec(exercise.source.replace(right, wrong), names)
    with pytest.raises((AssertionError, IndexError, KeyError, ValueError)):
        exec(check.source, names)


def run(path: Path, folder: Path) -> list[NotebookNode]:
    """The cells of a notebook after a run in `folder`, which goes on after an error."""
    client = pytest.importorskip("nbclient").NotebookClient
    pytest.importorskip("ipykernel")
    for package in ("sklearn", "matplotlib", "fastapi"):
        pytest.importorskip(package)
    content = nbformat.read(path, 4)
    resources = {"metadata": {"path": str(folder)}}
    return client(content, timeout=600, kernel_name="python3", resources=resources, allow_errors=True).execute().cells


def errors(cells: list[NotebookNode]) -> dict[str, str]:
    """The error of each cell that has one."""
    outputs = [(cell.id, each) for cell in cells if cell.cell_type == "code" for each in cell.outputs]
    return {name: f"{each.ename}: {each.evalue}" for name, each in outputs if each.output_type == "error"}


def printed(cells: list[NotebookNode]) -> str:
    outputs = [each for cell in cells if cell.cell_type == "code" for each in cell.outputs]
    return "".join(each.text for each in outputs if each.output_type == "stream" and each.name == "stdout")


@pytest.mark.slow
def test_the_five_minutes(tmp_path: Path):
    cells = run(TEACHER.parent / f"{QUICKSTART}.ipynb", tmp_path)
    assert errors(cells) == {}
    text = printed(cells)
    assert re.search(r"^cat\.jpg <Detections: cat 0\.\d+ in 451x300 pixels>", text, re.MULTILINE)
    assert re.search(r"^astronaut\.jpg <Detections: person 0\.\d+", text, re.MULTILINE)
    assert re.search(r"^dog +1 ", text, re.MULTILINE)
    assert re.search(r"<Detections: (disc|triangle) 0\.\d+[^\n]* in 160x160 pixels>", text)
    assert (tmp_path / "five_minutes/why.html").stat().st_size > 10_000


@pytest.mark.slow
def test_the_solutions_pass_all_checks(tmp_path: Path):
    cells = run(TEACHER / f"{COURSE}_solutions.ipynb", tmp_path)
    assert errors(cells) == {}
    text = printed(cells)
    assert {name for name in EXERCISES if not re.search(rf"\b{name}\b[^\n]*: right", text)} == set()
    figures = {path.name for path in (tmp_path / "figures").iterdir()}
    assert len(figures) == 22
    assert {Path(name).stem for name in figures if name.endswith(".svg")} == {Path(name).stem for name in figures}


@pytest.mark.slow
def test_the_course_fails_at_its_blanks_only(tmp_path: Path):
    cells = run(TEACHER.parent / f"{COURSE}.ipynb", tmp_path)
    need_answers = {cell.id for cell in cells if {"check", "answer"} & set(tags(cell))}
    assert errors(cells) == dict.fromkeys(need_answers, "NotImplementedError: your code here")
