"""A detection stage by stage: `explain` runs a detector and keeps every stage, `panels` and `pictures` draw them, and
`server` shows them as a page in the browser."""

from detector.explorer.stages import Candidates, Explanation, Grouping, explain

__all__ = ["Candidates", "Explanation", "Grouping", "explain"]
