"""The demo: what it answers, and what it does not take."""

import asyncio
import io
import json
import shutil
import sys
import types

import numpy as np
import pytest
import tensorflow as tf
import tiny
from PIL import Image

from tf_simclr import shipped
from tf_simclr.cli import main
from tf_simclr.config import Config, ModelConfig, replace
from tf_simclr.data import decode, from_arrays, load_data
from tf_simclr.errors import UsageError
from tf_simclr.export.saved_model import export_network
from tf_simclr.stages import demo

pytest.importorskip("fastapi")
from fastapi.testclient import TestClient  # noqa: E402

from tf_simclr.demo import app, model  # noqa: E402

HOSTILE = ("<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "Mütze & Söhne 帽子")
SPEC = ModelConfig(depth=10, width=0.0625, stem="cifar2", image_size=16, channels=1, head_width=6)
SHIPPED = shipped.locate("pretrained:fashion_mnist")
HERE = "http://127.0.0.1"


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """(network, directory of its export)."""
    directory = tmp_path_factory.mktemp("demo") / "export"
    with pytest.MonkeyPatch.context() as patched:
        tiny.shorten(patched)
        network = tiny.scattered_network(SPEC, 1)
        export_network(network, HOSTILE, directory)
    return network, directory


@pytest.fixture(scope="module")
def images():
    """30 training images, uint8 [30, 16, 16]; labels, of which the last is not known."""
    pixels, labels = tiny.images(30, 0)
    labels[-1] = -1
    return pixels, labels


@pytest.fixture(scope="module")
def served(exported, images):
    return model.Model(exported[1], from_arrays(*images, class_names=HOSTILE).train, batch_size=8)


@pytest.fixture
def loaded_once(served, monkeypatch):
    """Gives further models of the same export what is loaded already."""
    monkeypatch.setattr(model, "load_export", lambda directory: served._loaded)


@pytest.fixture(scope="module")
def client(served):
    return TestClient(app.make_app(served), base_url=HERE)


def strictly(response):
    """The JSON of an answer, in which NaN and infinity would be errors."""
    assert response.status_code == 200, response.text
    return json.loads(response.content.decode("utf-8"), parse_constant=pytest.fail)


def test_an_export_without_features_beside_classes_is_refused_at_the_start(exported, monkeypatch):
    """As those of earlier versions are."""

    class Earlier:
        signatures = {"serve_encoded": type("Function", (), {"structured_outputs": {"probabilities": None, "status": None}})}

    monkeypatch.setattr(model, "load_export", lambda directory: Earlier)
    with pytest.raises(UsageError, match="needs an export with features beside classes, got an earlier one in .*; export again"):
        model.Model(exported[1])


def test_classes_are_those_of_the_network_the_likeliest_first(client, exported):
    pixels = np.random.default_rng(3).integers(0, 256, [20, 25, 3], np.uint8)
    answer = strictly(client.post("/classify", content=png(pixels)))
    square = decode.resize_to_square(decode.read(tf.constant(png(pixels)), 1), 16)
    expected = tf.nn.softmax(exported[0](square[None])["logits"])[0].numpy()
    assert answer["status"] == "ok" and answer["seconds"] > 0
    assert [row["name"] for row in answer["probabilities"]] == [HOSTILE[i] for i in np.argsort(-expected)]
    np.testing.assert_allclose([row["probability"] for row in answer["probabilities"]], np.sort(expected)[::-1], atol=1e-5)
    assert answer["class_name"] == HOSTILE[expected.argmax()]


def test_neighbours_are_the_nearest_by_cosine(client, exported, images):
    pixels, labels = images
    features = exported[0](pixels[..., None] / np.float32(255))["features"][0].numpy()
    cosine = [np.dot(f, features[-1]) / np.linalg.norm(f) / np.linalg.norm(features[-1]) for f in features]
    found = strictly(client.post("/classify", content=png(pixels[-1])))["neighbours"]
    assert found[0]["index"] == 29 and found[0]["similarity"] == pytest.approx(1, abs=1e-5) and found[0]["label"] is None
    assert [row["index"] for row in found] == list(np.argsort(cosine)[::-1][: model.NEAREST])
    np.testing.assert_allclose([row["similarity"] for row in found], np.sort(cosine)[::-1][: model.NEAREST], atol=1e-5)
    assert [row["label"] for row in found[1:]] == [HOSTILE[labels[row["index"]]] for row in found[1:]]


def test_of_many_images_some_are_compared_with(exported, images, monkeypatch, loaded_once):
    monkeypatch.setattr(model, "MOST_IMAGES", 5)
    source = from_arrays(*images, class_names=HOSTILE).train
    drawn = [model.Model(exported[1], source, seed=seed).classify(png(images[0][0]))["neighbours"] for seed in (1, 1, 2)]
    first, again, other = ({row["index"] for row in rows} for rows in drawn)
    assert len(first) == 5 and first == again != other


@pytest.mark.parametrize(
    "content, status",
    [
        (b"garbage", "must be a JPEG, PNG, GIF or BMP image"),
        (b"", "must have 1 to 100000000 bytes"),
        (png(np.zeros([9, 9], np.uint8))[:40], "must be a whole image of 1 to 100000000 pixels, but cannot be read as one"),
    ],
)
def test_what_is_no_image_is_rejected_and_says_why(client, content, status):
    answer = strictly(client.post("/classify", content=content))
    assert answer.pop("seconds") >= 0
    assert answer == {"status": status, "class_name": "", "probabilities": [], "neighbours": []}


def test_a_network_that_gives_nan_is_told_apart(exported, images):
    broken = model.Model(exported[1])
    for variable in broken._loaded.variables:
        variable.assign(variable * np.nan)
    answer = broken.classify(png(images[0][0]))
    assert answer["status"] == model.NOT_FINITE and answer["probabilities"] == []


def test_an_encoder_has_neighbours_and_no_classes(images):
    encoder = model.Model(SHIPPED / "export", from_arrays(images[0]).train)
    answer = encoder.classify(png(images[0][4]))
    assert (answer["status"], answer["class_name"], answer["probabilities"]) == ("ok", "", [])
    assert answer["neighbours"][0]["label"] is None and len(answer["neighbours"]) == model.NEAREST


def test_thumbnails_are_the_training_images(client, images):
    answer = client.get("/thumbnails/7")
    assert answer.headers["content-type"] == "image/png"
    shown = np.asarray(Image.open(io.BytesIO(answer.content)))
    assert shown.shape == (96, 96, 3)
    np.testing.assert_array_equal(shown[3::6, 3::6, 0], images[0][7])  # 16 pixels as 96: each is a square of 6
    for index in (-1, 30, 10**30):
        assert client.get(f"/thumbnails/{index}").status_code == 404
    assert client.get("/thumbnails/../config").status_code == 404 and client.get("/thumbnails/x").status_code == 422


def test_without_training_images_there_are_no_neighbours(exported, images, loaded_once):
    alone = TestClient(app.make_app(model.Model(exported[1])), base_url=HERE)
    assert strictly(alone.post("/classify", content=png(images[0][0])))["neighbours"] == []
    assert alone.get("/thumbnails/0").status_code == 404
    assert strictly(alone.get("/health")) == {"status": "ok", "run": "", "classes": 3, "images": 0, "max_bytes": model.MOST_BYTES}


def send(application, body, headers=()):
    """POSTs to /classify through ASGI itself: (status, messages of the body that were taken). `body` iterates over bytes."""
    scope = {
        **{"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http", "root_path": ""},
        **{"path": "/classify", "raw_path": b"/classify", "query_string": b"", "server": ("127.0.0.1", 80), "client": ("127.0.0.1", 1)},
        "headers": [(b"host", b"127.0.0.1"), *headers],
    }
    taken, sent = [], []

    async def receive():
        part = next(body, None)
        if part is None:
            return await asyncio.sleep(60)
        taken.append(len(part))
        return {"type": "http.request", "body": part, "more_body": True}

    async def answer(message):
        sent.append(message)

    asyncio.run(asyncio.wait_for(application(scope, receive, answer), 20))
    return sent[0]["status"], taken


def endless():
    while True:
        yield bytes(1000)


def test_a_body_that_is_too_large_is_refused_before_it_is_there(exported, monkeypatch, loaded_once):
    monkeypatch.setattr(model, "MOST_BYTES", 10_000)
    application = app.make_app(model.Model(exported[1]))
    status, taken = send(application, endless())
    assert status == 413 and len(taken) <= 12
    status, taken = send(application, endless(), [(b"content-length", b"10001")])
    assert status == 413 and len(taken) <= 1
    client = TestClient(application, base_url=HERE)
    assert client.post("/classify", content=bytes(10_000)).status_code == 200
    refused = client.post("/classify", content=bytes(10_001))
    assert refused.status_code == 413 and refused.json() == {"detail": "an image must have at most 10,000 bytes"}


def test_slow_and_many_bodies_are_refused(served, monkeypatch):
    monkeypatch.setattr(app, "PATIENCE", 0.05)
    application = app.make_app(served)
    assert send(application, iter([b"GIF"]))[0] == 408
    monkeypatch.setattr(app, "UPLOADS", 0)
    assert send(application, iter([b"GIF"]))[0] == 503


def test_only_this_machine_and_this_page_are_answered(client, images):
    for host, status in (("evil.example", 400), ("127.0.0.1.evil.example", 400), ("localhost:8000", 200), ("127.0.0.1:1", 200)):
        assert client.get("/health", headers={"host": host}).status_code == status, host
    for site, status in (("cross-site", 403), ("same-site", 403), ("same-origin", 200), ("none", 200)):
        assert client.post("/classify", content=png(images[0][0]), headers={"sec-fetch-site": site}).status_code == status, site
    assert "access-control-allow-origin" not in client.get("/health", headers={"origin": "http://evil.example"}).headers


def test_every_answer_says_what_browsers_may_do_with_it(client):
    for answer in (client.get("/"), client.get("/nothing"), client.get("/", headers={"host": "evil.example"})):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-security-policy"].startswith("default-src 'none'; script-src 'sha256-")
        assert "unsafe" not in answer.headers["content-security-policy"]
    page = client.get("/").text
    assert "http:" not in page and "https:" not in page and "innerHTML" not in page
    assert client.get("/docs").status_code == client.get("/openapi.json").status_code == 404


# The stage


def test_it_needs_an_export_a_free_port_and_its_packages(tmp_path, monkeypatch):
    settings = replace(Config(), stage="demo")
    with pytest.raises(UsageError, match="needs --from, an export or a run that was exported, got none"):
        demo.run(settings)
    assert main(["--stage=demo", f"--from={tmp_path}"]) == 2
    assert demo._find_export(replace(settings, from_run="pretrained:fashion_mnist"))[0] == SHIPPED / "export"
    run = shutil.copytree(SHIPPED, tmp_path / "run", ignore=shutil.ignore_patterns("export"))
    with pytest.raises(UsageError, match=f"has none; run tf-simclr --stage=export --from={run} first"):
        demo.run(replace(settings, from_run=str(run)))
    with demo._listen("127.0.0.1", 0) as taken:
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"must be one that is free, got {port}"):
            demo._listen("127.0.0.1", port)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(UsageError, match=r"needs uvicorn, which is not installed; pip install fastapi uvicorn"):
        demo.run(settings)


def test_images_of_a_run_that_are_gone_leave_neighbours_out(tmp_path):
    moved = replace(Config(), data__dataset="npz", data__data_dir=str(tmp_path / "gone.npz"))
    parent = types.SimpleNamespace(config=lambda: moved)
    assert demo._images(Config(), None, parent) is None
    assert demo._images(Config(), None, None) is None
    with pytest.raises(UsageError, match="must be an existing path"):
        demo._images(moved, None, None)
    bundled = replace(Config(), data__dataset="fashion_mnist_8k")
    assert len(demo._images(bundled, None, None)) == 8000


def test_a_port_has_one_demo_from_the_start():
    with demo._listen("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(UsageError, match=f"--port must be one that is free, got {port}"):
            demo._listen("127.0.0.1", port)


def test_a_training_image_that_was_damaged_since_has_no_thumbnail(exported, loaded_once, tmp_path):
    for name in ("a", "b"):
        Image.fromarray(np.random.default_rng(0).integers(0, 256, [20, 20, 3], np.uint8)).save(tmp_path / f"{name}.webp")
    source = load_data(replace(Config(), data__data_dir=str(tmp_path)).data).train
    client = TestClient(app.make_app(model.Model(exported[1], source, batch_size=2)), base_url=HERE)
    (tmp_path / "a.webp").write_bytes((tmp_path / "a.webp").read_bytes()[:100])
    assert [client.get(f"/thumbnails/{i}").status_code for i in range(2)] == [404, 200]
