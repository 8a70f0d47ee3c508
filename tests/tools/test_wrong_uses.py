"""A mistake in a command line ends in one line that names it, before anything is written or a detector runs."""

import shutil
import sys
from pathlib import Path

import pytest
from PIL import Image

from detector.config import InputConfig, ModelConfig, MultiBoxModelConfig
from detector.data import VOC_CLASSES
from detector.models.files import DEFAULT_MODEL
from detector.models.weights import Model, make_network, save_model
from proposals.multibox.config import MultiBoxConfig
from tests.detector.run_tools import files
from tests.tools.detect_tools import save_classifier

CLASSIFY, IMAGENET = "classify a/x.jpg --model c.safetensors", "evaluate --dataset imagenet --root photos --model"
VOC, DATA, RECIPE = "evaluate --root VOC --split val", "train --data yolo", "train r.yaml --root VOC"

# A command, and what its error names.
USES = [
    ("--foo", "--foo", "detector --help"),
    ("detct a.jpg", "'detct'", "do you mean 'detect'?"),
    ("see a.jpg", "'see'", "detect, bulk, evaluate"),
    ("detect", "--from-file"),
    ("detect a/x.jpg --overlap 0.3", "tile"),
    ("detect a/x.jpg --tile 64 --batch 2", "--batch"),
    ("detect a b --explain why.html", "--explain"),
    ("detect - --explain why.html", "--explain"),
    ("detect a/x.jpg --explain a/x.jpg", "--explain"),
    ("detect a/x.jpg --proposals foo", "--proposals 'foo'", "selective_search, multibox, both"),
    ("detect a/x.jpg --batch 0", "'--batch'"),
    ("detect a/x.jpg --bacth 1", "--bacth", "--batch"),
    ("detect a/x.jpg --score 1.01", "--score 1.01 is not a number in 0..1"),
    ("detect a/x.jpg --score -0.1", "--score -0.1 is not a number in 0..1"),
    ("detect a/x.jpg --score nan", "--score nan is not a number in 0..1"),
    ("detect a/x.jpg --device abacus", "--device abacus: ", "cuda"),
    ("detect a/x.jpg --classes cat,lion", "class 'lion' is unknown; known are aeroplane, bicycle, "),
    ("detect a/x.jpg --classes kat", "class 'kat' is unknown; do you mean 'cat'? Known are aeroplane, bicycle, "),
    ("detect a/x.jpg --classes ,", "--classes "),
    ("detect a/x.jpg --score dgo=0.3", "class 'dgo' is unknown; do you mean 'dog'? "),
    ("detect a/x.jpg --model nope", "nope: no such model file; ", "voc07"),
    ("detect a/x.jpg --config nope.yaml", "nope.yaml: no such file"),
    ("detect a/x.jpg --json a", "--json a: is a folder"),
    ("detect a/x.jpg --json b/x.jpg", "--json b/x.jpg: "),
    ("detect a/x.jpg --json a/x.jpg/f.json", "--json a/x.jpg/f.json: a/x.jpg is not a folder; give"),
    ("detect a/x.jpg --out b/y.png", "--out b/y.png: b/y.png is not a folder"),
    ("detect a/x.jpg --out b/y.png/z", "--out b/y.png/z: b/y.png/z is not a folder"),
    ("detect a/x.jpg --out a", "--out a: holds the photo a/x.jpg itself; give another folder"),
    ("detect a/x.jpg --out b/../a", "--out b/../a: holds the photo a/x.jpg itself; give another folder"),
    ("check", "--data"),
    ("check --data none", "none: "),
    ("check --data photos --sheet photos", "--sheet photos: is a folder"),
    ("bulk photos --out o --score 2", "--score 2", "0..1"),
    ("bulk photos --out o --device abacus", "--device abacus", "auto, cpu, cuda or mps"),
    ("bulk photos --out o --model none.safetensors", "none.safetensors: no such model file"),
    ("bulk photos --out o --classes lion", "'lion'"),
    (f"{CLASSIFY} --test-crops 7", "crops is 7; give 1, 10, 144"),
    (f"{CLASSIFY} --device abacus", "--device abacus: "),
    (f"{CLASSIFY} --model d.safetensors", "the models must have the same classes"),
    (f"{CLASSIFY} --json x.jpg", "--json x.jpg: "),
    (f"{CLASSIFY} --json photos", "--json photos: is a folder"),
    ("classify a/x.jpg --model none.npz", "none.npz: no such weights file"),
    ("classify a/x.jpg --model none.safetensors", "none.safetensors: no such model file"),
    ("classify a/x.jpg --model broken.safetensors", "broken.safetensors: not a readable model file"),
    ("classify a/x.jpg --model broken.caffemodel", "broken.caffemodel: not a readable .caffemodel"),
    ("classify a/x.jpg --model broken.npz", "broken.npz: not a readable .npz"),
    ("classify a/x.jpg --model photos", "photos: "),
    (f"classify a/x.jpg --model {DEFAULT_MODEL}", f"{DEFAULT_MODEL}: a model for regions; one for classification"),
    ("classify a/x.jpg --model torchvision/lenet", "'torchvision/lenet': torchvision has no network of this name"),
    ("convert none.npz m.safetensors", "none.npz: no such weights file"),
    ("convert none.safetensors w.npz", "none.safetensors: no such model file"),
    ("convert none.npz m.pt", "m.pt: give a name that ends in .safetensors or .npz"),
    ("convert none.npz m.caffemodel", "m.caffemodel: give a name that ends in .safetensors or .npz"),
    ("convert none.npz a/x.jpg/m.npz", "TARGET a/x.jpg/m.npz: a/x.jpg is not a folder"),
    (f"convert {DEFAULT_MODEL} w.npz", f"{DEFAULT_MODEL}: a model for regions; one for classification"),
    ("convert r.yaml w.npz", "r.yaml: not a readable .caffemodel"),
    ("explore --device tpu", "--device tpu: "),
    ("explore --root x", "give --dataset voc"),
    ("explore --dataset voc --root x", "--dataset voc needs --root"),
    ("explore --dataset voc --root nowhere --split val", "nowhere: holds no folder JPEGImages"),
    ("explore --model nowhere.safetensors", "nowhere.safetensors"),
    (f"{VOC} --detections none.json", "none.json", "No such file"),
    (f"{VOC} --detections x --model y", "--model ", "--detections"),
    (f"{VOC} --detections x --save-detections y", "--save-detections ", "--detections"),
    (f"{VOC} --compare x y --config z", "--config ", "--compare"),
    (f"{VOC} --compare x y --export csv z", "--export ", "--compare"),
    (f"{VOC} --iou-thresholds 0.5,high", "--iou-thresholds", "'high'"),
    (f"{VOC} --resume", "--resume ", "--save-detections"),
    (f"{VOC} --seed 1", "--seed ", "--dataset voc"),
    (f"{VOC} --data x", "--root ", "--data"),
    ("evaluate --data x", "x: no such file or folder"),
    ("evaluate --annotations instances.json", "--annotations instances.json: ", "--dataset coco"),
    ("evaluate --annotations data.yaml", "--annotations data.yaml: ", "--dataset yolo"),
    (f"{VOC} --seed 1", "--seed ", "--dataset voc"),
    (f"{VOC} --data x", "--root ", "--data"),
    (f"{VOC} --dataset coco", "--split ", "--dataset coco"),
    (f"{VOC} --class-map x", "--class-map ", "--dataset voc"),
    (f"{VOC} --format csv", "--format ", "--detections"),
    (f"{VOC} --json x.json --report ./x.json", "--report x.json", "--json"),
    (f"{VOC} --detections x.json --export csv x.json", "--export x.json"),
    (f"{VOC} --export coco x --json x.categories.json", "--export coco x.categories.json", "--json"),
    (f"{VOC} --export xml x", "format of detections 'xml' is unknown; known are "),
    (f"{VOC} --detections x.json --json x.json", "--json x.json"),
    (f"{VOC} --dataset yolo", "--dataset yolo", "--annotations"),
    (f"{VOC} --dataset ilsvrc --annotations x", "--dataset ilsvrc", "--split", "--class"),
    (f"{VOC} --model x --model y", "--model", "--dataset voc", "--config"),
    (f"{VOC} --test-crops 10", "--test-crops ", "--dataset voc"),
    (f"{VOC} --ablation --metric voc10", "--metric ", "--ablation"),
    (f"{VOC} --json .", "--json .", "folder"),
    (f"{VOC} --json a/x.jpg/x.json", "--json a/x.jpg/x.json: a/x.jpg is not a folder"),
    (f"{VOC} --save-detections a/x.jpg/x.json", "--save-detections a/x.jpg/x.json: a/x.jpg is not a folder"),
    (f"{VOC} --metric voc", "--metric", "voc07"),
    (f"{VOC} --limit 0", "'--limit'"),
    (f"{VOC} --dataset oid", "--dataset", "coco"),
    (f"{VOC} --classes ,", "--classes "),
    ("evaluate --root VOC --split test", "VOC: no split test; there are: val"),
    (f"{IMAGENET} none.npz", "none.npz: no such"),
    (f"{IMAGENET} {DEFAULT_MODEL}", f"{DEFAULT_MODEL}: "),
    (f"{IMAGENET} c.safetensors --test-crops 3", "3; give 1, 10, 144"),
    (f"{IMAGENET} c.safetensors --root none", "none: no such folder"),
    (f"{IMAGENET} c.safetensors --split val", "--split ", "--dataset imagenet"),
    (f"{IMAGENET} c.safetensors --metric voc07", "--metric ", "--dataset imagenet"),
    (f"{IMAGENET} c.safetensors --labels names.txt", "c.safetensors: "),
    (f"{IMAGENET} c.safetensors --ablation", "--ablation ", "--dataset imagenet"),
    (f"{IMAGENET} c.safetensors", "z_1.jpg: 'z_1' is not one of the model's 2 classes, such as 'dog'"),
    ("propose", "give photos or folders"),
    ("propose a/x.jpg --method edges", "method 'edges' is unknown; known are selective_search, multibox, both"),
    ("propose a/x.jpg --preset best", "preset 'best' is unknown; known are single, fast, balanced, quality"),
    ("propose a/x.jpg --export boxes.txt", "boxes.txt: the file name must end in .npz, .jsonl, .json"),
    ("propose a/x.jpg --export .npz", ".npz: the file name must end in"),
    ("propose a/x.jpg --export a", "--export a: is a folder"),
    ("propose a/x.jpg --export b/new.jpg", "--export b/new.jpg: "),
    ("propose a/x.jpg --json a", "--json a: is a folder"),
    ("propose a/x.jpg --json -", "--json -: standard output is for the printed results"),
    ("propose a/x.jpg --json a/x.jpg", "--json a/x.jpg: "),
    ("propose a/x.jpg --json a/x.jpg/f.json", "--json a/x.jpg/f.json: a/x.jpg is not a folder"),
    ("propose a/x.jpg --out a", "--out a: holds the photo a/x.jpg itself; give another folder"),
    ("propose a/x.jpg --out b/y.png", "--out b/y.png: b/y.png is not a folder"),
    ("propose a/x.jpg --cache b/y.png", "b/y.png"),
    ("propose a/x.jpg --dataset voc", "give photos or folders, or a data set: --dataset voc"),
    ("propose - --no-draw", "-: only files are read here; give a file"),
    ("propose b/x.jpg a/1.jpg --export p.json --no-draw", "b/x.jpg: this format needs files named by number"),
    ("propose a/1.jpg a/001.jpg --export p.json --no-draw", "a/001.jpg: has the same number as a/1.jpg"),
    ("propose a/x.jpg --report", "--report and --boxes need a data set"),
    ("propose --report --dataset voc --split val", "--dataset voc needs --root DIR and --split NAME"),
    ("propose --report --dataset voc --root VOC", "--dataset voc needs --root DIR and --split NAME"),
    ("propose --report --dataset coco --root VOC", "--dataset coco needs --annotations FILE"),
    ("propose --report --root VOC --split val", "give photos or folders, or a data set"),
    ("propose --report --dataset voc --root VOC --split val a", "give photos or folders, or a data set"),
    ("propose a/x.jpg --boxes boxes.npz", "--report and --boxes need a data set"),
    ("propose a/x.jpg --masks", "--masks needs --export"),
    ("propose a/x.jpg --masks --export boxes.pkl", "boxes.pkl: this format has no place for masks"),
    ("propose --report --dataset voc --root nowhere --split val", "nowhere"),
    ("propose --report --dataset voc --root VOC --split test", "test"),
    ("propose --report --dataset voc --root VOC --split val --out a/x.jpg/x", "--out"),
    ("propose --report --dataset voc --root VOC --split val --out plots", "split 'val'"),
    ("propose a/x.jpg --model multibox.safetensors", "--model and --multibox are for MultiBox"),
    ("propose a/x.jpg --multibox 5", "--model and --multibox are for MultiBox"),
    (
        "propose a/x.jpg --method multibox --model plain.safetensors",
        "plain.safetensors: no model here has a MultiBox head",
    ),
    ("train", "give a recipe with --root, or --data"),
    ("train r.yaml", "a recipe needs --root"),
    ("train --layout cco a", "--layout 'cco'", "voc, coco, yolo"),
    ("train none.yaml --root VOC", "none.yaml: no such file"),
    (RECIPE, "give --init"),
    (f"{RECIPE} --init broken.npz", "broken.npz: not a readable .npz"),
    (f"{RECIPE} --out r.yaml/run", "--out"),
    (f"{RECIPE} --classes cat", "--classes "),
    (f"{RECIPE} --skip-bad-labels", "--skip-bad-labels "),
    ("train key.yaml --root VOC", "key 'speed' is unknown; do you mean 'seed'"),
    ("train split.yaml --root VOC", "none"),
    ("train cut.yaml --root VOC", "not a readable YAML file"),
    ("train r.yaml --data yolo", "give a recipe with --root, or --data"),
    ("train --data none", "none: no such file or folder"),
    (f"{DATA} --root VOC", "--root "),
    (f"{DATA} --epochs many", "--epochs"),
    (f"{DATA} --epochs 0", "--epochs"),
    (f"{DATA} --lr 0", "lr: "),
    (f"{RECIPE} --size 64", "--size "),
    (f"{RECIPE} --unlabeled a", "--unlabeled "),
    ("train crops.yaml --root VOC", "data: key 'unlabeled' is unknown"),
    ("train more.yaml --root VOC", "VOC/none: no such folder"),
    ("train sure.yaml --root VOC", "pseudo_labels", "unlabeled"),
    (f"{DATA} --unlabeled none", "none: no such folder"),
    (f"{DATA} --unlabeled VOC/Annotations", "VOC/Annotations: holds no photos"),
    (f"{DATA} --unlabeled yolo/images", "yolo/images: none of its 2 photos"),
    (f"{RECIPE} --labels image", "--labels "),
    (f"{DATA} --labels pixels", "--labels", "image"),
    (f"{DATA} --labels image", "every photo shows 'cat'"),
    (f"{DATA} --labels image --keep", "labels"),
    ("train --data VOC/Annotations --labels image", "VOC/Annotations"),
    (f"{DATA} --classes dog", "class 'dog' is unknown; known are cat"),
    (f"{DATA} --layout coco", "holds no labels of COCO"),
    ("benchmark --image no.jpg", "no.jpg"),
    ("benchmark --threads 0", "--threads"),
    ("benchmark --repeats 0", "--repeats"),
    ("benchmark --json .", "--json"),
    ("benchmark --crops --device cpu", "--crops"),
    ("benchmark --device tpu", "'tpu'"),
    ("benchmark --evaluators --image a/x.jpg", "--image"),
    ("benchmark --model no.safetensors", "no.safetensors"),
    ("benchmark --model voc07_crops", "--crops"),
    ("export graph.txt", "graph.txt", ".onnx or .pt2"),
    ("export graph.pt2 --int8 photos", "graph.pt2: int8 needs"),
    ("export graph.onnx --size 640", "--size 640", "640x480"),
    ("export graph.onnx --model no.safetensors", "no.safetensors"),
]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos, models, recipes and data sets, good ones and bad ones."""
    folder = tmp_path_factory.mktemp("inputs")
    photos = ("a/x.jpg", "a/1.jpg", "a/001.jpg", "b/x.jpg", "b/y.png", "photos/z_1.jpg", "VOC/JPEGImages/1.jpg")
    for name in (*photos, "yolo/images/0.png", "yolo/images/1.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (60, 40)).save(folder / name)
    save_classifier(folder / "c.safetensors", (1, 2), ("dog", "bird"))
    save_classifier(folder / "d.safetensors", (1, 2, 3), ("dog", "bird", "cat"))
    small, head = ModelConfig(input=InputConfig(short_side=64)), MultiBoxConfig(grids=(4, 2), shapes=3, channels=8)
    for name, config, classes in (
        ("plain", small, VOC_CLASSES),
        ("multibox", MultiBoxModelConfig(size=64, head=head), ()),
    ):
        save_model(Model(make_network(config, 20), config, classes, {}), folder / f"{name}.safetensors")
    (folder / "broken.safetensors").write_bytes((folder / "c.safetensors").read_bytes()[:1000])
    (folder / "broken.caffemodel").write_bytes(b"\x12\xff\xff\xff\x7f")
    shutil.copy(folder / "a/x.jpg", folder / "broken.npz")
    texts = {
        "VOC/ImageSets/Main/val.txt": "1\n",
        "VOC/Annotations/1.xml": "<annotation><size><width>60</width><height>40</height></size></annotation>",
        "yolo/data.yaml": "train: images\nval: images\nnames: [cat]\n",
        "yolo/labels/0.txt": "0 0.5 0.5 0.5 0.5\n",
        "yolo/labels/1.txt": "0 0.5 0.5 0.5 0.5\n",
        "r.yaml": "data: {train_split: val, eval_split: val}",
        "key.yaml": "data: {train_split: val, eval_split: val}\nspeed: 3",
        "crops.yaml": "task: rcnn\ndata: {train_split: val, eval_split: val, unlabeled: a}",
        "sure.yaml": "data: {train_split: val, eval_split: val}\npseudo_labels: {sure: 0.7}",
        "more.yaml": "data: {train_split: val, eval_split: val, unlabeled: none}",
        "split.yaml": "data: {train_split: none, eval_split: val}",
        "cut.yaml": "data: {train_split: val",
    }
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize(("words", "facts"), [(use[0], use[1:]) for use in USES], ids=lambda value: str(value)[:60])
def test_one_line_names_what_is_wrong(words: str, facts: tuple[str, ...], command, inputs: Path, monkeypatch):
    monkeypatch.chdir(inputs)
    monkeypatch.setattr("torch.set_num_threads", lambda count: None)  # this process stays as it is
    before = files(inputs)
    ended = command(*words.split())
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1), ended
    assert ended.err.startswith("error: ")
    assert all(fact in ended.err for fact in facts), ended.err
    assert [name for name in files(inputs) if name not in before and not name.endswith("train.log")] == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--proposals both --model plain.safetensors", "no model here has a MultiBox head"),
        ("--proposals both --config best", "give proposals or a configuration"),
        ("--model multibox.safetensors", "a model for multibox; one for regions or crops is needed"),
    ],
)
def test_a_model_that_is_of_another_kind(words: str, message: str, command, inputs: Path, tmp_path, monkeypatch):
    monkeypatch.chdir(inputs)
    ended = command("detect", "a/x.jpg", *words.split(), "--out", tmp_path / "out")
    assert (ended.code, ended.err.count("\n"), message in ended.err) == (2, 1, True), ended


@pytest.mark.parametrize(("module", "words", "extra"), [("ray", "bulk photos", "'ray'"), ("mkdocs", "docs", "'docs'")])
def test_without_an_extra_it_says_what_to_install(module, words, extra, command, inputs: Path, tmp_path, monkeypatch):
    monkeypatch.chdir(inputs)
    monkeypatch.setitem(sys.modules, module, None)
    ended = command(*words.split(), "--out", tmp_path / "out")
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert f"needs the extra {extra}: pip install" in ended.err
