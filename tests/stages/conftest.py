"""A classifier as a run and as its export, and a folder of images with bad ones among them, for the tests of predict and embed."""

import numpy as np
import pytest
import tensorflow as tf
import tiny
from PIL import Image

import tf_simclr
from tf_simclr.config import Config, ModelConfig, replace
from tf_simclr.data import decode
from tf_simclr.stages import setup
from tf_simclr.training.checkpoints import save_network

SPEC = ModelConfig(depth=10, width=0.0625, stem="cifar2", image_size=16, channels=3, head_layers=2, head_width=5)


def squares(folder):
    """The network's input of the good images."""
    return tf.stack([decode.resize_to_square(pixels, SPEC.image_size) for pixels in folder[1].values() if isinstance(pixels, np.ndarray)])


@pytest.fixture(scope="session")
def classifier(folder, tmp_path_factory):
    """(network, directory of its run, which holds its export): a classifier of three classes with one head layer, never trained.

    Its biases are such that the images of the folder are not all of one class.
    """
    home = tmp_path_factory.mktemp("classifier") / "run"
    with pytest.MonkeyPatch.context() as patched, tf_simclr.lock.writing():
        tiny.shorten(patched)
        network = tiny.scattered_network(SPEC, head_layers=1)
        (bias,) = [v for v in network.classifier.variables if v.shape.rank == 1]
        bias.assign_sub(tf.reduce_mean(network(squares(folder))["logits"], axis=0))
        config = replace(Config(), stage="finetune", run_dir=str(home), model=SPEC)
        run = setup.open_run(config, tiny.data(), SPEC, 1, tiny.CLASSES, [])
        save_network(run.checkpoints, network)
        run.finish({})
        tf_simclr.run(replace(Config(), stage="export", from_run=str(home)))
    return network, home


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """(directory, {path below it: pixels uint8 [H, W, C], or what is wrong with the image}), in the order of the sorted paths."""
    home, random = tmp_path_factory.mktemp("images") / "in", np.random.default_rng(0)
    found = {}
    for i, name in enumerate(("10.png", "2.png", "Größe/b c.jpg", "Größe/ab/日本.webp", "z.bmp", "train/x.png", "val/y.gif")):
        pixels = random.integers(0, 256, [16 + 3 * i, 20, 3], np.uint8)
        pixels[:, i:] //= 1 + i  # far from each other
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(home / name, **({"lossless": True} if name.endswith("webp") else {}))
        found[name] = decode.read(tf.constant((home / name).read_bytes()), 3, pillow=True).numpy()
    whole = (home / "10.png").read_bytes()
    for name, content, reason in (
        ("5.png", b"no image", "not an image that is read here"),
        ("Größe/empty.png", b"", "empty file"),
        ("cut.png", whole[: len(whole) // 2], "damaged"),
        ("heavy.png", whole + bytes(9000), "bytes, more than max_bytes=9,000"),
    ):
        (home / name).write_bytes(content)
        found[name] = reason
    Image.new("L", (300, 20)).save(home / "wide.webp")
    found["wide.webp"] = "300 x 20 pixels, more than max_pixels=5,000"
    (home / "gone.png").symlink_to(home / "nowhere")
    found["gone.png"] = "cannot be read: No such file"
    (home / "Thumbs.db").write_bytes(b"x")
    (home / ".hidden.png").write_bytes(whole)
    return home, {name: found[name] for name in sorted(found)}


@pytest.fixture(scope="session")
def bounds():
    """Flags with bounds that the folder's largest files go beyond, and a batch that bad ones share with good ones."""
    return ["--max_bytes=9000", "--max_pixels=5000", "--eval_batch_size=4"]


@pytest.fixture(scope="session")
def expected(classifier, folder):
    """{path below the folder: outputs of the network for one good image}."""
    good = [name for name, pixels in folder[1].items() if isinstance(pixels, np.ndarray)]
    outputs = classifier[0](squares(folder), training=False)
    rows = {"probabilities": tf.nn.softmax(outputs["logits"]), "features": outputs["features"][0], "features_1": outputs["features"][1]}
    return {name: {key: value[i].numpy() for key, value in rows.items()} for i, name in enumerate(good)}
