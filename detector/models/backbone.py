"""What a detection network needs of a backbone."""

from torch import nn

from detector.errors import InputError
from proposals.names import unknown_name

Color = tuple[float, float, float]


class Backbone(nn.Module):
    """Convolutional network from normalized images (B, 3, H, W) to features (B, out_channels, ~H/stride, ~W/stride).

    Attributes:
        out_channels: channels of the features.
        stride: pixels between the centers of neighboring cells of the features.
        offset: position in pixels of the center of cell 0 (0 is the left edge of the image).
        mean, std: RGB in 0..255; images are normalized by (pixels - mean) / std.
    """

    out_channels: int
    stride: int
    offset: float
    mean: Color
    std: Color = (1.0, 1.0, 1.0)

    def freeze_stem(self) -> None:
        """Excludes the first convolutions, whose edges and blobs suit any task, from training; by default none."""

    def freeze(self, last: str) -> None:
        """Excludes the children up to one from training, in the order of the pass.

        Raises:
            InputError: there is no such child.
        """
        children = dict(self.named_children())
        if last not in children:
            raise InputError(unknown_name("part of the backbone", last, children))
        for name, child in children.items():
            child.requires_grad_(False)
            if name == last:
                return
