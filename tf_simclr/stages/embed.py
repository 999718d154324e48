"""Features of images, any folder of them, into a file, with pictures of what is near what."""

import zipfile

import numpy as np
from absl import logging

from tf_simclr import durable
from tf_simclr.errors import UsageError
from tf_simclr.evaluation.embedding import draw_map, nearest, project
from tf_simclr.export.reading import OK
from tf_simclr.export.reusable import layer
from tf_simclr.inspection.sheet import rows_sheet
from tf_simclr.stages import setup
from tf_simclr.stages.answers import answers, log_end, no_outputs, open_directory, open_images, open_model

FILE, NEIGHBOURS, MAP = "embeddings.npz", "neighbours.png", "map.png"
AMONG = 10_000  # images, drawn by the seed, that the pictures are of
_QUERIES, _NEAR = 10, 8
_POINTS = 2000
_BLOCK = 1000  # texts that are written at once


def run(config, data=None):
    """Writes features and two pictures into `--run_dir` (runs/DATASET/embed). `--from` is a run or an export.

    embeddings.npz: features float32 [N, D], of the layer that `--selector` says, 0 for a bad image; paths and status, text [N]. The
      images are in their own order, that of their sorted paths. The file appears when it is whole.
    neighbours.png: ten images, each with its eight nearest neighbours among at most 10,000 drawn by the seed.
    map.png: the first two principal components of at most 2,000 of those, coloured by predicted class where the model has a
      classifier, else by label where the images have labels.

    Returns:
      dict: file (its path), images, bad, dimensions (D), seconds.
    """
    model, name = open_model(config), layer(config.embed.selector)
    if config.embed.selector > model.layers:
        raise UsageError(f"--selector must be at most {model.layers}, the head layers of {config.from_run}, got {config.embed.selector}")
    source, directory = open_images(config, data), open_directory(config, data)
    path, clock, status, kept = directory / FILE, setup.Clock(), [], []
    drawn = np.zeros(len(source), bool)
    drawn[np.random.default_rng(config.seed).permutation(len(source))[:AMONG]] = True

    def features():
        for part in answers(model, source, [name, "logits"] if model.class_names else [name], config):
            chosen = np.flatnonzero(drawn[part.start : part.start + len(part)] & [text == OK for text in part.status])
            kept.append({"number": part.start + chosen, **{key: x[chosen] for key, x in part.outputs.items()}})
            status.extend(part.status)
            yield part.outputs[name]

    dimensions = no_outputs(model, [name])[name].shape[1]
    with durable.replacing(path) as file, zipfile.ZipFile(file, "w") as archive:
        _write(archive, "features", np.float32, [len(source), dimensions], features())
        for key, texts in (("paths", [source.name(i) for i in range(len(source))]), ("status", status)):
            blocks = (texts[i : i + _BLOCK] for i in range(0, len(texts), _BLOCK))
            _write(archive, key, f"U{max(map(len, texts))}", [len(texts)], blocks)
    bad, seconds = sum(text != OK for text in status), clock.seconds()
    sample = {key: np.concatenate([part[key] for part in kept]) for key in kept[0]}
    if len(sample["number"]):
        _draw(sample["number"], sample[name], _names(sample, model, source), source, model, config, directory)
    else:
        logging.warning("no image could be read: there is nothing to draw")
    log_end(len(source), bad, seconds, path)
    return {"file": str(path), "images": len(source), "bad": bad, "dimensions": dimensions, "seconds": seconds}


def _write(archive, name, dtype, shape, parts):
    """Adds an array to an open .npz as its parts come: it needs no memory for the whole, nor a second file."""
    entry = zipfile.ZipInfo(f"{name}.npy")
    # Texts are filled up to the longest one, which packs well; features are noise.
    entry.compress_type = zipfile.ZIP_STORED if dtype is np.float32 else zipfile.ZIP_DEFLATED
    with archive.open(entry, "w", force_zip64=True) as file:
        descr = np.lib.format.dtype_to_descr(np.dtype(dtype))
        np.lib.format.write_array_header_1_0(file, {"descr": descr, "fortran_order": False, "shape": tuple(shape)})
        for part in parts:
            file.write(np.ascontiguousarray(part, dtype))


def _names(sample, model, source):
    """Class names of the sample, predicted or else labels; None where there are neither."""
    if model.class_names:
        return [model.class_names[i] for i in sample["logits"].argmax(axis=1)]
    if source.labels is None:
        return None
    return [source.class_names[i] if i >= 0 else "" for i in source.labels[sample["number"]]]


def _draw(numbers, features, names, source, model, config, directory):
    random = np.random.default_rng(config.seed)
    queries = random.permutation(len(numbers))[:_QUERIES]
    near = nearest(features, queries, _NEAR)
    rows = [("" if names is None else names[q], numbers[[q, *others]]) for q, others in zip(queries, near)]
    title = f"left: an image; beside it its nearest neighbours among {len(numbers):,} (cosine similarity)"
    _save(rows_sheet(source, rows, title, model.spec.background), directory / NEIGHBOURS)
    shown = random.permutation(len(numbers))[:_POINTS]
    what = "" if names is None else ", by predicted class" if model.class_names else ", by label"
    named = None if names is None else [names[i] for i in shown]
    _save(draw_map(*project(features[shown]), named, f"{len(shown):,} images{what}"), directory / MAP)


def _save(figure, path):
    with durable.replacing(path) as file:
        figure.savefig(file, format="png", dpi=100)
