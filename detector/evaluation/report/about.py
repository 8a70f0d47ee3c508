"""What a report says about its own making."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, eq=False, kw_only=True)
class About:
    """What was measured and with what; all of it is shown as it is given.

    Attributes:
        title: what was measured, such as the name of a model.
        data: on what, such as "val500 of VOC2007".
        files: what files went in, by what they are: model, detections, configuration.
        versions: of the packages that matter, by name.
        excluded: id and reason of images that have no detections because they failed; their objects count as missed.
        metric, numbers: a metric other than the diagnosis', and its results by name; fractions, shown in percent.
        seconds_per_image: mean time of the detector; None if unknown.
        date: of the run; none is shown by default, so that the same input gives the same file.
    """

    title: str
    data: str
    files: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    excluded: Mapping[str, str] = field(default_factory=dict)
    metric: str = ""
    numbers: Mapping[str, float] = field(default_factory=dict)
    seconds_per_image: float | None = None
    date: str | None = None
