"""What the page asks: the classes of an image, the training images that are nearest to it, and how those look."""

import threading
import time

import numpy as np
import tensorflow as tf
from absl import logging

from tf_simclr.config import ModelConfig, from_dict
from tf_simclr.data.pipeline import plain_batches
from tf_simclr.errors import UsageError
from tf_simclr.evaluation.knn import unit
from tf_simclr.export.load import load_export, read_card
from tf_simclr.export.reading import OK
from tf_simclr.inspection.sheet import thumbnail
from tf_simclr.progress import with_progress

MOST_IMAGES, MOST_BYTES = 5_000, 20_000_000
NEAREST = 8
NOT_FINITE = "gives NaN or infinity in this network, which was not trained well"


class Model:
    """An export, and the features of training images to compare with. It works at one image at a time, whoever asks.

    Args:
      directory: an export; see `load_export`.
      source: the training images, a `Source`; None leaves neighbours out.
      seed: draws the images that are compared with where there are more than `MOST_IMAGES`.
      batch_size: images per step of their features.

    Raises:
      UsageError: see `load_export`; or an export of an earlier version of this package, whose files give classes alone.
    """

    def __init__(self, directory, source=None, seed=1, batch_size=500):
        self.card = read_card(directory)
        self._spec = from_dict(ModelConfig, self.card["architecture"], "the architecture in the model card")
        self._limits = self.card["limits"]
        self._loaded = load_export(directory)  # its signatures work only as long as it is there
        if "features" not in self._loaded.signatures["serve_encoded"].structured_outputs:
            raise UsageError(f"the demo needs an export with features beside classes, got an earlier one in {directory}; export again")
        self._source, self._lock = source, threading.Lock()
        self._chosen = self._bank = None
        if source is not None:
            self._chosen = np.sort(np.random.default_rng(seed).permutation(len(source))[:MOST_IMAGES])
            self._bank = self._embed(source.take(self._chosen), batch_size)

    @property
    def max_bytes(self):
        """The largest image that is looked at: the export's limit, at most `MOST_BYTES`."""
        return min(self._limits["max_bytes"], MOST_BYTES)

    def about(self):
        """dict: run, classes (how many), images (how many training images are compared with), max_bytes."""
        images = 0 if self._chosen is None else len(self._chosen)
        return {
            "run": self.card.get("run", ""),
            "classes": len(self.card["class_names"]),
            "images": images,
            "max_bytes": self.max_bytes,
        }

    def classify(self, content):
        """What there is to say of one image.

        Args:
          content: bytes that should be a JPEG, PNG, GIF or BMP file.

        Returns:
          dict for JSON: status, "ok" or why the image is rejected; class_name; probabilities, list of name and probability, the likeliest
          first; neighbours, list of index (in the training images), label (a class name, or None) and similarity (cosine of the pooled
          features, -1 to 1), the nearest first; seconds. What is not known is "" or an empty list: for a rejected image, without a
          classifier, without training images.
        """
        start = time.perf_counter()
        with self._lock:
            outputs = self._loaded.signatures["serve_encoded"](encoded=tf.constant([content]))
            status, names = outputs["status"].numpy()[0].decode(), self.card["class_names"]
            scores = outputs["probabilities"].numpy()[0] if names else np.empty(0)
            features = outputs["features"].numpy()[0]
        if not (np.isfinite(scores).all() and np.isfinite(features).all()):
            status = NOT_FINITE
        good = status == OK
        order = np.argsort(-scores, kind="stable") if good else []
        return {
            "status": status,
            "class_name": names[order[0]] if good and names else "",
            "probabilities": [{"name": names[i], "probability": float(scores[i])} for i in order],
            "neighbours": self._neighbours(features) if good and self._bank is not None else [],
            "seconds": time.perf_counter() - start,
        }

    def thumbnail(self, index):
        """A training image as a small PNG, bytes.

        Raises:
          IndexError: there is no such image, or no longer.
        """
        if self._source is None or not 0 <= index < len(self._source):
            raise IndexError(index)
        try:
            with self._lock:
                return tf.io.encode_png(thumbnail(self._source, index, self._spec.background)).numpy()
        except (tf.errors.OpError, OSError) as error:  # its file is gone, or damaged
            raise IndexError(index) from error

    def _embed(self, source, batch_size):
        logging.info("computing the features of %s training images", f"{len(source):,}")
        batches = plain_batches(source, spec=self._spec, batch_size=batch_size)
        steps = -(-len(source) // batch_size)
        network, told = self._loaded.signatures["network"], with_progress(batches, steps, "embedded", "batches")
        return unit(np.concatenate([network(images=batch)["features"].numpy() for batch in told]))

    def _neighbours(self, features):
        similarity = np.clip(self._bank @ unit(features[None])[0], -1, 1)
        nearest = np.argsort(-similarity, kind="stable")[:NEAREST]
        return [self._describe(self._chosen[i], similarity[i]) for i in nearest]

    def _describe(self, index, similarity):
        labels = self._source.labels
        known = labels is not None and labels[index] >= 0
        label = self._source.class_names[labels[index]] if known else None
        return {"index": int(index), "label": label, "similarity": float(similarity)}
