"""A detection stage by stage: `explain` runs a detector and keeps every stage, `panels` and `pictures` draw them,
`server` shows them as a page in the browser, and `write_explanation` as a file."""

from detector.explorer.rendering import write_explanation
from detector.explorer.stages import Candidates, Explanation, Grouping, explain

__all__ = ["Candidates", "Explanation", "Grouping", "explain", "write_explanation"]
