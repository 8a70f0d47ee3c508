"""The toy world of the course's parts 3 and 4: scenes, their regions and features, and trained classifiers."""

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter
from rcnn_course import astronaut, cat

from detector.config import CropConfig
from detector.models.weights import load_model
from detector.ops.crops import crop_windows, warp_windows
from detector.training.rcnn_heads import mine_svm
from detector.training.recipes import HeadsConfig
from detector.training.targets import match_regions
from proposals import SelectiveSearch, SelectiveSearchConfig
from proposals.evaluation import iou_matrix

NAMES = ["cat", "person", "helmet"]
PIECES = [(cat, (25, 0, 370, 300)), (astronaut, (150, 8, 305, 190)), (astronaut, (275, 336, 511, 511))]
PIECES += [(cat, (10, 150, 170, 300)), (astronaut, (50, 290, 270, 510)), (astronaut, (345, 0, 456, 281))]  # no objects
SIZE = (240, 180)


def clutter(rng):
    """A background with colored shapes."""
    picture = Image.new("RGB", SIZE, tuple(rng.integers(60, 200, 3).tolist()))
    draw = ImageDraw.Draw(picture)
    for _ in range(9):
        x, y = rng.integers(-20, SIZE[0]), rng.integers(-20, SIZE[1])
        box = [int(x), int(y), int(x + rng.integers(20, 90)), int(y + rng.integers(20, 90))]
        shape = draw.ellipse if rng.random() < 0.5 else draw.rectangle
        shape(box, fill=tuple(rng.integers(30, 230, 3).tolist()))
    noise = rng.normal(0, 6, (SIZE[1], SIZE[0], 3))
    blurred = np.asarray(picture.filter(ImageFilter.GaussianBlur(1.2)), float)
    return Image.fromarray(np.clip(blurred + noise, 0, 255).astype(np.uint8))


def make_scene(seed):
    """A scene: pixels (H, W, 3), boxes (G, 4) and labels (G,) of its objects."""
    rng = np.random.default_rng(seed)
    picture, boxes, labels = clutter(rng), [], []
    for first in (True, False, False, False):
        label, side = int(rng.integers(len(NAMES) if first else len(PIECES))), int(rng.integers(50, 105))
        pixels, part = PIECES[label]
        piece = Image.fromarray(pixels).crop(part)
        piece = piece.resize((side, int(side * piece.height / piece.width * rng.uniform(0.9, 1.1))))
        mask = Image.new("L", piece.size)
        ImageDraw.Draw(mask).ellipse((0, 0, piece.width - 1, piece.height - 1), fill=255)
        if rng.random() < 0.5:
            piece = piece.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        piece = ImageEnhance.Brightness(piece).enhance(rng.uniform(0.7, 1.3))
        angle = rng.uniform(-15, 15)
        piece, mask = piece.rotate(angle, expand=True), mask.rotate(angle, expand=True)
        left, top = (int(rng.integers(0, max(1, SIZE[i] - piece.size[i]))) for i in range(2))
        box = np.add(mask.point(lambda value: 255 * (value > 127)).getbbox(), (left, top, left, top)).astype(float)
        if boxes and iou_matrix(box[None], np.array(boxes)).max() > 0.1:
            continue
        picture.paste(piece, (left, top), mask)
        boxes.append(np.minimum(box, (*SIZE, *SIZE)))
        labels.append(label)
    objects = np.array(labels) < len(NAMES)
    return np.asarray(picture), np.array(boxes)[objects], np.array(labels)[objects]


train, test = [make_scene(seed) for seed in range(12)], [make_scene(seed) for seed in range(100, 108)]
few = SelectiveSearch(SelectiveSearchConfig(color_spaces=("HSV",), similarities=("CTSF",), ks=(50,)))
CROPS, SETTINGS = CropConfig(size=96, context=8), HeadsConfig(svm_c=0.01)
network = load_model("voc07").network


@torch.inference_mode()
def describe(pixels, boxes):
    """Features (N, 1024) of the boxes (N, 4) of a picture (H, W, 3), each scaled to a mean length of 20."""
    image = torch.tensor(pixels).permute(2, 0, 1).float() - network.mean[0]
    crops = warp_windows(image, crop_windows(torch.tensor(boxes), CROPS), CROPS.size) + network.mean
    parts = [network.features(batch).mean(dim=(2, 3)) for batch in crops.split(16)]
    features = torch.cat(parts).numpy()
    return features * 20 / np.linalg.norm(features, axis=1).mean()


def train_classifiers():
    """The library's SVMs of part 3, one a class: weights (1024, 3) and biases (3,)."""
    train_boxes = [np.concatenate((boxes, few(pixels).top(50).boxes)) for pixels, boxes, _ in train]
    features = np.concatenate([describe(scene[0], boxes) for scene, boxes in zip(train, train_boxes, strict=True)])
    svms = []
    for label in range(len(NAMES)):
        positive, negative = [], []
        for (_, boxes, classes), found in zip(train, train_boxes, strict=True):
            targets = match_regions(*map(torch.tensor, (found, boxes, classes, np.zeros(len(boxes), bool))))
            positive.append(targets.labels.numpy() == label + 1)
            overlaps = iou_matrix(found, boxes[classes == label])
            negative.append(overlaps.max(axis=1, initial=0) < SETTINGS.svm_negative_iou)
        svms.append(mine_svm(*(features[np.concatenate(chosen)] for chosen in (positive, negative)), SETTINGS)[:2])
    return np.stack([w for w, _ in svms], axis=1), np.array([b for _, b in svms])
