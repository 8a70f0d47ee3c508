"""Settings of Selective Search."""

from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, ClassVar, Literal, get_args

from proposals.names import check_name

ColorSpace = Literal["RGB", "I", "Lab", "rgI", "HSV", "rgb", "C", "H"]
COLOR_SPACES: tuple[str, ...] = get_args(ColorSpace)
"""The color spaces of table 1 of the paper."""

SIMILARITIES: tuple[str, ...] = tuple("".join(group) for count in (4, 3, 2, 1) for group in combinations("CTSF", count))
"""Every combination of color, texture, size and fill, with the letters in this order."""


@dataclass(frozen=True)
class SelectiveSearchConfig:
    """Settings of Selective Search (Uijlings et al., IJCV 2013); the defaults are its `fast` preset.

    Every combination of color space, k and similarity is one hierarchical grouping, a "strategy".

    Attributes:
        color_spaces: spaces in which the image is segmented and regions are compared.
        similarities: letters of the measures to sum: C color, T texture, S size, F fill.
        ks: thresholds k of the graph segmentation (Felzenszwalb and Huttenlocher, IJCV 2004) for channels in 0..255;
            larger values give larger superpixels.
        minimum_size: minimum area of a superpixel in pixels; None uses k, as the authors' code does.
        sigma: Gaussian smoothing before the segmentation, in pixels.
        superpixel_scale: factor of both k and the minimum size; 2 halves the number of boxes (GoogLeNet,
            arXiv 1409.4842, section 8).
        working_width: wider images are reduced to this width (R-CNN: 500); boxes are still in pixels of the original.
            None works at the original size, as the paper does.
        enlarge: also enlarge narrower images to `working_width`, as R-CNN's code does; gives more boxes, takes longer.
        minimum_box_side: boxes with a shorter side, in pixels of the original, are dropped.
        seed: seed of the random factor in the ranking.

    Raises:
        ValueError: a value is out of range or a name is unknown; the message names the field.
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
        names = {"color_spaces": COLOR_SPACES, "similarities": SIMILARITIES}
        for field in ("color_spaces", "similarities", "ks"):
            values = getattr(self, field)
            if not isinstance(values, (tuple, list)) or not values:
                raise ValueError(f"{field} must be a list with at least one value, not {values!r}")
            if field == "ks":
                values = [_checked_number("ks", value) for value in values]
            else:
                for value in values:
                    check_name(f"{field}:", value, names[field])
            if len(set(values)) < len(values):
                raise ValueError(f"{field} must not contain a value twice: {', '.join(map(str, values))}")
            object.__setattr__(self, field, tuple(values))  # a tuple, so that the configuration is hashable
        for field in ("minimum_size", "sigma", "superpixel_scale", "working_width", "minimum_box_side", "seed"):
            value = getattr(self, field)
            if value is not None or field not in ("minimum_size", "working_width"):
                object.__setattr__(self, field, _checked_number(field, value))
        if not isinstance(self.enlarge, bool):
            raise ValueError(f"enlarge must be true or false, not {self.enlarge!r}")

    @classmethod
    def preset(cls, name: str, **changes: Any) -> "SelectiveSearchConfig":
        """Returns a preset, `single`, `fast`, `balanced` or `quality`, with some fields changed.

        >>> SelectiveSearchConfig.preset("single", superpixel_scale=2).ks
        (100.0,)
        """
        check_name("preset", name, PRESETS)
        return replace(PRESETS[name], **changes)


# Type, lower bound, upper bound, and whether the lower bound itself is allowed.
_RANGES: dict[str, tuple[type, float, float, bool]] = {
    "ks": (float, 0, 1e6, False),
    "minimum_size": (float, 0, 1e6, True),
    "sigma": (float, 0, 20, True),
    "superpixel_scale": (float, 0, 1e3, False),
    "working_width": (int, 16, 10_000, True),
    "minimum_box_side": (int, 1, 10_000, True),
    "seed": (int, 0, 2**63 - 1, True),
}


def _checked_number(field: str, value: Any) -> float:
    """Returns a number in the field's type, so that 50 and 50.0 have the same fingerprint."""
    kind, low, high, low_allowed = _RANGES[field]
    number = isinstance(value, (int, kind)) and not isinstance(value, bool)
    if not number or not low <= value <= high or (value == low and not low_allowed):  # NaN fails the comparisons
        bounds = f"{'a whole number' if kind is int else 'a number'} {'from' if low_allowed else 'above'} {low:g}"
        raise ValueError(f"{field} must be {bounds} to {high:g}, not {value!r}")
    return float(value) if kind is float else int(value)


PRESETS: dict[str, SelectiveSearchConfig] = {
    "single": SelectiveSearchConfig(color_spaces=("HSV",), similarities=("CTSF",), ks=(100.0,)),
    "fast": SelectiveSearchConfig(),
    "balanced": SelectiveSearchConfig(
        color_spaces=("HSV", "Lab", "RGB", "C", "I"),
        similarities=("CTSF", "TSF", "S"),
        ks=(150.0,),
        working_width=640,
        minimum_box_side=8,
    ),
    "quality": SelectiveSearchConfig(
        color_spaces=("HSV", "Lab", "rgI", "H", "I"),
        similarities=("CTSF", "TSF", "F", "S"),
        ks=(50.0, 100.0, 150.0, 300.0),
    ),
}
"""Three of the paper's combinations (table 8), of 1, 8 and 80 strategies, and `balanced`, of 15, whose boxes are
fewer than those of `fast` and fit objects more closely, small ones aside; it was chosen on photos of VOC07 trainval."""
