"""Data that are already in memory: NumPy arrays, or a finite tf.data.Dataset."""

import numpy as np

from tf_simclr.data.load import check_evaluation
from tf_simclr.data.overlap import check_overlap
from tf_simclr.data.source import Data, as_source
from tf_simclr.errors import UsageError


def from_arrays(images, labels=None, eval_images=None, eval_labels=None, class_names=(), allow_overlap=False):
    """Data from arrays.

    Args:
      images: uint8 [N, H, W] or [N, H, W, C], C 1 or 3.
      labels: integers [N] in [0, classes), -1 for an image without a label; or None.
      eval_images, eval_labels: the same for evaluation, with a label for every image; both or neither.
      class_names: names in label order; empty names the classes by their numbers.
      allow_overlap: whether an image may stand in two of the labelled, unlabelled and evaluation sets.

    Returns:
      `Data`.

    Raises:
      UsageError: a wrong dtype, shape or range, see `source.as_source`; or an image in two sets.
    """
    train = as_source(images, labels, class_names, what="images")
    if (eval_images is None) != (eval_labels is None):
        raise UsageError("evaluation needs eval_images and eval_labels, got only one of them; give both or neither")
    evaluation = None
    if eval_images is not None:
        evaluation = as_source(eval_images, eval_labels, train.class_names or class_names, what="eval_images")
        check_evaluation(train, evaluation, "eval_images")
    data = Data(train, evaluation)
    check_overlap(data, allow_overlap)
    return data


def from_dataset(dataset, eval_dataset=None, class_names=(), allow_overlap=False):
    """Data from a finite `tf.data.Dataset`, read once into memory.

    Args:
      dataset: single elements (not batches) of an image, (image, label) or {"image": …, "label": …}; images uint8 [H, W] or
        [H, W, C], all of one size; labels whole numbers.
      eval_dataset: the same for evaluation, with labels; or None.
      class_names, allow_overlap: see `from_arrays`.

    Returns:
      `Data`.

    Raises:
      UsageError: an endless or empty data set, or other elements than these.
    """
    images, labels = read_dataset(dataset, "dataset")
    evaluation = (None, None) if eval_dataset is None else read_dataset(eval_dataset, "eval_dataset")
    return from_arrays(images, labels, *evaluation, class_names, allow_overlap)


def read_dataset(dataset, what):
    """The elements of a finite `tf.data.Dataset` as arrays: images [N, …] and labels [N] or None. Raises UsageError as `from_dataset`."""
    if not hasattr(dataset, "cardinality"):
        raise UsageError(f"{what} must be a tf.data.Dataset, got {type(dataset).__name__}; give arrays to from_arrays")
    if dataset.cardinality() == -1:  # tf.data.INFINITE_CARDINALITY
        raise UsageError(f"{what} must be finite, got an endless tf.data.Dataset; drop its .repeat() or add .take(count)")
    pairs = [_image_and_label(element, what) for element in dataset.as_numpy_iterator()]
    if not pairs:
        raise UsageError(f"{what} must have at least one element, got an empty tf.data.Dataset")
    shapes = sorted({np.shape(image) for image, _ in pairs})
    for shape in shapes:
        if len(shape) != 2 and (len(shape) != 3 or shape[2] not in (1, 3)):
            raise UsageError(
                f"elements of {what} must be single images [H, W] or [H, W, C] with C 1 or 3, got shape {list(shape)}; add .unbatch() to a"
                " batched data set, and make RGB of images with alpha"
            )
    if len(shapes) > 1:
        first, second = shapes[:2]
        raise UsageError(f"images of {what} must have one size, got {list(first)} and {list(second)}; resize them, or use dataset=folder")
    labels = [label for _, label in pairs]
    return np.stack([image for image, _ in pairs]), None if labels[0] is None else np.stack(labels)


def _image_and_label(element, what):
    """(image, label or None) of one element."""
    if isinstance(element, np.ndarray):
        return element, None
    if isinstance(element, tuple) and len(element) == 2:
        return element
    if isinstance(element, dict) and "image" in element and ("label" in element or "labels" not in element):
        return element["image"], element.get("label")
    kind = f"a dict of {', '.join(element)}" if isinstance(element, dict) else type(element).__name__
    raise UsageError(f"elements of {what} must be an image, (image, label) or {{'image', 'label'}}, got {kind}; .map() them to that")
