"""R11, R14: bad files are found before training, from their header where they are too large."""

import csv
import time
import zlib

import numpy as np
import pytest
import tiny
from data import images
from PIL import Image

import tf_simclr
from tf_simclr.config import Config, DataConfig, replace
from tf_simclr.data import check, load_data
from tf_simclr.data.storage import Files
from tf_simclr.errors import UsageError
from tf_simclr.run_directory import RunDirectory
from tf_simclr.stages import setup

BAD = {
    "empty.png": b"",
    "text.jpg": b"this is no image",
    "cut.png": images.encode(images.RGB)[:-30],
    "cut.jpg": images.encode(images.PHOTO, "JPEG")[:200],
}


def write_folder(root, count, bad):
    """A folder of `count` images without labels, `bad` of which are damaged in the ways of BAD, in turn; returns the bad names."""
    names = []
    good = images.encode(tiny.images(1, 0, 16)[0][0])
    for i in range(count):
        home = root / "nested" / f"{i % 3}"
        home.mkdir(parents=True, exist_ok=True)
        if i % (count // bad) == 0:
            name, content = list(BAD.items())[len(names) % len(BAD)]
            path = home / f"{i}, {name}"
            path.write_bytes(content)
            names.append(str(path))
        else:
            (home / f"{i}.png").write_bytes(good)
    return sorted(names)


def settings(root, run_dir):
    changes = {"data__dataset": "folder", "data__data_dir": str(root), "pretrain__steps": 1, "pretrain__batch_size": 8}
    return tiny.settings("pretrain", run_dir, **changes)


@pytest.mark.fault("R11")
@pytest.mark.usefixtures("short_resnet")
def test_bad_files_are_listed_up_to_a_share(tmp_path, record_property):
    names = write_folder(tmp_path / "in", 2000, 20)
    tf_simclr.run(settings(tmp_path / "in", tmp_path / "run"))
    with (tmp_path / "run" / "quarantine.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert sorted(row["path"] for row in rows) == names and all(row["reason"] for row in rows)
    (tmp_path / "in" / "nested" / "0" / "3.png").write_bytes(b"x")
    with pytest.raises(UsageError, match="at most 1.00% of the images may be bad, got 21 of 2,000"):
        tf_simclr.run(settings(tmp_path / "in", tmp_path / "refused"))
    assert not (tmp_path / "refused").exists()
    record_property("outcome", "20 of 2,000 listed exactly; 21 refused before step 1")


def test_the_share_can_be_raised_and_a_class_cannot_vanish(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for i in range(3):
            (tmp_path / name / f"{i}.png").write_bytes(images.encode(images.RGB))
    (tmp_path / "b" / "0.png").write_bytes(b"x")
    config = DataConfig(dataset="folder", data_dir=str(tmp_path), max_bad_fraction=0.9)
    data = load_data(config)
    assert len(data.train) == 5 and data.train.labels.tolist() == [0, 0, 0, 1, 1] and len(data.bad) == 1
    # A later stage takes the limit over, unless it is given another one.
    parent = RunDirectory(tmp_path / "run")
    parent.config = lambda: replace(Config(), data=config)
    assert setup.with_data_of(Config(), parent).data.max_bad_fraction == 0.9
    assert setup.with_data_of(replace(Config(), data__max_bad_fraction=0.5), parent).data.max_bad_fraction == 0.5
    for i in range(3):
        (tmp_path / "b" / f"{i}.png").write_bytes(b"x")
    with pytest.raises(UsageError, match="got only bad ones of class b"):
        load_data(config)


def test_the_fingerprint_is_that_of_the_content_and_not_of_the_place(tmp_path):
    prints = []
    for name, pixels in (("one", images.RGB), ("two", images.RGB), ("three", images.RGB[::-1])):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.png").write_bytes(images.encode(np.ascontiguousarray(pixels)))
        prints.append(load_data(DataConfig(dataset="folder", data_dir=str(tmp_path / name))).train.fingerprint())
    assert prints[0] == prints[1] != prints[2]


def chunk(name, data):
    """One chunk of a PNG file."""
    return len(data).to_bytes(4, "big") + name + data + zlib.crc32(name + data).to_bytes(4, "big")


@pytest.mark.fault("R14")
def test_giants_are_refused_from_their_header(record_property):
    side = 23_000
    header = side.to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(side * 3 + 1))) + chunk(b"IEND", b"")
    frames = [Image.fromarray(np.full((2, 2), i * 100, np.uint8)) for i in range(2)]
    gif = images.encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    start = gif.index(b"\x2c")  # the first frame's descriptor
    gif = gif[:start] + gif[start:-1] * 5000 + b";"
    begun = time.perf_counter()
    assert "pixels" in check.inspect_header(png, DataConfig())
    assert "frames" in check.inspect_header(gif, DataConfig())
    seconds = time.perf_counter() - begun
    assert seconds < 1
    record_property("outcome", f"PNG of {side:,} x {side:,} and GIF of 10,000 frames refused in {seconds:.2f} s")


def test_bounds_are_settings(tmp_path):
    content = images.encode(images.RGB)
    small = replace(Config(), data__max_pixels=10).data
    assert "more than max_pixels=10" in check.inspect_header(content, small)
    (tmp_path / "x.png").write_bytes(content)
    checked = check.check_images([str(tmp_path / "x.png")], Files(), replace(Config(), data__max_bytes=5).data, "here")
    assert not len(checked.kept) and "more than max_bytes=5" in checked.bad[0][1]
