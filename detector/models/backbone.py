"""What a detection network needs of a backbone."""

from torch import nn

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
