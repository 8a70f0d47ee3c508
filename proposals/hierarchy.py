"""The tree of regions built by hierarchical grouping."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Hierarchy:
    """The regions of one grouping: N superpixels, then N - 1 unions in merge order; the last is the whole image.

    Attributes:
        labels: (H, W) int32, the superpixel of every pixel, 0 .. N - 1.
        merges: (N - 1, 2) int32; region N + i is the union of the two regions merges[i].
        similarities: (N - 1,) float64, the similarity of each merged pair: the sum of the strategy's measures, each in
            0..1.
        boxes: (2 N - 1, 4) int32 xyxy pixels, right and bottom exclusive.
        sizes: (2 N - 1,) int32 areas in pixels.
        counts: (2 N - 1, bins) int32 histograms as in `Superpixels`; bins is 0 if the similarity needs no histograms.
    """

    labels: np.ndarray
    merges: np.ndarray
    similarities: np.ndarray
    boxes: np.ndarray
    sizes: np.ndarray
    counts: np.ndarray

    def __len__(self) -> int:
        """Returns the number of regions, 2 N - 1."""
        return len(self.sizes)

    @property
    def superpixels(self) -> int:
        """The number of superpixels, N."""
        return len(self.merges) + 1

    @property
    def parents(self) -> np.ndarray:
        """(2 N - 1,) int32, the union that contains each region directly; -1 for the last region."""
        parents = np.full(len(self), -1, np.int32)
        parents[self.merges] = np.arange(self.superpixels, len(self), dtype=np.int32)[:, None]
        return parents

    @property
    def levels(self) -> np.ndarray:
        """(2 N - 1,) int32, 0 for superpixels; for a union one more than the higher level of its two regions."""
        levels = np.zeros(len(self), np.int32)
        for union, (a, b) in enumerate(self.merges.tolist(), start=self.superpixels):
            levels[union] = 1 + max(levels[a], levels[b])
        return levels

    def mask(self, region: int) -> np.ndarray:
        """Returns the pixels of a region, (H, W) bool."""
        if not 0 <= region < len(self):
            raise ValueError(f"region {region} does not exist; the hierarchy has regions 0 to {len(self) - 1}")
        inside = np.zeros(len(self), bool)
        inside[region] = True
        for union in range(region, self.superpixels - 1, -1):
            inside[self.merges[union - self.superpixels]] |= inside[union]
        return inside[: self.superpixels][self.labels]

    def segmentation(self, count: int) -> np.ndarray:
        """Returns the image cut into `count` regions: (H, W) int32, the region of every pixel.

        These are the regions after the first N - count merges, with `count` in 1 .. N.
        """
        n = self.superpixels
        if not 1 <= count <= n:
            raise ValueError(f"the hierarchy can be cut into 1 to {n} regions, not {count}")
        region = np.arange(len(self), dtype=np.int32)
        for union in range(len(self) - count, n - 1, -1):
            region[self.merges[union - n]] = region[union]
        return region[self.labels]
