"""Two views of every image, as the package makes them for pretraining, against the published pipeline: one image at a time, in `tf.image`.

The published operations are written here as they are described (SimCLR, appendix A; SimCLRv2, appendix B): they are the oracle of what has
to be done, and nothing in them is slower than it need be. Both sides have the same images, the same probabilities and strengths, and
parallel maps whose number of threads `tf.data` finds.
"""

import pathlib
import tempfile
import time

import numpy as np
import tensorflow as tf

from benchmarks.timing import paired, speed
from tf_simclr.config import DataConfig, ModelConfig, PretrainConfig
from tf_simclr.data import load_data
from tf_simclr.data.pipeline import training_batches
from tf_simclr.data.source import as_source

SECONDS = 3.0  # that a measurement lasts, after as long a start that does not count
ENDLESS = 1 << 40
PUBLISHED = PretrainConfig()


# The published pipeline


def crop_and_resize(image, size):
    """A box of 0.08–1 of the area and an aspect of 3/4–4/3, resized by bicubic interpolation without antialiasing, as published."""
    whole = tf.constant([[[0.0, 0.0, 1.0, 1.0]]])
    start, extent, _ = tf.image.sample_distorted_bounding_box(
        tf.shape(image), whole, min_object_covered=0.1, aspect_ratio_range=(3 / 4, 4 / 3), area_range=(0.08, 1.0), max_attempts=100
    )
    part = tf.slice(image, start, extent)
    return tf.image.resize([part], [size, size], method="bicubic")[0]


def jitter(image):
    """Brightness, contrast, saturation and hue in random order, clipped after each."""
    operations = (
        lambda x: x * tf.random.uniform([], 0.2, 1.8),
        lambda x: tf.image.random_contrast(x, 0.2, 1.8),
        lambda x: tf.image.random_saturation(x, 0.2, 1.8),
        lambda x: tf.image.random_hue(x, 0.2),
    )
    order = tf.random.shuffle(tf.range(4))
    for step in range(4):
        chosen = [lambda operation=operation, x=image: tf.clip_by_value(operation(x), 0.0, 1.0) for operation in operations]
        image = tf.switch_case(order[step], chosen)
    return image


def blur(image, size):
    """A Gaussian of a σ of 0.1–2 and a kernel of a tenth of the side, by rows and by columns."""
    sigma, radius = tf.random.uniform([], 0.1, 2.0), max(1, size // 20)
    place = tf.range(-radius, radius + 1, dtype=tf.float32)
    kernel = tf.exp(-tf.square(place) / (2.0 * tf.square(sigma)))
    kernel = tf.tile((kernel / tf.reduce_sum(kernel))[:, None, None, None], [1, 1, 3, 1])
    image = tf.nn.depthwise_conv2d(image[None], kernel, [1, 1, 1, 1], "SAME")
    return tf.nn.depthwise_conv2d(image, tf.transpose(kernel, [1, 0, 2, 3]), [1, 1, 1, 1], "SAME")[0]


def published_view(image, size, policy):
    """One view of an image, float32 [H, W, 3] in [0, 1] to float32 [size, size, 3] in [0, 1]."""

    def perhaps(probability, operation, x):
        return tf.cond(tf.random.uniform([]) < probability, lambda: operation(x), lambda: x)

    image = tf.image.random_flip_left_right(crop_and_resize(image, size))
    image = perhaps(policy.jitter, jitter, image)
    image = perhaps(policy.grey, lambda x: tf.image.grayscale_to_rgb(tf.image.rgb_to_grayscale(x)), image)
    if policy.blur:
        image = perhaps(policy.blur, lambda x: blur(x, size), image)
    return tf.clip_by_value(tf.ensure_shape(image, [size, size, 3]), 0.0, 1.0)


def published_batches(images, size, batch_size, policy):
    """Endless batches of two views of a data set of uint8 images [H, W, 3]."""

    def two_views(image):
        image = tf.image.convert_image_dtype(image, tf.float32)
        return published_view(image, size, policy), published_view(image, size, policy)

    views = images.map(two_views, num_parallel_calls=tf.data.AUTOTUNE)
    return views.batch(batch_size, drop_remainder=True).prefetch(tf.data.AUTOTUNE)


# What is compared


def images_per_second(dataset, batch_size):
    """Measures a data set of batches by its own fresh iterator, as nothing else then asks for anything."""
    batches = iter(dataset)
    start = time.perf_counter()
    while time.perf_counter() - start < SECONDS / 2:
        next(batches)
    return speed(lambda: next(batches), batch_size, SECONDS)


def compare(source, images, size, batch_size, repeats, policy=PUBLISHED):
    """The result of a row: our batches of a `Source` against the published ones of a data set of the same images."""
    ours = training_batches(
        source,
        spec=ModelConfig(image_size=size, channels=3),
        policy=policy,
        seed=1,
        batch_size=batch_size,
        start=0,
        stop=ENDLESS // batch_size,
        view_count=2,
    )
    against = published_batches(images, size, batch_size, policy)
    sides = (lambda: images_per_second(ours, batch_size), lambda: images_per_second(against, batch_size))
    return {**paired(*sides, repeats), "unit": "images/s", "batch_size": batch_size}


def photographs(count, height, width):
    """uint8 [count, height, width, 3]: smooth shapes with the noise of a camera; they compress as photographs do."""
    random = np.random.default_rng(0)
    for _ in range(count):
        shapes = tf.image.resize(random.uniform(0, 255, (height // 25, width // 25, 3)), [height, width], method="bicubic")
        yield np.uint8(np.clip(shapes + random.normal(0, 6, (height, width, 1)), 0, 255))


def arrays(count, side):
    """A `Source` of arrays, and the same images as a data set without end."""
    images = np.stack(list(photographs(count, side, side)))
    return as_source(images), tf.data.Dataset.from_tensor_slices(images).repeat()


# The rows


def views_32(repeats):
    return compare(*arrays(2048, 32), 32, 256, repeats, PretrainConfig(blur=0.0))  # which images of that size go without


def views_224(repeats):
    return compare(*arrays(512, 256), 224, 64, repeats)


def views_jpeg(repeats):
    with tempfile.TemporaryDirectory() as directory:
        for number, image in enumerate(photographs(256, 375, 500)):
            tf.io.write_file(f"{directory}/{number:03}.jpg", tf.io.encode_jpeg(image, quality=90))
        paths = sorted(map(str, pathlib.Path(directory).glob("*.jpg")))
        files = tf.data.Dataset.from_tensor_slices(paths).repeat()
        # As published, once for both views.
        images = files.map(lambda path: tf.io.decode_jpeg(tf.io.read_file(path), channels=3), num_parallel_calls=tf.data.AUTOTUNE)
        source = load_data(DataConfig(dataset="folder", data_dir=directory)).train
        return compare(source, images, 224, 64, repeats)
