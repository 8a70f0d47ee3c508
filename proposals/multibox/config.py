"""Settings of MultiBox."""

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from proposals.names import check_name

Form = Literal["global", "grid"]
Coordinates = Literal["corners", "center_size"]
Matching = Literal["priors", "predictions"]

# Limits that keep the numbers in a model file from exhausting the memory.
_MAX_COUNT, _MAX_GRID = 4096, 64


@dataclass(frozen=True)
class MultiBoxConfig:
    """Settings of a MultiBox head.

    Attributes:
        form: "global": one layer sees the whole image and predicts `priors` boxes (the first paper). "grid": every cell
            of every grid predicts `shapes` boxes near it (the second paper).
        priors: number of priors K of the global form (100 or 200 in the paper).
        grids: sizes g of the g x g grids of the grid form; the grid of one cell has one prior.
        shapes: priors per cell; the second paper's 11 and grids of 8, 6, 4, 3, 2 and 1 make 1,420.
        channels: number of channels that the backbone's features are reduced to.
        coordinates: how box deltas are expressed. "corners": differences of the corners in units of the image's sides
            (the papers). "center_size": R-CNN's center and log-size deltas in units of the prior's sides, which weigh
            small and large boxes equally.
        nms_iou: threshold of non-maximum suppression.

    Raises:
        ValueError: a value is out of range or a name is unknown; the message names the field.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    form: Form = "grid"
    priors: int = 200
    grids: tuple[int, ...] = (8, 6, 4, 3, 2, 1)
    shapes: int = 11
    channels: int = 128
    coordinates: Coordinates = "center_size"
    nms_iou: float = 0.7

    def __post_init__(self) -> None:
        check_name("form", self.form, get_args(Form))
        check_name("coordinates", self.coordinates, get_args(Coordinates))
        object.__setattr__(self, "grids", tuple(self.grids))
        for name in ("priors", "shapes", "channels"):
            if not 1 <= getattr(self, name) <= _MAX_COUNT:
                raise ValueError(f"{name} must be from 1 to {_MAX_COUNT}, not {getattr(self, name)}")
        in_range = set(self.grids) <= set(range(1, _MAX_GRID + 1))
        if not self.grids or not in_range or len(set(self.grids)) < len(self.grids):
            raise ValueError(f"grids must be distinct whole numbers from 1 to {_MAX_GRID}, not {self.grids}")
        if not 0 < self.nms_iou <= 1:
            raise ValueError(f"nms_iou must be above 0 and at most 1, not {self.nms_iou}")

    @property
    def boxes(self) -> int:
        """Number of priors, which is also the number of boxes predicted for an image."""
        return self.priors if self.form == "global" else sum(g * g * self.cell_priors(g) for g in self.grids)

    def cell_priors(self, grid: int) -> int:
        """Returns the number of priors in each cell of a grid."""
        return self.shapes if grid > 1 else 1


@dataclass(frozen=True)
class MultiBoxLossConfig:
    """Settings of the loss F = alpha * F_match + F_conf of the first paper.

    Attributes:
        alpha: weight of the box loss relative to the confidence loss. The paper's 0.3 is for corners in units of the
            image; other coordinates have losses of another scale.
        matching: what the objects are matched with: the "predictions", as in the first paper's method, or the "priors",
            as its section on training recommends and the second paper does.
        negatives: number of unmatched priors per object that are trained, hardest first (as for one object in images
            without objects); None trains all, as the papers do, which ranked boxes better in our experiments.

    Raises:
        ValueError: a value is out of range or a name is unknown; the message names the field.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    alpha: float = 0.3
    matching: Matching = "priors"
    negatives: int | None = None

    def __post_init__(self) -> None:
        check_name("matching", self.matching, get_args(Matching))
        if not 0 < self.alpha < float("inf"):
            raise ValueError(f"alpha must be a number above 0, not {self.alpha}")
        if self.negatives is not None and self.negatives < 1:
            raise ValueError(f"negatives must be at least 1, not {self.negatives}")
