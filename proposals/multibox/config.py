"""Settings of MultiBox."""

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from proposals.names import check_name

Form = Literal["global", "grid"]
Coordinates = Literal["corners", "center_size"]
Matching = Literal["priors", "predictions"]


_MOST, _LARGEST_GRID = 4096, 64  # a model file's numbers must not fill the memory


@dataclass(frozen=True)
class MultiBoxConfig:
    """A MultiBox head.

    Attributes:
        form: "global": one layer sees the whole image and predicts `priors` boxes (the first paper). "grid": every cell
            of every grid predicts `shapes` boxes near it (the second paper).
        priors: of the global form, K (100 or 200 in the paper).
        grids: of the grid form: a grid of g x g cells over the image for each g; the grid of one cell has one prior.
        shapes: priors a cell; the second paper's 11 and grids of 8, 6, 4, 3, 2 and 1 make 1,420.
        channels: the backbone's features are reduced to.
        coordinates: in which a box differs from its prior: "corners", in units of the image's sides (the papers), or
            "center_size", in units of the prior's sides (R-CNN's box_deltas), which weighs small boxes like large ones.
        nms_iou: of boxes that overlap by more, the more confident one stays.

    Raises ValueError naming the field if a value is out of range or a name is unknown.
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
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
            if getattr(self, name) > _MOST:
                raise ValueError(f"{name} must be at most {_MOST}, not {getattr(self, name)}")
        known = range(1, _LARGEST_GRID + 1)
        if not self.grids or not set(self.grids) <= set(known) or len(set(self.grids)) < len(self.grids):
            raise ValueError(f"grids must be different whole numbers from 1 to {_LARGEST_GRID}, not {self.grids}")
        if not 0 < self.nms_iou <= 1:
            raise ValueError(f"nms_iou must be above 0 and at most 1, not {self.nms_iou}")

    @property
    def boxes(self) -> int:
        """Number of priors, and of boxes that are predicted for an image."""
        return self.priors if self.form == "global" else sum(g * g * self.cell_priors(g) for g in self.grids)

    def cell_priors(self, grid: int) -> int:
        """Priors of each cell of a grid."""
        return self.shapes if grid > 1 else 1


@dataclass(frozen=True)
class MultiBoxLossConfig:
    """The loss F = alpha * F_match + F_conf of the first paper, and which priors take part.

    Attributes:
        alpha: weight of the boxes against the confidences. The paper's value, 0.3, is for corners in units of the
            image; what counts is the balance.
        matching: what is matched with the objects: "predictions", as in the first paper's method, or the "priors"
            themselves, which its section on training recommends and the second paper kept.
        negatives: of the priors without an object only the hardest are trained, so many for each object of the image,
            at least for one; None: all (the papers), which gave the better ranking here.

    Raises ValueError naming the field if a value is out of range or a name is unknown.
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
