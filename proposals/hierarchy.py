"""The tree of regions that a grouping makes."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Hierarchy:
    """All regions of one grouping: N superpixels, then the N - 1 unions in order of their making; the last is all.

    Attributes:
        labels: (H, W) int32, the superpixel that a pixel belongs to, 0 .. N - 1.
        merges: (N - 1, 2) int32: region N + i is the union of the regions merges[i].
        similarities: (N - 1,) float64, of the two regions of each merge_proposals when they were joined; the sum of the
            strategy's measures, each in 0..1.
        boxes: (2 N - 1, 4) int32 xyxy pixels, right and bottom exclusive.
        sizes: (2 N - 1,) int32 pixels.
        counts: (2 N - 1, bins) int32 histograms as in `RoIs`; no bins if the similarity uses none.
    """

    labels: np.ndarray
    merges: np.ndarray
    similarities: np.ndarray
    boxes: np.ndarray
    sizes: np.ndarray
    counts: np.ndarray

    def __len__(self) -> int:
        """The number of regions, 2 N - 1."""
        return len(self.sizes)

    @property
    def superpixels(self) -> int:
        """N."""
        return len(self.merges) + 1

    @property
    def parents(self) -> np.ndarray:
        """(2 N - 1,) int32: the union that a region went into; -1 for the last region."""
        parents = np.full(len(self), -1, np.int32)
        parents[self.merges] = np.arange(self.superpixels, len(self), dtype=np.int32)[:, None]
        return parents

    @property
    def levels(self) -> np.ndarray:
        """(2 N - 1,) int32: 0 for superpixels, one more than the higher of its two parts for a union."""
        levels = np.zeros(len(self), np.int32)
        for union, (a, b) in enumerate(self.merges.tolist(), start=self.superpixels):
            levels[union] = 1 + max(levels[a], levels[b])
        return levels

    def mask(self, region: int) -> np.ndarray:
        """(H, W) bool: the pixels of a region."""
        if not 0 <= region < len(self):
            raise ValueError(f"region {region}: the hierarchy has the regions 0 to {len(self) - 1}")
        inside = np.zeros(len(self), bool)
        inside[region] = True
        for union in range(region, self.superpixels - 1, -1):
            inside[self.merges[union - self.superpixels]] |= inside[union]
        return inside[: self.superpixels][self.labels]

    def segmentation(self, count: int) -> np.ndarray:
        """(H, W) int32: the image cut into `count` regions (at most N), each pixel holding its region's number.

        These are the regions that are left when all but count - 1 of the merges have been made.
        """
        n = self.superpixels
        if not 1 <= count <= n:
            raise ValueError(f"the hierarchy can be cut into 1 to {n} regions, not {count}")
        region = np.arange(len(self), dtype=np.int32)
        for union in range(len(self) - count, n - 1, -1):
            region[self.merges[union - n]] = region[union]
        return region[self.labels]
