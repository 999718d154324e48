"""Batches by position: permutations, and views that depend on nothing but seed, position and image."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tf_simclr.augment import by_lines, on_host
from tf_simclr.augment.views import finish
from tf_simclr.config import DataConfig, FinetuneConfig, ModelConfig, PretrainConfig
from tf_simclr.data import decode, from_arrays, load_data, pipeline

COUNT = 10
SPEC = ModelConfig(image_size=8, channels=3)
FULL = PretrainConfig()
CROPS = PretrainConfig(jitter=0.0, grey=0.0, blur=0.0)
WHOLE = PretrainConfig(crop_min_area=1.0, flip=0.0, jitter=0.0, grey=0.0, blur=0.0)


@pytest.fixture(scope="module", params=["arrays", "folder"])
def source(request, tmp_path_factory):
    """Ten images with labels: arrays of one size, or PNG files of ten sizes."""
    random = np.random.RandomState(0)
    if request.param == "arrays":
        return from_arrays(random.randint(0, 256, [COUNT, 12, 9, 3], np.uint8), np.arange(COUNT) % 2).train
    root = tmp_path_factory.mktemp("folder")
    for number in range(COUNT):
        (root / str(number % 2)).mkdir(exist_ok=True)
        Image.fromarray(random.randint(0, 256, [8 + number, 20 - number, 3], np.uint8)).save(root / str(number % 2) / f"{number}.png")
    return load_data(DataConfig(dataset="folder", data_dir=str(root))).train


def batches(source, batch_size, start, stop, **settings):
    # What follows the crops is the same for both kinds of source, and takes long to trace.
    settings = {"spec": SPEC, "policy": CROPS if source.images is None else FULL, "seed": 3, **settings}
    return pipeline.training_batches(source, batch_size=batch_size, start=start, stop=stop, **settings)


def rows(source, batch_size, start, stop, **settings):
    """Position → (example, label, views) for the steps asked for."""
    found = {}
    for batch in batches(source, batch_size, start, stop, **settings):
        made = np.stack([view.numpy() for view in batch["views"]], axis=1)
        for slot, position in enumerate(batch["position"].numpy()):
            found[position] = batch["example"].numpy()[slot], batch["label"].numpy()[slot], made[slot]
    return found


@pytest.fixture(scope="module")
def reference(source):
    """Three epochs of two views."""
    return rows(source, 5, 0, 6, view_count=2)


def test_what_is_left_to_the_device_makes_the_same_views(source, reference):
    policy = CROPS if source.images is None else FULL
    for batch in batches(source, 5, 0, 2, view_count=2, on_device=True, at_a_time=5):
        assert batch["images"].dtype == tf.uint8 if source.images is not None else batch["views"][0].dtype == tf.float32
        made = np.stack([view.numpy() for view in finish(batch, SPEC.image_size, policy)["views"]], axis=1)
        for position, ours in zip(batch["position"].numpy(), made):
            np.testing.assert_allclose(ours, reference[position][2], atol=1e-5)


@pytest.mark.parametrize(("start", "stop"), [(0, 5), (1, 4), (2, 3)])
def test_steps_are_the_same_bit_for_bit_wherever_a_run_starts_and_stops(source, monkeypatch, start, stop):
    monkeypatch.setattr(pipeline, "_NUMBERED", 10)  # two steps together
    whole, found = rows(source, 5, 0, 6, view_count=2), rows(source, 5, start, stop, view_count=2)
    assert list(found) == list(range(5 * start, 5 * stop))
    for position, (example, label, made) in found.items():
        assert (example, label) == whole[position][:2]
        np.testing.assert_array_equal(made, whole[position][2])


@pytest.mark.parametrize(("share", "at_a_time"), [(pipeline.Share(), 0), (pipeline.Share(), 2), (pipeline.Share(2, 1, 1), 0)])
def test_steps_are_taken_together_by_their_number(monkeypatch, share, at_a_time):
    """Not by where a run starts: batches of 4, two steps together, for steps 1 to 3."""

    class Maker:
        def name_examples(self, batches):
            return {"position": batches, "step": tf.repeat(tf.reduce_min(batches) // 4, tf.shape(batches)[0])}

    monkeypatch.setattr(pipeline, "_NUMBERED", 8 // share.parts)
    named = list(pipeline._named(Maker(), 4, 1, 4, share, at_a_time))
    positions = [batch["position"].numpy().tolist() for batch in named]
    assert sum(positions, []) == [position for position in range(4, 16) if share.parts == 1 or position % 4 >= 2]
    assert all(batch["step"] == batch["position"][0] // 4 // 2 * 2 for batch in named)


def test_every_epoch_is_another_permutation(reference):
    assert sorted(reference) == list(range(3 * COUNT))
    epochs = [[reference[position][0] for position in range(epoch * COUNT, (epoch + 1) * COUNT)] for epoch in range(3)]
    assert all(sorted(epoch) == list(range(COUNT)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]


def test_labels_belong_to_their_examples(source, reference):
    assert all(label == source.labels[example] for example, label, _ in reference.values())


def test_views_have_their_shape_and_range_and_are_independent(reference):
    for _, _, views in reference.values():
        assert views.shape == (2, 8, 8, 3) and views.dtype == np.float32
        assert views.min() >= 0 and views.max() <= 1
        assert np.abs(views[0] - views[1]).max() > 0.01


@pytest.mark.parametrize(
    ("batch_size", "start", "stop", "at_a_time"),
    [(6, 2, 4, 0), (5, 4, 6, 0), (6, 1, 3, 2)],
    ids=["another batch size", "a later start", "two at a time"],
)
def test_views_are_a_function_of_the_position(source, reference, batch_size, start, stop, at_a_time):
    other = rows(source, batch_size, start, stop, view_count=2, at_a_time=at_a_time)
    assert sorted(other) == list(range(start * batch_size, stop * batch_size))
    for position, (example, _, views) in other.items():
        assert example == reference[position][0]
        np.testing.assert_allclose(views, reference[position][2], atol=1e-5)


def test_batches_made_in_parts_keep_their_static_shape_and_their_share(source):
    made = batches(source, 8, 0, 2, at_a_time=2, share=pipeline.Share(2, 1, 1))
    assert [view.shape for view in made.element_spec["views"]] == [[4, 8, 8, 3]]
    assert [batch["position"].numpy().tolist() for batch in made] == [[4, 5, 6, 7], [12, 13, 14, 15]]


def test_randaugment_goes_on_bit_for_bit_and_on_any_number_of_replicas():
    source = from_arrays(np.random.RandomState(0).randint(0, 256, [COUNT, 12, 9, 3], np.uint8)).train
    policy = FinetuneConfig(augment="randaugment", randaugment_layers=1)  # each takes half a second to trace
    whole = [batch["views"][0].numpy() for batch in batches(source, 6, 0, 3, policy=policy)]
    (resumed,) = batches(source, 6, 2, 3, policy=policy)
    np.testing.assert_array_equal(resumed["views"][0], whole[2])
    parts = [batch["views"][0] for batch in batches(source, 6, 0, 3, policy=policy, share=pipeline.Share(2, 0, 2))]
    np.testing.assert_allclose(np.concatenate(parts), np.concatenate(whole), atol=1e-6)


@pytest.mark.parametrize("change", [{"seed": 4}, {"stream": pipeline.LABELLED_STREAM}], ids=["seed", "stream"])
def test_seed_and_stream_change_order_and_views(source, reference, change):
    other = rows(source, COUNT, 0, 1, **change)
    assert [row[0] for row in other.values()] != [reference[position][0] for position in range(COUNT)]
    by_example = {example: views for example, _, views in other.values()}
    for position in range(COUNT):
        example, _, views = reference[position]
        assert np.abs(by_example[example] - views).max() > 0.01


def test_a_view_is_made_from_the_image_it_names(source):
    """A view of the whole image has the mean of the image."""
    for example, _, views in rows(source, COUNT, 0, 1, policy=WHOLE, spec=ModelConfig(image_size=32, channels=3)).values():
        image = source.images[example] if source.images is not None else np.asarray(Image.open(source.encoded[example]))
        np.testing.assert_allclose(views[0].mean(axis=(0, 1)), image.mean(axis=(0, 1)) / 255, atol=0.03)


def test_grey_views_of_colour_images_without_labels(source):
    grey = ModelConfig(image_size=8, channels=1)
    (batch,) = batches(source.without_labels(), 4, 0, 1, policy=WHOLE, spec=grey)
    assert sorted(batch) == ["example", "position", "views"]
    assert batch["views"][0].shape == [4, 8, 8, 1]
    (plain,) = pipeline.plain_batches(source, spec=grey, batch_size=COUNT)
    assert plain.shape == [COUNT, 8, 8, 1]


def test_plain_batches_are_all_images_once_in_order(source):
    found = list(pipeline.plain_batches(source, spec=SPEC, batch_size=4))
    assert [len(batch) for batch in found] == [4, 4, 2]
    images = np.concatenate(found)
    for number in range(COUNT):
        image = source.images[number] if source.images is not None else np.asarray(Image.open(source.encoded[number]))
        np.testing.assert_allclose(images[number], decode.resize_to_square(image, 8), atol=1e-6)


def test_views_are_traced_once_for_settings_of_views_that_are_alike(source, monkeypatch):
    """Not for every data set; and what differs in the settings of the views is not mixed up."""
    made = []
    module, name = (by_lines, "make_views") if source.images is not None else (on_host, "_make_one")
    real = getattr(module, name)
    monkeypatch.setattr(module, name, lambda *arguments, **settings: (made.append(settings), real(*arguments, **settings))[1])
    views = []
    for policy, traced in ((WHOLE, 1), (dataclasses.replace(WHOLE, learning_rate=0.5, steps=3), 1), (CROPS, 2), (WHOLE, 2)):
        (batch,) = batches(source, 5, 0, 1, policy=policy)
        views.append(batch["views"][0])
        assert len(made) == traced
    assert [np.array_equal(view, views[0]) for view in views] == [True, True, False, True]
