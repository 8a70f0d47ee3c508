"""The detector stage by stage: `explain` computes what each stage makes of a photo, `pictures` draws it, `server` shows
it as a page in the browser."""

from detector.explorer.stages import Candidates, Explanation, Grouping, explain

__all__ = ["Candidates", "Explanation", "Grouping", "explain"]
