"""Shards that the tool writes are read back as the same data set."""

import importlib.util
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from data import images

from tf_simclr import progress
from tf_simclr.config import DataConfig
from tf_simclr.data import decode, load_data
from tf_simclr.errors import StorageError, UsageError

TOOL = pathlib.Path(__file__).parents[2] / "tools" / "write_tfrecord.py"
PIXELS = np.random.RandomState(0).randint(0, 256, [12, 9, 8, 3], np.uint8)


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location(TOOL.stem, TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_files(root, numbers, classes=("dog", "black cat", "bär")):
    """JPEG and PNG files in turn, in class folders, or flat."""
    for number in numbers:
        home = root / classes[number % len(classes)] if classes else root
        home.mkdir(parents=True, exist_ok=True)
        kind = ("JPEG", "PNG")[number // 3 % 2]
        (home / f"{number:02d}.{kind.lower()}").write_bytes(images.encode(PIXELS[number], kind))
    return root


def load(location, **settings):
    return load_data(DataConfig(dataset="tfrecord", data_dir=str(location), **settings))


def contents(source):
    return [source.storage.load(key) for key in source.encoded]


def features(source, index):
    """All features of a record, as Python values."""
    offset, length, path = source.encoded[index].split(":", 2)
    data = pathlib.Path(path).read_bytes()[int(offset) + 12 :][: int(length)]
    found = tf.train.Example.FromString(data).features.feature
    return {name: (list(value.int64_list.value) or list(value.bytes_list.value))[0] for name, value in found.items()}


def test_a_folder_with_unlabelled_and_evaluation_images(tool, tmp_path, capsys):
    settings = {
        "data_dir": write_files(tmp_path / "train", range(6)),
        "unlabeled_dir": write_files(tmp_path / "more", range(6, 9), classes=()),
        "eval_data_dir": write_files(tmp_path / "test", range(9, 12)),
    }
    (tmp_path / "more" / "bad.png").write_bytes(b"no image")
    settings = {"dataset": "folder", "max_bad_fraction": 0.5} | {name: str(path) for name, path in settings.items()}
    tool.main([f"--{name}={value}" for name, value in settings.items()] + ["--shards=4", f"--out={tmp_path / 'a' / 'out'}"])
    out = tmp_path / "a" / "out"
    assert sorted(path.name for path in out.iterdir()) == [
        "classes.txt",
        *(f"test-{i:05d}-of-00003.tfrecord" for i in range(3)),
        *(f"train-{i:05d}-of-00004.tfrecord" for i in range(4)),
    ]
    assert (out / "classes.txt").read_text(encoding="utf-8") == "black cat\nbär\ndog\n"
    told = capsys.readouterr().out.splitlines()
    assert told == [
        "train: 9 images in 4 shards",
        "test: 3 images in 3 shards",
        f"left out: 1 bad images ({tmp_path}/more/bad.png: not an image that is read here (JPEG, PNG, GIF, BMP, WebP))",
        f"use them with --dataset=tfrecord --data_dir={out}",
    ]
    before, after = load_data(DataConfig(**settings)), load(out)
    for source, found in ((before.train, after.train), (before.evaluation, after.evaluation)):
        assert contents(found) == contents(source)  # in the same order
        assert found.labels.tolist() == source.labels.tolist() and found.class_names == source.class_names
        assert found.fingerprint() == source.fingerprint()
    assert after.train.labels.tolist() == [0, 0, 1, 1, 2, 2, -1, -1, -1]
    assert features(after.train, 0) == {
        "image/encoded": contents(before.train)[0],
        "image/class/label": 0,
        "image/filename": f"{tmp_path}/train/black cat/01.jpeg".encode(),
        "image/height": 9,
        "image/width": 8,
    }
    assert "image/class/label" not in features(after.train, 8)


def test_arrays_become_png(tool, tmp_path, capsys):
    """Grey arrays, a hold-out, features of other names, and less images than shards."""
    labels = np.array([1, 0, 1, 0, -1, 0])
    np.savez(tmp_path / "data.npz", images=PIXELS[:6, ..., 0], labels=labels, class_names=["zebra", "ant"])
    names = {"image_feature": "png", "label_feature": "class"}
    settings = {"dataset": "npz", "data_dir": str(tmp_path / "data.npz"), "eval_on": "holdout", **names}
    out = tmp_path / "out"
    out.mkdir()
    tool.main([f"--{name}={value}" for name, value in settings.items()] + [f"--out={out}"])
    assert capsys.readouterr().out.splitlines()[-1].endswith(f"--data_dir={out} --image_feature=png --label_feature=class")
    assert sorted(path.name for path in out.glob("t*")) == [
        *(f"test-{i:05d}-of-00002.tfrecord" for i in range(2)),
        *(f"train-{i:05d}-of-00004.tfrecord" for i in range(4)),
    ]
    before, after = load_data(DataConfig(**settings)), load(out, **names)
    for source, found in ((before.train, after.train), (before.evaluation, after.evaluation)):
        assert found.labels.tolist() == source.labels.tolist() and found.class_names == source.class_names == ("zebra", "ant")
        assert (found.channels, found.size) == (source.channels, source.size) == (1, 8)
        for content, pixels in zip(contents(found), source.images):
            np.testing.assert_array_equal(decode.read(content, 1), pixels)
    assert features(after.train, 0)["image/filename"] == before.train.name(0).encode()


def test_the_command_says_how_long_it_will_take(tool, tmp_path, caplog, monkeypatch):
    """Of images without labels; no classes then."""
    monkeypatch.setattr(progress, "REPORT_EVERY", -1)
    caplog.set_level("INFO", "absl")
    write_files(tmp_path / "in", range(3), classes=())
    tool.main([f"--data_dir={tmp_path / 'in'}", "--shards=1", f"--out={tmp_path / 'out'}"])
    assert os.listdir(tmp_path / "out") == ["train-00000-of-00001.tfrecord"]
    said = [line for line in caplog.messages if line.startswith("wrote")]
    assert said[0].startswith("wrote 1 of 3 images, ") and said[2] == "wrote 3 of 3 images, 0.0 minutes left"


def test_blocks_are_contiguous_equal_and_never_empty(tool):
    assert tool.blocks(10, 4) == [range(0, 2), range(2, 5), range(5, 7), range(7, 10)]
    assert tool.blocks(2, 8) == [range(0, 1), range(1, 2)]
    for count in range(1, 30):
        found = tool.blocks(count, 7)
        assert [i for part in found for i in part] == list(range(count)) and len({len(part) for part in found}) <= 2


def test_nothing_half_written_is_left(tool, tmp_path, monkeypatch):
    """A failure in the middle leaves no shard that could be taken for a data set, and the directory can be used again."""
    write_files(tmp_path / "in", range(6))
    command = [f"--data_dir={tmp_path / 'in'}", "--shards=2", f"--out={tmp_path / 'out'}"]
    example, seen = tool.example, []

    def fail(error):
        def make(source, index, config):
            seen[:] = sorted(os.listdir(tmp_path / "out"))
            if index == 4:
                raise error
            return example(source, index, config)

        return make

    for error, raised in (
        (OSError(28, "No space left on device"), StorageError),
        (tf.errors.ResourceExhaustedError(None, None, "disk is full"), StorageError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ):
        monkeypatch.setattr(tool, "example", fail(error))
        with pytest.raises(raised):
            tool.main(command)
        assert seen == ["train-00000-of-00002.part", "train-00001-of-00002.part"] and not os.listdir(tmp_path / "out")

    def lose(source, index, config):
        pathlib.Path(source.encoded[3]).unlink(missing_ok=True)
        return example(source, index, config)

    monkeypatch.setattr(tool, "example", lose)
    with pytest.raises(UsageError, match="must stay as they were checked, got .*/in/.*No such file"):
        tool.main(command)
    assert not os.listdir(tmp_path / "out")


def test_a_directory_that_is_in_use_is_refused_in_one_line(tmp_path):
    """As a process, before anything is loaded."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    told = subprocess.run([sys.executable, str(TOOL), f"--out={tmp_path / 'out'}"], capture_output=True, text=True)
    assert told.returncode == 2 and told.stdout == ""
    assert told.stderr == f"write_tfrecord.py: error: --out must be a new or empty directory, got {tmp_path / 'out'}; give another one\n"
    assert os.listdir(tmp_path / "out") == ["notes.txt"]


def test_what_cannot_be_written_is_refused_before_it_is(tool, tmp_path):
    np.savez(tmp_path / "data.npz", images=PIXELS[:2], labels=[0, 1], class_names=["a", "b\nc"])
    (tmp_path / "file").write_text("a file")
    data, out = f"--data_dir={tmp_path / 'data.npz'}", f"--out={tmp_path / 'out'}"
    for arguments, message in (
        ([data, out], "class names .* must be text of one line, got 'b.nc'"),
        ([data, f"--out={tmp_path / 'file'}"], "--out must be a new or empty directory"),
        ([data, "--out=gs://bucket/set"], "--out must be a local directory, got gs://bucket/set"),
        ([data, out, "--shards=0"], "--shards must be at least 1, got 0"),
        ([data, out, "--shard=2"], "unknown flag --shard"),
        ([f"--data_dir={tmp_path / 'nowhere'}", out], "data_dir must be an existing path"),
    ):
        with pytest.raises(UsageError, match=message):
            tool.main(arguments)
        assert not (tmp_path / "out").exists()


def test_shards_can_be_written_again_from_shards_as_a_process(tool, tmp_path):
    write_files(tmp_path / "in", range(6))
    tool.main([f"--data_dir={tmp_path / 'in'}", "--shards=3", f"--out={tmp_path / 'one'}"])
    command = [sys.executable, str(TOOL), f"--data_dir={tmp_path / 'one'}", "--shards=2", f"--out={tmp_path / 'two'}"]
    told = subprocess.run(command, capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
    assert told.stdout == f"train: 6 images in 2 shards\nuse them with --dataset=tfrecord --data_dir={tmp_path / 'two'}\n"
    one, two = load(tmp_path / "one").train, load(tmp_path / "two").train
    assert contents(one) == contents(two) and one.fingerprint() == two.fingerprint() and one.class_names == two.class_names
    assert features(two, 0)["image/filename"] == f"{tmp_path}/one/train-00000-of-00003.tfrecord at byte 0".encode()
