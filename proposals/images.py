"""Images as every proposal method takes them."""

import numpy as np


def checked_image(image: np.ndarray) -> np.ndarray:
    """An RGB or gray image as a contiguous (H, W, 3) array; ValueError if it cannot be used."""
    if not isinstance(image, np.ndarray):
        raise ValueError(f"an image must be a numpy array, not {type(image).__name__}")
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in (1, 3)):
        hint = "; leave out the alpha channel: image[:, :, :3]" if image.ndim == 3 and image.shape[2] == 4 else ""
        raise ValueError(
            f"an image must be an (H, W, 3) RGB or (H, W) gray uint8 array, not {image.shape} {image.dtype}{hint}"
        )
    height, width = image.shape[:2]
    if height == 0 or width == 0:
        raise ValueError(f"an image must have pixels, not {width}x{height}")
    if image.ndim == 2 or image.shape[2] == 1:
        image = np.repeat(image.reshape(height, width, 1), 3, axis=2)
    return np.ascontiguousarray(image)
