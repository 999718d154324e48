"""Decoding of real files of every format, and the evaluation view."""

import numpy as np
import pytest
import tensorflow as tf
from data import images
from data.images import RGB, encode
from PIL import Image

from tf_simclr.config import DataConfig, ModelConfig, PretrainConfig
from tf_simclr.data import decode, load_data
from tf_simclr.data.pipeline import plain_batches, training_batches

GREY = RGB[..., 0]
STRING = tf.TensorSpec([], tf.string)


def luma(rgb):
    return np.asarray(tf.image.rgb_to_grayscale(rgb))


@pytest.mark.parametrize("kind", ["PNG", "BMP"])
def test_lossless_formats_keep_every_pixel(kind):
    np.testing.assert_array_equal(decode.read(encode(RGB, kind), 3), RGB)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "GIF", "JPEG"])
@pytest.mark.parametrize("array", [RGB, GREY])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_format_gives_the_channels_asked_for(kind, array, channels):
    image = decode.read(encode(array, kind), channels)
    assert image.dtype == tf.uint8 and image.shape == [9, 13, channels]
    if kind == "PNG":
        expected = {(3, 1): luma(RGB), (3, 3): RGB, (2, 1): GREY[..., None], (2, 3): np.stack([GREY] * 3, -1)}
        np.testing.assert_array_equal(image, expected[array.ndim, channels])


def test_jpeg_is_close_to_what_it_shows():
    smooth = np.tile(np.linspace(0, 255, 16, dtype=np.uint8)[:, None, None], [1, 16, 3])
    assert np.abs(np.int32(decode.read(encode(smooth, "JPEG", quality=95), 3)) - smooth).max() < 8


def test_sixteen_bit_png_keeps_its_high_byte():
    deep = Image.fromarray((GREY.astype(np.uint16) << 8) + 255)
    np.testing.assert_array_equal(decode.read(encode(deep, "PNG"), 1)[..., 0], GREY)


EVERY, PILLOW = images.every_kind(), images.only_pillow()
READERS = {
    background: tf.function(lambda content, b=background: decode.read(content, 3, b, pillow=True), input_signature=[STRING])
    for background in decode.BACKGROUNDS
}
SERVING = tf.function(lambda content: decode.read(content, 3), input_signature=[STRING])


@pytest.mark.fault("R12")
@pytest.mark.parametrize("background", decode.BACKGROUNDS)
@pytest.mark.parametrize("kind", [*EVERY, *PILLOW])
def test_every_kind_is_read_as_pillow_reads_it(kind, background, record_property):
    content = {**EVERY, **PILLOW}[kind]
    expected = images.by_pillow(content, decode.BACKGROUNDS[background])
    found = READERS[background](content).numpy().astype(int)
    assert found.shape == expected.shape and np.abs(found - expected).max() <= 2
    record_property("outcome", f"{len(EVERY) + len(PILLOW)} kinds of file on white and on black: within 2/255 of Pillow")


def load(root):
    """The images of a folder, looked at as before a training."""
    return load_data(DataConfig(dataset="folder", data_dir=str(root))).train


@pytest.mark.fault("R12")
def test_the_content_counts_and_not_the_name(tmp_path, record_property):
    contents = {"a.png": encode(images.PHOTO, "JPEG"), "b.jpg": encode(images.PHOTO)}
    contents |= {"c.gif": encode(RGB, "BMP"), "d.BMP": encode(RGB, "GIF")}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    source = load(tmp_path)
    assert source.facts["format"].tolist() == ["JPEG", "PNG", "BMP", "GIF"] and not source.bad
    for key, content in zip(source.encoded, contents.values(), strict=True):
        found = decode.read(source.storage.content(key), source.channels, pillow=True).numpy().astype(int)
        assert np.abs(found - images.by_pillow(content)).max() <= 2
    record_property("outcome", "wrong extensions: read by their content")


@pytest.mark.fault("R12")
def test_the_smallest_and_the_longest_images_are_trained_on(tmp_path, record_property):
    colours = np.uint8([[200, 40, 90], [10, 250, 0], [30, 60, 120]])
    stripes = np.repeat(np.resize(colours, [1, 100, 3]), 50, axis=1)
    for name, pixels in (("one", stripes[:, :1]), ("wide", stripes), ("tall", stripes.transpose(1, 0, 2))):
        for kind in ("PNG", "JPEG", "GIF", "BMP", "WEBP"):
            (tmp_path / f"{name}.{kind.lower()}").write_bytes(encode(np.ascontiguousarray(pixels), kind))
    source, spec = load(tmp_path), ModelConfig(image_size=16, channels=3)
    assert len(source) == 15 and source.size == 1 and not source.bad
    (view,) = plain_batches(source, spec=spec, batch_size=15)
    for key, seen in zip(source.encoded, view.numpy(), strict=True):
        content = source.storage.load(key)
        expected = images.by_pillow(content)
        found = READERS["white"](content).numpy().astype(int)
        assert found.shape == expected.shape and np.abs(found - expected).max() <= 2, key
        centre = expected[(expected.shape[0] - 1) // 2, (expected.shape[1] - 1) // 2]
        np.testing.assert_allclose(seen, np.broadcast_to(centre / 255, [16, 16, 3]), atol=2 / 255, err_msg=key)
    common = {"spec": spec, "policy": PretrainConfig(), "seed": 1, "batch_size": 15, "view_count": 2}
    for batch in training_batches(source, start=0, stop=4, **common):
        for views in batch["views"]:
            assert views.shape == [15, 16, 16, 3] and np.isfinite(views).all()
            assert 0 <= views.numpy().min() and views.numpy().max() <= 1
    record_property("outcome", "1 x 1, 1 x 5000 and 5000 x 1 in every format: within 2/255 of Pillow, views finite")


@pytest.mark.parametrize("kind", EVERY)
def test_what_training_reads_serving_reads_alike(kind):
    np.testing.assert_array_equal(SERVING(EVERY[kind]), READERS["white"](EVERY[kind]))


@pytest.mark.parametrize("kind", PILLOW)
def test_serving_refuses_what_needs_pillow(kind):
    with pytest.raises(tf.errors.InvalidArgumentError, match="BMP must be uncompressed|Unknown image file format"):
        SERVING(PILLOW[kind])


@pytest.mark.fault("R13")
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("noted", range(1, 9))
@pytest.mark.parametrize("little", [True, False], ids=["little-endian", "big-endian"])
def test_photographs_are_upright_in_training_and_in_serving(kind, noted, little, record_property):
    exif = images.noted(noted)["exif"]
    exif.endian = "<" if little else ">"
    exif[0x010E] = "an entry before the orientation"
    content = encode(images.PHOTO, kind, exif=exif)
    expected = images.by_pillow(content)
    assert expected.shape == ((45, 65, 3) if noted < 5 else (65, 45, 3))
    assert np.abs(expected - images.by_pillow(encode(images.PHOTO, kind))).max() > 50 if noted in (2, 3, 4) else True
    for read in (SERVING, READERS["white"]):
        assert np.abs(read(content).numpy().astype(int) - expected).max() <= 2
    record_property("outcome", "orientations 1 to 8 in JPEG and PNG, of either byte order: upright in training and in serving")


def test_damaged_exif_means_upright():
    content = encode(images.PHOTO, "JPEG", **images.noted(6))
    begin = content.index(b"Exif\0\0") + 6
    upright = SERVING(encode(images.PHOTO, "JPEG"))
    random = np.random.RandomState(1)
    damages = [b"II*\0\xff\xff\xff\xff", b"MM\0*\xff\xff\xff\xff", *(random.bytes(12) for _ in range(20))]
    for damage in damages:
        image = SERVING(content[:begin] + damage + content[begin + len(damage) :])
        np.testing.assert_array_equal(image, upright)
    noted_nine = encode(images.PHOTO, "JPEG", **images.noted(9))
    np.testing.assert_array_equal(SERVING(noted_nine), upright)


def test_an_animation_gives_its_first_frame():
    frames = [Image.new("RGB", (5, 4), colour) for colour in ((255, 0, 0), (0, 0, 255))]
    content = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    image = decode.read(content, 3)
    assert image.shape == [4, 5, 3] and image[0, 0, 0] > 200 and image[0, 0, 2] < 50


def test_a_graph_decodes_from_disk_as_eagerly_from_memory(tmp_path):
    content = encode(RGB, "PNG")
    (tmp_path / "image.png").write_bytes(content)
    paths = tf.data.Dataset.from_tensors(str(tmp_path / "image.png"))
    (image,) = paths.map(lambda path: decode.read(tf.io.read_file(path), 1))
    np.testing.assert_array_equal(image, decode.read(content, 1))


def test_a_saved_model_decodes_and_resizes_as_here(tmp_path):
    class Serving(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([], tf.string)])
        def __call__(self, content):
            return decode.resize_to_square(decode.read(content, 3), 6)

    tf.saved_model.save(Serving(), str(tmp_path / "model"))
    loaded = tf.saved_model.load(str(tmp_path / "model"))
    for kind in ("PNG", "JPEG", "GIF", "BMP"):
        content = encode(GREY, kind)
        np.testing.assert_array_equal(loaded(content), decode.resize_to_square(decode.read(content, 3), 6))


def test_what_is_no_image_is_an_error():
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode.read(b"not an image", 3)


def test_the_evaluation_view_is_the_resized_central_square():
    view = decode.resize_to_square(RGB, 4)
    square = tf.cast(RGB[:, 2:11], tf.float32) / 255.0
    np.testing.assert_allclose(view, tf.image.resize(square, [4, 4], antialias=True), atol=1e-6)
    tall = decode.resize_to_square(RGB.transpose(1, 0, 2), 4)
    np.testing.assert_allclose(tall, tf.transpose(view, [1, 0, 2]), atol=1e-6)
    assert view.dtype == tf.float32


def test_a_square_of_the_right_size_is_only_scaled():
    square = RGB[:9, :9]
    expected = square.astype(np.float32) * np.float32(1 / 255)
    np.testing.assert_array_equal(decode.resize_to_square(square, 9), expected)
    np.testing.assert_array_equal(decode.resize_to_square(square.astype(np.float32), 9), expected)


@pytest.mark.parametrize("shape", [(9, 9), (12, 9), (30, 41), (3, 5)])
def test_batches_of_unknown_size_are_resized_like_single_images(shape):
    images = np.random.RandomState(1).randint(0, 256, [2, *shape, 1], np.uint8)
    spec = tf.TensorSpec([None, None, None, 1], tf.float32)
    resize = tf.function(lambda batch: decode.resize_batch(batch, 9), input_signature=[spec])
    batch = resize(images.astype(np.float32) * np.float32(1 / 255))
    single = np.stack([decode.resize_to_square(image, 9) for image in images])
    np.testing.assert_allclose(batch, single, atol=1e-6)
    assert batch.shape == [2, 9, 9, 1] and batch.numpy().min() >= 0 and batch.numpy().max() <= 1 + 1e-6
