# %% [markdown]
# # Detection in five minutes
#
# This notebook shows what the library does, from one photo to a model with classes of your own. It needs nothing but a
# checkout: its photos are the two of `tests/photos`, and small pictures that it draws itself. It runs on a CPU and
# writes into the folder `five_minutes`, which you can delete afterwards.

# %%
import json
import shutil
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import IFrame
from PIL import Image, ImageDraw, ImageFilter

import detector
from detector.runner.video import VideoWriter

PHOTOS = Path(detector.__file__).parents[1] / "tests/photos"  # of the checkout
OUT = Path("five_minutes")
shutil.rmtree(OUT, ignore_errors=True)
OUT.mkdir()


def show(*pictures, titles=()):
    """Shows pictures side by side."""
    _, axes = plt.subplots(1, len(pictures), figsize=(6 * len(pictures), 5), squeeze=False)
    for number, (each, picture) in enumerate(zip(axes[0], pictures, strict=True)):
        each.imshow(picture)
        each.set_title(titles[number] if titles else "")
        each.axis("off")
    plt.show()


# %% [markdown]
# ## Load a detector
#
# The default model comes with the package and knows the 20 classes of PASCAL VOC. `load_detector("best")` is more
# accurate and slower; a model file or the folder of a training is loaded the same way.

# %%
model = detector.load_detector()
print(model)
print(*model.class_names)

# %% [markdown]
# ## Detect, and look at the result
#
# Call the model with a photo: a path, an address, a PIL image, or an array with `channels="RGB"` or `"BGR"`. The
# result is a list of objects, best first. A box is `(x1, y1, x2, y2)` in pixels, right and bottom exclusive. The score
# is calibrated: about half of the detections near 0.5 are right.

# %%
result = model(PHOTOS / "cat.jpg")
for found in result:
    print(found.label, round(found.score, 2), [round(side) for side in found.box])

# %% [markdown]
# The result remembers its photo, so it can draw itself. `draw` gives an array, `save` writes a file, and in a notebook
# `result.plot()` is enough. The same objects are there as arrays and as JSON.

# %%
show(result.draw(), model(PHOTOS / "astronaut.jpg").draw())
result.save(OUT / "cat.jpg")
print(result.boxes.round(), result.scores.round(2), result.labels)
print(result.to_json())

# %% [markdown]
# ## Settings
#
# Settings belong to a call and change nothing on the model. `score` is the lowest score, for all classes or by class;
# `classes` keeps some classes; `size` is the short side of the network's input in pixels: a small one is fast, a large
# one finds small objects; `iou` is the overlap above which the worse of two boxes of a class is dropped. Watch what a
# low score adds: more boxes, most of them wrong.

# %%
astronaut = PHOTOS / "astronaut.jpg"
few, many = model(astronaut, score=0.7), model(astronaut, score=0.05, iou=0.5)
only = model(astronaut, score={"person": 0.3}, classes=["person"], max_detections=1)
show(few.draw(), many.draw(), only.draw(), titles=("score=0.7", "score=0.05", 'classes=["person"]'))
for size in (224, 480):
    print(f"size={size}:", model(astronaut, size=size, proposals="multibox"))

# %% [markdown]
# ## A folder
#
# `stream` takes a folder, a pattern, a zip, a list, a video or a camera, and gives one result after the other; nothing
# piles up in memory. First we make a folder: the two photos, a mirrored one, a small one, and a file that is no photo.
# With `errors="skip"` the broken file is logged and left out; by default it raises an error.

# %%
folder = OUT / "photos"
folder.mkdir()
cat_photo, astronaut_photo = (Image.open(PHOTOS / f"{name}.jpg").convert("RGB") for name in ("cat", "astronaut"))
cat_photo.save(folder / "cat.jpg")
astronaut_photo.save(folder / "astronaut.jpg")
cat_photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(folder / "mirrored.jpg")
astronaut_photo.resize((200, 200)).save(folder / "small.jpg")
(folder / "broken.jpg").write_bytes(b"no photo")
for result in model.stream(folder, errors="skip"):
    print(Path(result.name).name, result)

# %% [markdown]
# ## A video
#
# A video is another source. We make one from a photo: a window that moves over the cat. `frame_step=4` looks at every
# fourth frame, and the name of a result says which. The command `python tools/detect.py clip.mp4` writes the annotated
# video; with `track=True` (and the extra `track`) objects keep a number from frame to frame.

# %%
pixels = np.asarray(cat_photo)
with VideoWriter(OUT / "clip.mp4", frame_rate=10) as writer:
    for x in range(0, 150, 10):
        writer.write(pixels[20:280, x : x + 300])
frames = [(result.name.rpartition("#")[2], result.draw()) for result in model.stream(OUT / "clip.mp4", frame_step=4)]
show(*(picture for _, picture in frames), titles=[f"frame {number}" for number, _ in frames])

# %% [markdown]
# ## Why this result?
#
# `explain` writes a page with every stage of one photo: how regions grow together, which proposals there are, what
# each scores, what non-maximum suppression drops. `python tools/explore.py` shows the same as a page that you can play
# with.

# %%
page = model.explain(PHOTOS / "cat.jpg", OUT / "why.html")
IFrame(str(page), width="100%", height=600)

# %% [markdown]
# ## How good is it?
#
# To evaluate a model, give it photos with labels, in VOC's, COCO's or YOLO's format. Here are four photos in YOLO's: a
# text file for each photo, a line for each object, with the class and the box's center, width and height as shares of
# the photo's. One label is wrong on purpose: it calls the mirrored cat a dog.

# %%
CAT, ASTRONAUT = (0, 0, 415, 300), (20, 15, 362, 512)
labeled = {
    "cat": (cat_photo, "cat", CAT),
    "mirrored": (cat_photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT), "dog", (36, 0, 451, 300)),
    "small": (cat_photo.resize((226, 150)), "cat", (0, 0, 208, 150)),
    "astronaut": (astronaut_photo, "person", ASTRONAUT),
}


def write_labeled(folder, photos, names):
    """Writes photos with labels in YOLO's format: for each name the picture, and pairs of class and box."""
    for part in ("images/train", "labels/train"):
        (folder / part).mkdir(parents=True)
    for name, (picture, objects) in photos.items():
        picture.save(folder / f"images/train/{name}.png")
        lines = []
        for label, (x1, y1, x2, y2) in objects:
            numbers = np.divide([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1], [*picture.size, *picture.size])
            lines.append(f"{names.index(label)} " + " ".join(f"{number:.6f}" for number in numbers))
        (folder / f"labels/train/{name}.txt").write_text("\n".join(lines))
    (folder / "data.yaml").write_text(f"train: images/train\nnames: {json.dumps(names)}\n")
    return folder


tiny = write_labeled(
    OUT / "labeled",
    {name: (picture, [(label, box)]) for name, (picture, label, box) in labeled.items()},
    ["cat", "dog", "person"],
)
print(model.evaluate(tiny, split="all").table())

# %% [markdown]
# Look at what the wrong label does. At a score of 0.5 the mirrored cat is a mistake (precision) and the dog is missed
# (recall); the cat's AP suffers too. And yet the dog's AP is perfect: AP looks at the order of scores alone, and the
# faint second guess "dog" for this cat is the best dog of four photos. Numbers from so few photos say nothing about a
# model; with some hundred they become steady.

# %% [markdown]
# ## Classes of your own
#
# `train` starts from the model and teaches it new classes. We draw 24 pictures of traffic signs, blue discs and red
# triangles, which are labeled because we know where we drew them. A folder of photos that you labeled with any tool
# works the same; a few dozen are a start.


# %%
def draw_signs(seed):
    """A picture of 160x160 pixels, and its objects: pairs of class and box."""
    rng = np.random.default_rng(seed)
    picture = Image.new("RGB", (160, 160), tuple(rng.integers(90, 190, 3).tolist()))
    draw = ImageDraw.Draw(picture)
    for _ in range(6):
        x, y = rng.integers(0, 140, 2).tolist()
        draw.rectangle((x, y, x + 40, y + 25), fill=tuple(rng.integers(80, 200, 3).tolist()))
    objects = []
    for left in (6, 84):
        if left == 84 and rng.random() < 0.4:
            continue
        side, x, y = int(rng.integers(45, 68)), left, int(rng.integers(5, 85))
        if rng.random() < 0.5:
            draw.ellipse((x, y, x + side, y + side), fill=(20, 60, 190), outline="white", width=5)
            objects.append(("disc", (x, y, x + side, y + side)))
        else:
            corners = [(x, y + side), (x + side, y + side), (x + side // 2, y)]
            draw.polygon(corners, fill="white", outline=(210, 20, 30), width=8)
            objects.append(("triangle", (x, y, x + side, y + side)))
    return picture.filter(ImageFilter.GaussianBlur(0.7)), objects


signs = write_labeled(OUT / "signs", {f"{seed}": draw_signs(seed) for seed in range(24)}, ["disc", "triangle"])
show(*(draw_signs(seed)[0] for seed in range(3)))

# %% [markdown]
# Left alone, a training chooses its length and its settings by rules, takes up to 25 minutes, and explains its
# choices. To stay short, this one passes only a few times over the pictures, keeps the backbone as it is (`freeze`),
# and sees small inputs (`size`). It sets some pictures aside, on which it reports the result.

# %%
own = detector.load_detector(dtype="float32")
trained = own.train(signs, OUT / "own", epochs=6, lr=0.01, size=160, freeze="backbone")
print(trained)

# %% [markdown]
# Now `own` is the trained detector, and its folder a name for it: `load_detector("five_minutes/own")`. `trained.score`
# is the score that balances false alarms and misses best on the pictures set aside. Here `own` looks at pictures that
# it has never seen, after a training of seconds. Then try it on photos of your own, and label those that it gets
# wrong.

# %%
results = [own(draw_signs(seed)[0], score=trained.score) for seed in range(100, 103)]
for result in results:
    print(result)
show(*(result.draw() for result in results))
