"""Contact sheets: the images as they lie there, and the views that pretraining will see of them."""

import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure

from tf_simclr.data import decode
from tf_simclr.data.pipeline import plain_batches, training_batches

_ROWS, _COLUMNS, _VIEWS = 12, 10, 6
_SIDE, _GAP = 96, 4
_SEED = 0


def images_sheet(source, background):
    """Random images, whole; with labels a row for each of the first twelve classes.

    Args:
      source: a `Source`.
      background: "white" or "black", what transparent pixels are laid on.

    Returns:
      A matplotlib `Figure`.
    """
    random = np.random.default_rng(_SEED)
    if source.labels is None:
        shown = random.permutation(len(source))[: 8 * _COLUMNS]
        rows = [("", shown[i : i + _COLUMNS]) for i in range(0, len(shown), _COLUMNS)]
        title = f"{len(shown)} of {len(source):,} images"
    else:
        rows = [(f"{name}\n{n:,}", random.permutation(members)[:_COLUMNS]) for name, n, members in _members(source)]
        classes = len(source.class_names)
        title = f"{len(source):,} images" + (f", the first {_ROWS} of {classes} classes" if classes > _ROWS else "")
    return _draw([(label, [thumbnail(source, i, background) for i in shown]) for label, shown in rows], title)


def views_sheet(source, spec, fit, config):
    """Up to eight images as evaluation sees them, each with six of its views in pretraining.

    Args:
      source: a `Source`.
      spec: a resolved `ModelConfig`; image_size and channels of the views.
      fit: a `PretrainConfig`, how views are drawn.
      config: a `Config`; its seed.

    Returns:
      A matplotlib `Figure`.
    """
    count = min(8, len(source))
    batches = training_batches(
        source.without_labels(), spec=spec, policy=fit, seed=config.seed, batch_size=count, start=0, stop=1, view_count=_VIEWS
    )
    batch = next(iter(batches))
    plain = np.concatenate(list(plain_batches(source.take(batch["example"].numpy()), spec=spec, batch_size=count)))
    rows = [("", [_enlarge(images[i]) for images in (plain, *(view.numpy() for view in batch["views"]))]) for i in range(count)]
    return _draw(rows, f"left: the image at {spec.image_size} px; beside it {_VIEWS} of its views")


def rows_sheet(source, rows, title, background):
    """Images of a source in rows of one's own.

    Args:
      source: a `Source`.
      rows: list of (name, numbers of images), at least one.
      title: text above them.
      background: as for `images_sheet`.

    Returns:
      A matplotlib `Figure`.
    """
    return _draw([(_short(name), [thumbnail(source, i, background) for i in numbers]) for name, numbers in rows], title)


def _members(source):
    """(class name, images, their indices) of the first classes."""
    for number, name in list(enumerate(source.class_names))[:_ROWS]:
        members = np.flatnonzero(source.labels == number)
        yield _short(name), len(members), members


def _short(name):
    return name if len(name) < 24 else f"{name[:23]}…"


def thumbnail(source, index, background):
    """uint8 [96, 96, 3], the whole image in its proportions; small ones are enlarged without smoothing."""
    if source.images is not None:
        image = decode.match_channels(tf.constant(source.images[index]), 3)
    else:
        image = decode.read(source.storage.content(source.storage.tensor([source.encoded[index]])[0]), 3, background, pillow=True)
    small = max(image.shape[:2]) < _SIDE
    thinnest = -(-max(image.shape[:2]) // _SIDE)  # of which a pixel is left
    image = tf.image.resize(image, [max(side, thinnest) for side in image.shape[:2]], "nearest")
    resized = tf.image.resize_with_pad(image, _SIDE, _SIDE, "nearest" if small else "area", antialias=not small)
    return np.uint8(np.clip(np.round(resized), 0, 255))


def _enlarge(image):
    """float [S, S, C] in [0, 1] as a uint8 thumbnail."""
    size = image.shape[0]
    method = "nearest" if size < _SIDE else "area"
    pixels = tf.image.resize(decode.match_channels(tf.constant(image), 3), [_SIDE, _SIDE], method)
    return np.uint8(np.clip(np.round(pixels * 255), 0, 255))


def _draw(rows, title):
    """One picture of all thumbnails, with the rows' names beside it."""
    step = _SIDE + _GAP
    canvas = np.full([len(rows) * step - _GAP, max(len(cells) for _, cells in rows) * step - _GAP, 3], 255, np.uint8)
    for i, (_, cells) in enumerate(rows):
        for j, cell in enumerate(cells):
            canvas[i * step : i * step + _SIDE, j * step : j * step + _SIDE] = cell
    height, width = canvas.shape[:2]
    figure = Figure(figsize=(width / 100 + 2.0, height / 100 + 0.6), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(canvas, interpolation="nearest")
    # Names are text: a $ in one begins no formula.
    axes.set_yticks([i * step + _SIDE / 2 for i in range(len(rows))], [label for label, _ in rows], parse_math=False)
    axes.set_xticks([])
    axes.tick_params(left=False)
    axes.spines[:].set_visible(False)
    axes.set_title(title, fontsize=10, parse_math=False)
    return figure
