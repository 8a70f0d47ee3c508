"""Writes the notebooks from their sources, the percent files beside it: `python tools/notebooks/teacher/build.py`.

A source has cells as Jupytext and editors know them: `# %% [markdown]` and `# %% tags=["check"]`. In a cell with the
tag `exercise`, what follows the line `# SOLUTION` is the solution: the notebook for students has a blank in its place.
"""

import re
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

TEACHER = Path(__file__).parent
QUICKSTART = "detection_in_five_minutes"
COURSE = ("rcnn_1_selective_search", "rcnn_2_proposals", "rcnn_3_classes", "rcnn_4_detections")
_BLANK = 'raise NotImplementedError("your code here")\n'


def read_cells(name: str) -> list[NotebookNode]:
    """The cells of a source, with solutions."""
    _, *parts = re.split(r"^# %%(.*)\n", (TEACHER / f"{name}.py").read_text(encoding="utf-8"), flags=re.MULTILINE)
    cells = []
    for number, (head, body) in enumerate(zip(parts[::2], parts[1::2], strict=True)):
        if "[markdown]" in head:
            text = re.sub(r"^# ?", "", body.strip(), flags=re.MULTILINE)
            cells.append(new_markdown_cell(text, id=f"cell-{number}"))
        else:
            tags = {"tags": re.findall(r'"(\w+)"', head)} if "tags=" in head else {}
            cells.append(new_code_cell(body.strip(), id=f"cell-{number}", metadata=tags))
    return cells


def blanked(cell: NotebookNode) -> NotebookNode:
    """A cell as students get it."""
    if "exercise" not in cell.metadata.get("tags", []):
        return cell
    source = re.sub(r"(?ms)^( +)# SOLUTION\n.*", rf"\g<1>{_BLANK}".rstrip(), cell.source)
    return NotebookNode(cell, source=source)


def notebook(cells: list[NotebookNode]) -> str:
    """The text of a notebook's file."""
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    content = new_notebook(cells=cells, metadata={"kernelspec": kernel, "language_info": {"name": "python"}})
    nbformat.validate(content)
    return nbformat.writes(content) + "\n"


def notebooks() -> dict[Path, str]:
    """The files that belong to the sources, and their text."""
    files = {TEACHER.parent / f"{QUICKSTART}.ipynb": notebook(read_cells(QUICKSTART))}
    for part in COURSE:
        cells = read_cells(part)
        files[TEACHER.parent / f"{part}.ipynb"] = notebook([blanked(cell) for cell in cells])
        files[TEACHER / f"{part}_solutions.ipynb"] = notebook(cells)
    return files


if __name__ == "__main__":
    for path, text in notebooks().items():
        path.write_text(text, encoding="utf-8")
        print(f"written: {path}")
