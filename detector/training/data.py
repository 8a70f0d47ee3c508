"""Training images of a data set with their proposals, which are cached on disk, and the order of training."""

import functools
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch

from detector.data.annotations import AnnotatedImages, Annotations
from detector.data.predictions import check_size
from detector.data.voc import VOCDataset
from detector.errors import InputError
from detector.evaluation.prediction.proposals import read_pixels
from detector.io.progress import Progress
from detector.structures.image import Image, read_image
from detector.training.photos import read_photo_sets
from detector.training.recipes import DataConfig, PhotosConfig
from proposals import (
    FileProposals,
    ProposalCache,
    Proposals,
    SelectiveSearch,
    SelectiveSearchConfig,
    propose_files,
    warm_up,
)

log = logging.getLogger(__name__)


Images = TypeVar("Images", bound=AnnotatedImages)


class ProposedImages(Generic[Images]):
    """The images of a split with their annotations and Selective Search's boxes.

    Args:
        dataset: the images.
        config: settings of Selective Search.
        cache: folder of cached proposals.
    """

    def __init__(self, dataset: Images, config: SelectiveSearchConfig, cache: Path) -> None:
        self.dataset = dataset
        self.cache = ProposalCache(cache, SelectiveSearch(config))

    def __len__(self) -> int:
        return len(self.dataset)

    def fill(self, first: int = 0, step: int = 1) -> None:
        """Computes missing proposals before the training, with a progress bar, which also finds unreadable images.

        Args:
            first, step: each of several processes takes every `step`-th image from `first`.

        Raises:
            InputError: an image cannot be read.
        """
        for file in self.propose(range(first, len(self), step)):
            if file.error is not None:
                raise InputError(f"{file.path}: {file.error}; repair it or remove it from the split")

    def propose(self, indices: range | None = None) -> Iterator[FileProposals]:
        """Proposals of images (all by default), in order, computed or cached, with a progress bar. An image that cannot
        be read gives an error instead."""
        warm_up(log.info)
        paths = [self.dataset.image_path(index) for index in (range(len(self)) if indices is None else indices)]
        proposed = propose_files(
            paths, self.cache.proposer, read_pixels, workers=torch.get_num_threads(), cache=self.cache.directory
        )
        yield from Progress(proposed, total=len(paths), desc="proposals", unit="image")

    def __getitem__(self, index: int) -> tuple[Image, Proposals, Annotations]:
        """Image, proposals and objects.

        Raises:
            InputError: as `read_sample`.
        """
        image, annotations = read_sample(self.dataset, index)
        data = self.dataset.image_path(index).read_bytes()
        return image, self.cache.get(data, lambda: self.cache.proposer(image.pixels)), annotations


def read_sample(dataset: AnnotatedImages, index: int) -> tuple[Image, Annotations]:
    """Reads an image and its objects.

    Raises:
        InputError: the image cannot be read, its annotation is wrong, or its size differs from the annotated one.
    """
    sample = dataset[index]
    image = read_image(sample.image_path)
    try:
        check_size((image.width, image.height), sample.annotations.image_size)
    except InputError as error:
        raise InputError(f"{sample.image_path}: {error}") from None
    return image, sample.annotations


def proposed_splits(
    data: DataConfig | PhotosConfig, config: SelectiveSearchConfig, root: Path, cache: Path
) -> tuple[ProposedImages[Any], ProposedImages[Any]]:
    """The training and validation images of data sets below `root`; for a split of VOC, `root` holds `JPEGImages`.

    Raises:
        InputError: the data set or a split is missing or wrong.
    """
    if isinstance(data, PhotosConfig):
        sets: tuple[AnnotatedImages, AnnotatedImages] = read_photo_sets(data, root)
    else:
        sets = VOCDataset(root, data.train_split), VOCDataset(root, data.eval_split)
    train, val = (ProposedImages(photos, config, cache) for photos in sets)
    return train, val


def sample_index(seed: int, position: int, images: int) -> int:
    """The image at a position of an endless training order: every epoch visits all images in a new order."""
    epoch, index = divmod(position, images)
    return int(_order(seed, epoch, images)[index])


class BatchOrder:
    """An endless order of batches in which every epoch visits every image. The images of a batch are all wide or all
    tall; an incomplete batch is filled with images that the epoch has visited.

    Args:
        wide: (N,) bool, whether each image is wide.
        batch: images per step; with 1 the order is that of `sample_index`.
    """

    def __init__(self, seed: int, wide: Sequence[bool], batch: int) -> None:
        self.seed, self.wide, self.batch = seed, np.array(wide, bool), batch
        self._epoch, self._batches = -1, np.zeros((0, batch), np.int64)

    def __getitem__(self, step: int) -> list[int]:
        """Indices of the images of a step."""
        if self.batch == 1:
            return [sample_index(self.seed, step, len(self.wide))]
        counts = (int(self.wide.sum()), int((~self.wide).sum()))
        epoch, index = divmod(step, sum(-(-count // self.batch) for count in counts))
        if self._epoch != epoch:
            self._epoch, self._batches = epoch, self._shuffled(epoch)
        return self._batches[index].tolist()

    def _shuffled(self, epoch: int) -> np.ndarray:
        order = _order(self.seed, epoch, len(self.wide))
        batches = []
        for images in (order[self.wide[order]], order[~self.wide[order]]):
            batches.append(np.resize(images, (-(-len(images) // self.batch), self.batch)))
        return np.random.default_rng((self.seed, epoch, 1)).permutation(np.concatenate(batches))


@functools.lru_cache(maxsize=2)
def _order(seed: int, epoch: int, images: int) -> np.ndarray:
    return np.random.default_rng((seed, epoch)).permutation(images)
