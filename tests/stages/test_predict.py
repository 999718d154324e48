"""`--stage=predict`: a row for every image, from a run and from its export alone, whatever else lies there."""

import csv
import os
import shutil
import signal

import numpy as np
import pytest
import tiny

from tf_simclr import durable
from tf_simclr.cli import main
from tf_simclr.config import Config, replace
from tf_simclr.data import by_pillow, load_data
from tf_simclr.data.load import load_images
from tf_simclr.stages import answers, predict


def rows(directory):
    with open(directory / "predictions.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def predicted(classifier, folder, bounds, tmp_path_factory):
    """{kind of --from: directory of the predictions}."""
    home = tmp_path_factory.mktemp("predict")
    with pytest.MonkeyPatch.context() as patched:
        tiny.shorten(patched)
        for kind, start in (("run", classifier[1]), ("export", classifier[1] / "export")):
            flags = ["--stage=predict", f"--from={start}", f"--data_dir={folder[0]}", f"--run_dir={home / kind}", *bounds]
            assert main([*flags, f"--eval_batch_size={5 if kind == 'run' else 1}"]) == 0
    return {kind: home / kind for kind in ("run", "export")}


@pytest.mark.smoke
def test_every_image_has_a_row_in_order(folder, expected, predicted):
    home, images = folder
    found = rows(predicted["run"])
    assert [row["path"] for row in found] == [str(home / name) for name in images]
    assert len({row["class"] for row in found}) > 2, "all images alike: the test could not fail"
    for row, (name, pixels) in zip(found, images.items()):
        if name in expected:
            probabilities = expected[name]["probabilities"]
            assert (row["class"], row["status"]) == (tiny.CLASSES[probabilities.argmax()], "ok")
            assert float(row["probability"]) == pytest.approx(probabilities.max(), abs=1e-5)
        else:
            assert row["class"] == row["probability"] == "" and pixels in row["status"]


@pytest.mark.smoke
def test_an_export_alone_says_the_same(predicted):
    one, other = (rows(predicted[kind]) for kind in ("run", "export"))
    for a, b in zip(one, other):
        assert {**a, "probability": ""} == {**b, "probability": ""}
        assert float(a["probability"] or 0) == pytest.approx(float(b["probability"] or 0), abs=2e-6)
    assert len(one) == len(other)
    assert sorted(path.name for path in predicted["export"].iterdir()) == ["lock.json", "predictions.csv"]


def test_answers_are_of_all_images_wherever_the_bad_ones_stand(classifier, folder, expected, tmp_path):
    good = {place: ("10.png", "z.bmp", "2.png")[i] for i, place in enumerate((2, 3, 9))}
    for place in range(14):
        (tmp_path / f"{place:02}.png").write_bytes((folder[0] / good[place]).read_bytes() if place in good else b"no image")
    source = load_images(replace(Config(), data__data_dir=str(tmp_path / "*")).data)
    settings = replace(Config(), stage="predict", from_run=str(classifier[1] / "export"), eval_batch_size=2)
    parts = list(answers.answers(answers.open_model(settings), source, ["features"], settings))
    assert [part.start for part in parts] == np.cumsum([0, *(len(part) for part in parts[:-1])]).tolist()
    assert all(1 <= len(part) == len(part.outputs["features"]) <= 2 for part in parts)
    status = [text for part in parts for text in part.status]
    assert len(status) == 14 and all((text == "ok") == (place in good) for place, text in enumerate(status))
    features = np.concatenate([part.outputs["features"] for part in parts])
    wanted = [expected[good[i]]["features"] if i in good else np.zeros_like(features[0]) for i in range(14)]
    np.testing.assert_allclose(features, wanted, atol=1e-5)


def test_what_is_read_of_every_kind_of_place(folder, tmp_path):
    def names(data_dir, **changes):
        source = load_images(replace(Config(), data__data_dir=str(data_dir), **changes).data)
        return [os.path.relpath(source.name(i), folder[0]) if source.images is None else source.name(i) for i in range(len(source))]

    home, images = folder
    assert names(home) == list(images)  # also those below train and val
    assert names(home / "2.png") == ["2.png"]
    assert names(home / "**" / "*.jpg") == ["Größe/b c.jpg"] and names(home / "[zx].*") == ["z.bmp"]
    (home / "a [1]").mkdir()
    shutil.copy(home / "2.png", home / "a [1]" / "3.png")
    assert names(home / "a [1]" / "*.png") == ["a [1]/3.png"]
    shutil.rmtree(home / "a [1]")
    # A table says the order; its splits mean nothing.
    (home.parent / "table.csv").write_text("path,label,split\nin/z.bmp,a,test\nin/2.png,,train\nin/gone.png,b,val\n")
    assert names(home.parent / "table.csv") == ["z.bmp", "2.png", "gone.png"]
    bundled = load_images(replace(Config(), data__dataset="fashion_mnist_8k").data)
    published = load_data(replace(Config(), data__dataset="fashion_mnist_8k").data)
    assert len(bundled) == 10_000 and bundled.name(9_999) == "image 9999"
    np.testing.assert_array_equal(bundled.labels[8_000:], published.evaluation.labels)
    np.testing.assert_array_equal(bundled.images[8_000:], published.evaluation.images)


def test_a_name_with_a_carriage_return_is_one_cell(classifier, folder, tmp_path):
    (tmp_path / "in").mkdir()
    image = (folder[0] / "z.bmp").read_bytes()
    for name in ("a\rb.bmp", "c.bmp"):
        (tmp_path / "in" / name).write_bytes(image)
    flags = [f"--from={classifier[1] / 'export'}", f"--data_dir={tmp_path / 'in'}", f"--run_dir={tmp_path / 'out'}"]
    assert main(["--stage=predict", *flags]) == 0
    assert [os.path.basename(row["path"]) for row in rows(tmp_path / "out")] == ["a\rb.bmp", "c.bmp"]
    assert [row["status"] for row in rows(tmp_path / "out")] == ["ok", "ok"]


def test_a_stop_leaves_no_table_or_the_old_one(classifier, tmp_path, monkeypatch):
    calls, real = [], predict._rows

    def stop(*arguments):
        calls.append(1)
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(*arguments)

    tiny.write_npz(tmp_path / "images.npz", *tiny.images(7, 0))
    out = tmp_path / "out"
    flags = ["--stage=predict", f"--from={classifier[1] / 'export'}", f"--data_dir={tmp_path / 'images.npz'}", f"--run_dir={out}"]
    flags += ["--eval_batch_size=4"]
    with monkeypatch.context() as patched:
        patched.setattr(predict, "_rows", stop)
        assert main(flags) == 42 and [path.name for path in out.iterdir()] == ["lock.json"]
        (out / "predictions.csv").write_text("old")
        calls.clear()
        assert main(flags) == 42 and (out / "predictions.csv").read_text() == "old"
    assert main(flags) == 0 and [row["path"] for row in rows(out)] == [f"image {i}" for i in range(7)]


@pytest.mark.parametrize(
    "flags, message",
    [
        ([], "needs images, --data_dir or --dataset"),
        (["--data_dir={tmp}"], "where none is"),
        (["--data_dir={tmp}/no*.png"], "where none is"),
        (["--data_dir={tmp}", "--depth=50"], "--depth must be that of"),
        (["--data_dir={tmp}", "--image_size=64"], "--image_size must be that of"),
        (["--data_dir={tmp}", "--from=pretrained:fashion_mnist"], "needs --from with a classifier, got pretrained:fashion_mnist"),
    ],
)
def test_what_cannot_be_predicted(classifier, tmp_path, capsys, flags, message):
    given = [flag.format(tmp=tmp_path) for flag in flags]
    assert main(["--stage=predict", f"--from={classifier[1] / 'export'}", f"--run_dir={tmp_path / 'out'}", *given]) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_an_export_that_was_changed_is_refused(classifier, tmp_path, capsys):
    shutil.copytree(classifier[1] / "export", tmp_path / "export")
    with open(tmp_path / "export" / "model_card.json", "a") as file:
        file.write(" ")
    assert main(["--stage=predict", f"--from={tmp_path / 'export'}", "--dataset=fashion_mnist_8k"]) == 2
    assert "an export must be as it was written" in capsys.readouterr().err


def test_pillow_keeps_to_the_bound_and_a_replacement_is_whole_or_none(folder, tmp_path):
    content = (folder[0] / "wide.webp").read_bytes()
    assert by_pillow.pixels(content, 6000).shape[:2] == (20, 300)
    with pytest.raises(ValueError, match="at most 5999 pixels are allowed, got 300 x 20"):
        by_pillow.pixels(content, 5999)
    with pytest.raises(RuntimeError), durable.replacing(tmp_path / "file") as file:
        file.write(b"half")
        raise RuntimeError
    assert not list(tmp_path.iterdir())
    with durable.replacing(tmp_path / "file") as file:
        file.write(b"who")
        file.write(b"le")
    assert (tmp_path / "file").read_bytes() == b"whole" and len(list(tmp_path.iterdir())) == 1
