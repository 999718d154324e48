"""`--stage=embed`: the network's own features, whatever else lies there, and pictures of what is near what."""

import numpy as np
import pytest
import tiny
from PIL import Image

import tf_simclr
from tf_simclr.cli import main
from tf_simclr.config import Config, replace
from tf_simclr.data.load import load_images
from tf_simclr.evaluation.embedding import draw_map, nearest, project
from tf_simclr.inspection.sheet import thumbnail
from tf_simclr.stages import embed


def embedded(classifier, folder, bounds, home, start="export", selector=0):
    flags = [f"--from={classifier[1] / start}", f"--data_dir={folder[0]}", f"--run_dir={home}", f"--selector={selector}", *bounds]
    assert main(["--stage=embed", *flags]) == 0
    with np.load(home / "embeddings.npz", allow_pickle=False) as arrays:
        return dict(arrays)


@pytest.mark.usefixtures("short_resnet")
@pytest.mark.parametrize("start, selector", [("export", 1), ("", 0)])
def test_the_file_holds_the_features_of_the_network(classifier, folder, bounds, expected, tmp_path, start, selector):
    found, (home, images) = embedded(classifier, folder, bounds, tmp_path, start, selector), folder
    assert set(found) == {"features", "paths", "status"} and found["features"].dtype == np.float32
    assert found["paths"].tolist() == [str(home / name) for name in images]
    key = "features_1" if selector else "features"
    wanted = [expected[name][key] if name in expected else np.zeros_like(expected["2.png"][key]) for name in images]
    assert np.ptp(wanted, axis=0).max() > 1e-2
    np.testing.assert_allclose(found["features"], wanted, atol=1e-5)
    for status, (name, pixels) in zip(found["status"], images.items()):
        assert status == "ok" if name in expected else pixels in status
    for name in ("neighbours.png", "map.png"):
        with Image.open(tmp_path / name) as picture:
            assert picture.width > 300 and np.asarray(picture.convert("L")).std() > 5


def test_arrays_without_a_classifier_are_coloured_by_label(tmp_path, monkeypatch):
    drawn, real = [], embed.draw_map
    data = tiny.data(train=30)
    settings = replace(Config(), stage="embed", from_run="pretrained:fashion_mnist", run_dir=str(tmp_path), eval_batch_size=7)
    monkeypatch.setattr(embed, "draw_map", lambda *arguments: (drawn.append(arguments), real(*arguments))[1])
    result = tf_simclr.run(settings, data)
    assert (result["images"], result["bad"], result["dimensions"]) == (30, 0, 128)
    ((points, _, names, title),) = drawn
    assert len(points) == 30 and sorted(names) == sorted(tiny.CLASSES * 10) and title == "30 images, by label"


def test_a_layer_that_is_not_there(classifier, folder, tmp_path, capsys):
    flags = [f"--from={classifier[1] / 'export'}", f"--data_dir={folder[0]}", f"--run_dir={tmp_path / 'out'}", "--selector=2"]
    assert main(["--stage=embed", *flags]) == 2
    assert "--selector must be at most 1" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_an_image_as_thin_as_a_thread_is_drawn(tmp_path):
    Image.fromarray(np.full([300, 1], 200, np.uint8)).save(tmp_path / "thread.png")
    drawn = thumbnail(load_images(replace(Config(), data__data_dir=str(tmp_path)).data), 0, "white")
    assert drawn.shape == (96, 96, 3) and (drawn.max(axis=(1, 2)) == 200).all() and drawn.any(axis=(0, 2)).sum() == 1


def test_nothing_but_bad_images(classifier, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(b"no image")
    found = embedded(classifier, (tmp_path / "in",), [], tmp_path / "out")
    assert found["features"].shape[0] == 1 and not found["features"].any() and "not an image" in found["status"][0]
    assert not (tmp_path / "out" / "map.png").exists()


def test_a_stop_leaves_no_file(classifier, tmp_path, monkeypatch):
    real = embed.answers

    def stop(*arguments):
        yield next(real(*arguments))
        raise KeyboardInterrupt

    monkeypatch.setattr(embed, "answers", stop)
    tiny.write_npz(tmp_path / "images.npz", *tiny.images(7, 0))
    flags = [f"--from={classifier[1] / 'export'}", f"--data_dir={tmp_path / 'images.npz'}", f"--run_dir={tmp_path / 'out'}"]
    assert main(["--stage=embed", *flags, "--eval_batch_size=4"]) == 130
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["lock.json"]


def test_neighbours_are_those_of_the_largest_cosine():
    features = np.random.default_rng(0).normal(size=[20, 4]) * np.arange(1, 21)[:, None]
    found = nearest(features, np.array([3, 7]), 5)
    for query, near in zip((3, 7), found):
        cosine = [features[query] @ f / np.linalg.norm(features[query]) / np.linalg.norm(f) for f in features]
        assert near.tolist() == [i for i in np.argsort(cosine)[::-1] if i != query][:5]
    assert nearest(features[:3], np.array([0]), 8).shape == (1, 2) and nearest(features[:1], np.array([0]), 8).shape == (1, 0)


def test_a_projection_keeps_what_varies_most():
    random = np.random.default_rng(0)
    plane = random.normal(size=[50, 2]) * [5, 2]
    turned = plane @ np.linalg.qr(random.normal(size=[6, 6]))[0][:2] + 3
    points, shares = project(turned)
    assert shares.sum() == pytest.approx(1) and shares[0] > shares[1]
    between = [np.linalg.norm(x[:, None] - x[None], axis=-1) for x in (points, plane)]
    np.testing.assert_allclose(*between, atol=1e-6)
    for few in (np.ones([1, 5]), np.ones([3, 1])):
        points, shares = project(few)
        assert np.isfinite(points).all() and shares.tolist() == [0, 0] and points.shape == (len(few), 2)


def test_a_map_of_many_classes_names_the_most_frequent():
    names = [f"$c{i % 12}" for i in range(60)] + ["$c3", ""]
    figure = draw_map(np.zeros([62, 2]), np.ones(2), names, "a $ title")
    (legend,) = figure.legends
    texts = [text.get_text() for text in legend.get_texts()]
    assert len(texts) == 11 and texts[:2] == ["others", "$c3"]


def test_a_map_names_classes_that_matplotlib_would_leave_out():
    (legend,) = draw_map(np.zeros([6, 2]), np.ones(2), ["_background", "cat", "_background", "_x", "_x", ""], "a title").legends
    assert [text.get_text() for text in legend.get_texts()] == ["no class", "_background", "_x", "cat"]
