"""Settings of Selective Search."""

from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, ClassVar, Literal, get_args

from proposals.names import check_name

ColorSpace = Literal["RGB", "I", "Lab", "rgI", "HSV", "rgb", "C", "H"]
COLOR_SPACES: tuple[str, ...] = get_args(ColorSpace)

# Color, Texture, Size, Fill: every choice of one to four, letters in this order.
SIMILARITIES: tuple[str, ...] = tuple(
    "".join(letters) for count in (4, 3, 2, 1) for letters in combinations("CTSF", count)
)


@dataclass(frozen=True)
class SelectiveSearchConfig:
    """Settings of Selective Search (Uijlings et al., IJCV 2013); the defaults are its `fast` preset.

    One hierarchical grouping ("strategy") is made for every color space, k and similarity.

    Attributes:
        color_spaces: spaces in which the image is segmented and regions are compared.
        similarities: letters of the summed measures: C color, T texture, S size, F fill.
        ks: thresholds k of the graph segmentation (Felzenszwalb and Huttenlocher, IJCV 2004), for
            channels in 0..255: larger k, larger superpixels.
        minimum_size: least size of a superpixel in pixels; None: k, as in the authors' code.
        sigma: Gaussian smoothing before the segmentation, in pixels.
        superpixel_scale: k and the minimum size are both multiplied by it; 2 halves the number of boxes
            (GoogLeNet, arXiv 1409.4842, section 8).
        working_width: an image that is wider is reduced to this width first (R-CNN: 500), boxes are given in pixels
            of the original; None works at the original size, as the paper does.
        enlarge: narrower images are enlarged to `working_width`, as in R-CNN's code: more boxes and more time.
        minimum_box_side: boxes with a side shorter than this many pixels of the original are dropped.
        seed: of the random factor in the ranking.

    Raises ValueError naming the field if a value is out of range or a name is unknown.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    color_spaces: tuple[ColorSpace, ...] = ("HSV", "Lab")
    similarities: tuple[str, ...] = ("CTSF", "TSF")
    ks: tuple[float, ...] = (50.0, 100.0)
    minimum_size: float | None = None
    sigma: float = 0.8
    superpixel_scale: float = 1.0
    working_width: int | None = 500
    enlarge: bool = False
    minimum_box_side: int = 20
    seed: int = 0

    def __post_init__(self) -> None:
        # Lists from a YAML file or a careless caller become tuples: the configuration must stay hashable.
        for name in ("color_spaces", "similarities", "ks"):
            value = getattr(self, name)
            if not isinstance(value, (tuple, list)):
                raise ValueError(f"{name} must be a list, not {value!r}")
            if not value:
                raise ValueError(f"{name} must not be empty")
            kind = (int, float) if name == "ks" else str
            if not all(isinstance(one, kind) and not isinstance(one, bool) for one in value):
                raise ValueError(f"{name} must be a list of {'numbers' if name == 'ks' else 'names'}, not {value!r}")
            if len(set(value)) < len(value):
                raise ValueError(f"{name} must not hold the same value twice: {', '.join(map(str, value))}")
            object.__setattr__(self, name, tuple(value))
        for space in self.color_spaces:
            check_name("color_spaces:", space, COLOR_SPACES)
        for similarity in self.similarities:
            check_name("similarities:", similarity, SIMILARITIES)
        for k in self.ks:
            _in_range("ks", k, 0.0, 1e6)
        if self.minimum_size is not None:
            _in_range("minimum_size", self.minimum_size, 0.0, 1e6, low_allowed=True)
            object.__setattr__(self, "minimum_size", float(self.minimum_size))
        _in_range("sigma", self.sigma, 0.0, 20.0, low_allowed=True)
        _in_range("superpixel_scale", self.superpixel_scale, 0.0, 1e3)
        if self.working_width is not None:
            _in_range("working_width", self.working_width, 16, 10_000, low_allowed=True, whole=True)
        _in_range("minimum_box_side", self.minimum_box_side, 1, 10_000, low_allowed=True, whole=True)
        _in_range("seed", self.seed, 0, 2**63 - 1, low_allowed=True, whole=True)
        if not isinstance(self.enlarge, bool):
            raise ValueError(f"enlarge must be true or false, not {self.enlarge!r}")
        # 50 and 50.0 are the same setting and must have the same fingerprint.
        object.__setattr__(self, "ks", tuple(float(k) for k in self.ks))
        for name in ("sigma", "superpixel_scale"):
            object.__setattr__(self, name, float(getattr(self, name)))

    @classmethod
    def preset(cls, name: str, **changes: Any) -> "SelectiveSearchConfig":
        """The settings of the paper's table 8: `single`, `fast` or `quality`, with fields to change in it.

        >>> SelectiveSearchConfig.preset("single", superpixel_scale=2).ks
        (100.0,)
        """
        check_name("preset", name, PRESETS)
        return replace(PRESETS[name], **changes)


def _in_range(
    name: str, value: float, low: float, high: float, *, low_allowed: bool = False, whole: bool = False
) -> None:
    number = not isinstance(value, bool) and isinstance(value, int if whole else (int, float))
    # A value that is not finite fails the comparisons.
    if not number or not low <= value <= high or (value == low and not low_allowed):
        kind = "a whole number" if whole else "a number"
        bound = "from" if low_allowed else "above"
        raise ValueError(f"{name} must be {kind} {bound} {low:g} to {high:g}, not {value!r}")


PRESETS: dict[str, SelectiveSearchConfig] = {
    "single": SelectiveSearchConfig(color_spaces=("HSV",), similarities=("CTSF",), ks=(100.0,)),
    "fast": SelectiveSearchConfig(),
    "quality": SelectiveSearchConfig(
        color_spaces=("HSV", "Lab", "rgI", "H", "I"),
        similarities=("CTSF", "TSF", "F", "S"),
        ks=(50.0, 100.0, 150.0, 300.0),
    ),
}
"""The paper's combinations: 1, 8 and 80 strategies."""
