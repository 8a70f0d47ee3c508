"""What a detection network needs of a backbone."""

from torch import nn

Color = tuple[float, float, float]


class Backbone(nn.Module):
    """Convolutional network from normalized images (B, 3, H, W) to features (B, out_channels, ~H/stride, ~W/stride).

    Attributes:
        out_channels: channels of the features.
        stride: pixels between the centers of neighboring cells of the features.
        offset: position in pixels (0 = left edge of the image) of the center of cell 0.
        mean, std: RGB, in 0..255; an image is normalized by (pixels - mean) / std.
    """

    out_channels: int
    stride: int
    offset: float
    mean: Color
    std: Color = (1.0, 1.0, 1.0)

    def freeze_stem(self) -> None:
        """Takes the first convolutions out of training, whose edges and blobs serve any task; here it does nothing."""
