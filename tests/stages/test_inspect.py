"""What `--stage=inspect` says about folders with all kinds of mistakes, and that the commands it suggests run."""

import dataclasses
import json
import shlex
import sys

import numpy as np
import pytest
import tiny
from PIL import Image

import tf_simclr
from tf_simclr import program
from tf_simclr.cli import main, parse
from tf_simclr.config import Config, ModelConfig
from tf_simclr.data.holdout import hold_out
from tf_simclr.data.source import join
from tf_simclr.inspection import suggest
from tf_simclr.inspection.report import commands
from tf_simclr.inspection.suggest import free_memory, step_bytes, usual_size
from tf_simclr.inspection.summary import summarise
from tf_simclr.stages.inspect import held_out

pytestmark = pytest.mark.usefixtures("short_resnet_throughout")
RANDOM = np.random.default_rng(0)


def picture(height, width, channels):
    return Image.fromarray(RANDOM.integers(0, 256, [height, width, *([channels] if channels > 1 else [])], np.uint8))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Grey images: 40 PNG and 20 JPEG of two classes with a $ and a blank in their names; a bad file, copies, a copy with two labels.

    Beside it, in `pool`, an image without a label, which also has one in the folder.
    """
    root = tmp_path_factory.mktemp("my images") / "labelled"
    for name, count in (("good $x", 40), ("bad $y", 20)):
        (root / name).mkdir(parents=True)
        for i in range(count):
            picture(20 + i % 3, 24, 1).save(root / name / (f"{i}.png" if name[0] == "g" else f"{i}.jpg"))
    (root / "bad $y" / "broken.png").write_bytes(b"no image")
    (root / "bad $y" / "copy.png").write_bytes((root / "good $x" / "0.png").read_bytes())
    (root / "good $x" / "copy.png").write_bytes((root / "good $x" / "1.png").read_bytes())
    (root.parent / "pool").mkdir()
    (root.parent / "pool" / "a.png").write_bytes((root / "good $x" / "3.png").read_bytes())
    return root


@pytest.fixture(scope="module")
def inspected(folder, tmp_path_factory):
    """The directory of an inspection, and its result."""
    out = tmp_path_factory.mktemp("inspect")
    small = ["--depth=10", "--width=0.125", "--stem=cifar2", f"--unlabeled_dir={folder.parent / 'pool'}"]
    assert main(["--stage=inspect", f"--data_dir={folder}", f"--run_dir={out}", *small]) == 0
    return out, json.loads((out / "inspection.json").read_text())


def test_what_a_folder_holds_is_counted(folder, inspected):
    summary = inspected[1]["summary"]
    assert (summary["images"], summary["labelled"], summary["unlabelled"], summary["evaluation_images"]) == (63, 62, 1, 0)
    assert summary["formats"] == {"PNG": 43, "JPEG": 20} and summary["channels"] == {"grey": 63}
    assert summary["width"] == {"least": 24, "median": 24, "largest": 24} and summary["height"]["largest"] == 22
    assert summary["classes"] == [
        {"name": "bad $y", "images": 21, "evaluation_images": 0},
        {"name": "good $x", "images": 41, "evaluation_images": 0},
    ]
    assert summary["bad"]["images"] == 1 and summary["bad"]["examples"][0]["path"].endswith("broken.png")
    assert summary["copies"]["images"] == 3
    assert summary["overlap"] == [["labelled", str(folder / "good $x" / "3.png"), "unlabelled", str(folder.parent / "pool" / "a.png")]]
    (conflict,) = summary["copies"]["conflicts"]  # a copy without a label has no other one
    assert sorted(conflict) == [str(folder / "bad $y" / "copy.png"), str(folder / "good $x" / "0.png")]


def test_the_commands_keep_their_runs_out_of_the_images(tmp_path, monkeypatch):
    """Where the default, runs/… below the working directory, would lie among them."""
    monkeypatch.chdir(tmp_path)
    suggestion = suggest.Suggestion(**{field.name: 8 for field in dataclasses.fields(suggest.Suggestion)})
    config = parse(["--stage=inspect", "--dataset=folder", "--data_dir=.", "--run_dir=../seen"])
    pretrain, finetune = commands(tiny.data().train, suggestion, config, holdout=False)
    assert "--run_dir=../seen_runs/pretrain" in shlex.split(pretrain) and "--from=../seen_runs/pretrain" in shlex.split(finetune)


def test_a_copy_with_another_label_is_found_among_many_copies():
    """Of 1,200 images that come twice, one has two labels."""
    rng = np.random.default_rng(0)
    images, labels = np.tile(rng.integers(0, 256, [1200, 8, 8], np.uint8), [2, 1, 1]), np.tile(np.arange(1200) % 3, 2)
    labels[1234] += 1
    copies = summarise(tf_simclr.from_arrays(images, labels % 4, allow_overlap=True))["copies"]
    assert copies["images"] == 1200 and len(copies["conflicts"]) == 1
    (conflict,) = copies["conflicts"]
    assert [name.split()[-1] for name in conflict] == ["34", "1234"]


def test_the_report_says_what_to_do(inspected):
    out, result = inspected
    text = (out / "inspection.txt").read_text()
    assert "more than --max_bad_fraction=1.00% of one set are bad" in text and "up to --labels_per_class=18, the images of bad $y" in text
    assert "good $x has 2.0 times as many" in text and "3.png (labelled) is" in text and "will not start  an image stands in two" in text
    assert (out / "quarantine.csv").read_text().count("\n") == 2
    suggestion = result["suggestion"]
    assert suggestion["image_size"] == 21 and suggestion["batch_size"] == 32 and suggestion["images_per_second"] > 0
    for name in ("images.png", "views.png"):
        with Image.open(out / name) as image:
            assert image.width > 300 and np.asarray(image.convert("L")).std() > 20


def test_the_suggested_commands_run(folder, inspected, tmp_path, monkeypatch):
    """As they are but for the number of steps, and with what the report says would stop them allowed."""
    pretrain, finetune = (shlex.split(line)[1:] for line in inspected[1]["commands"])
    assert parse(pretrain).pretrain.epochs == inspected[1]["suggestion"]["epochs"]
    monkeypatch.chdir(tmp_path)
    allowed = ["--max_bad_fraction=0.1", "--steps=2", "--allow_overlap"]
    assert main(pretrain + allowed) == main(finetune + allowed) == 0
    report = json.loads((tmp_path / "runs/folder/finetune/report/evaluation.json").read_text())
    # An eighth of each class is held out; the copy with two labels goes with its other half.
    assert [c["name"] for c in report["per_class"]] == ["bad $y", "good $x"] and 7 <= report["images"] <= 9


def test_what_is_suggested_is_what_a_hold_out_leaves(monkeypatch):
    """Of 36 images, 12 of each class; the settings that were given stay."""
    config = parse(["--stage=inspect", "--data_dir=mine.npz", "--temperature=0.7", "--epochs=2"])
    training, obstacle = held_out(tiny.data(train=36, evaluation=0), config)
    monkeypatch.setattr(suggest, "measure", lambda *_: (1000.0, 10, ModelConfig(image_size=16)))
    suggestion = suggest.suggest(training, config)
    assert (len(training), obstacle, suggestion.batch_size) == (30, "", 16)
    pretrain, finetune = commands(training, suggestion, config, holdout=True)
    assert {"--eval_on=holdout", "--batch_size=16", "--temperature=0.7", "--epochs=2"} <= set(shlex.split(pretrain))
    assert "--labels_per_class=10" in shlex.split(finetune)
    assert not commands(training.take(np.arange(1)), suggestion, config, holdout=True), "a single image"


def test_no_labels_are_suggested_where_a_class_has_no_image(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(suggest, "measure", lambda *_: (1000.0, 10, ModelConfig(image_size=16)))
    tiny.write_npz(tmp_path / "mine.npz", *tiny.images(36, 0), class_names=[*tiny.CLASSES, "never"])
    assert main(["--stage=inspect", f"--data_dir={tmp_path / 'mine.npz'}", f"--run_dir={tmp_path / 'out'}"]) == 0
    printed = capsys.readouterr().out
    assert "none that is the same for every class: never has no image" in printed and "--labels_per_class" not in printed
    (pretrain,) = json.loads((tmp_path / "out" / "inspection.json").read_text())["commands"]
    assert "--stage=pretrain" in pretrain


def test_a_set_that_alone_has_too_many_bad_images_is_named():
    """Whatever else is joined to it, or held out of it."""
    data = tiny.data()
    few = dataclasses.replace(data.train.take(np.arange(9)), bad=(("x", "damaged"),), bad_share=0.1)
    for train, evaluation in ((data.train, few), (join(few, data.train, "more"), None), (few, data.evaluation)):
        found = summarise(dataclasses.replace(data, train=train, evaluation=evaluation))["bad"]
        assert found == {"images": 1, "largest_share": 0.1, "examples": [{"path": "x", "reason": "damaged"}]}
    assert summarise(hold_out(few, 0.2))["bad"]["largest_share"] == 0.1


def test_commands_begin_as_this_one_was_found(monkeypatch, tmp_path):
    script = tmp_path / "bin" / "tf-simclr"
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin" / "python"))
    monkeypatch.setenv("PATH", "")
    assert program.name() == f"{tmp_path}/bin/python -m tf_simclr"
    script.parent.mkdir()
    script.write_text("")
    script.chmod(0o755)
    assert program.name() == str(script)
    monkeypatch.chdir(tmp_path)
    assert program.name() == "bin/tf-simclr"
    monkeypatch.chdir(script.parent)
    assert program.name() == "./tf-simclr"
    monkeypatch.setenv("PATH", str(script.parent))
    assert program.name() == "tf-simclr"
    monkeypatch.setattr(sys, "executable", "")
    assert program.name() == "tf-simclr"


def test_a_class_of_one_image_cannot_be_held_out():
    data = tiny.data(train=4, evaluation=0)  # two images of a class, one of each of the others
    training, obstacle = held_out(data, Config())
    assert training is data.train and "eval_on=holdout needs at least 2 different images of every class, got 1 of class" in obstacle


def test_a_preview_follows_the_settings(folder, tmp_path):
    pictures = []
    for name, flags in (("plain", ["--jitter=0", "--grey=0", "--blur=0"]), ("strong", ["--crop_min_area=0.1"])):
        flags += ["--depth=10", "--image_size=32", "--max_bad_fraction=1", f"--run_dir={tmp_path / name}"]
        assert main(["--stage=preview", f"--data_dir={folder}", *flags]) == 0
        with Image.open(tmp_path / name / "views.png") as image:
            pictures.append(np.asarray(image))
    assert pictures[0].shape == pictures[1].shape and (pictures[0] != pictures[1]).any()


def test_sizes_memory_and_estimates():
    assert [usual_size(size) for size in (20, 63, 64, 95, 96, 223, 224)] == [20, 63, 64, 64, 96, 192, 224]
    assert free_memory() > 1e8
    few, many = (step_bytes(ModelConfig(depth=10, image_size=size, channels=3, stem="cifar")) for size in (16, 32))
    assert many == pytest.approx(4 * few, rel=0.01)
