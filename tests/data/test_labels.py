"""MixMatch's label protocol against its own loop, written out here."""

import numpy as np
import pytest

from tf_simclr.config import DataConfig
from tf_simclr.data.holdout import hold_out
from tf_simclr.data.labels import draw_labels
from tf_simclr.data.source import as_source
from tf_simclr.errors import UsageError

LABELS = np.random.RandomState(7).permutation(np.repeat(np.arange(5), 40))
PIXELS = np.random.RandomState(8).randint(0, 256, [12, 2, 2], np.uint8)


def protocol(labels, classes, count, seed):
    """Seed NumPy's global generator, shuffle every class's list in order, then deal round and round."""
    lists = [[i for i, label in enumerate(labels) if label == c] for c in range(classes)]
    np.random.seed(seed)
    for members in lists:
        np.random.shuffle(members)
    chosen, turn = [], 0
    while len(chosen) < count:
        chosen.append(lists[turn % classes][turn // classes])
        turn += 1
    return chosen


def draw(labels=LABELS, classes=5, **settings):
    return draw_labels(labels, [str(i) for i in range(classes)], DataConfig(**settings))


@pytest.mark.parametrize("seed", [0, 1, 5])
@pytest.mark.parametrize("per_class", [1, 7, 40])
def test_the_draw_is_that_of_the_protocol(seed, per_class):
    np.testing.assert_array_equal(draw(labels_per_class=per_class, label_seed=seed), protocol(LABELS, 5, 5 * per_class, seed))


def test_a_count_that_is_no_multiple_of_the_classes_leaves_a_round_unfinished():
    chosen = draw(num_labels=23)
    np.testing.assert_array_equal(chosen, protocol(LABELS, 5, 23, 1))
    np.testing.assert_array_equal(np.bincount(LABELS[chosen]), [5, 5, 5, 4, 4])


def test_subsets_are_balanced_nested_and_differ_between_seeds():
    small, large = draw(num_labels=25), draw(num_labels=100)
    np.testing.assert_array_equal(large[:25], small)
    np.testing.assert_array_equal(np.bincount(LABELS[large]), [20] * 5)
    assert len(set(large)) == 100 and small.dtype == np.int64
    assert set(draw(num_labels=25, label_seed=2)) != set(small)


def test_the_global_generator_is_left_alone():
    np.random.seed(3)
    expected = np.random.rand()
    np.random.seed(3)
    draw(num_labels=25)
    assert np.random.rand() == expected


@pytest.mark.parametrize(("fraction", "count"), [(0.1, 20), (0.001, 5), (0.5, 100), (0.13, 25), (1.0, 200), (0.0, 200)])
def test_fractions_are_rounded_to_whole_classes(fraction, count):
    assert len(draw(label_fraction=fraction)) == count


def test_without_a_limit_all_labels_in_their_own_order():
    np.testing.assert_array_equal(draw(), np.arange(200))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"labels_per_class": 41}, "41 labels of every class .* got 40 images of class 0"),
        ({"num_labels": 4}, "at least the number of classes, 5, got 4"),
    ],
)
def test_impossible_counts_are_refused(settings, message):
    with pytest.raises(UsageError, match=message):
        draw(**settings)


def test_images_without_labels_are_refused():
    with pytest.raises(UsageError, match="without labels"):
        draw(labels=None, num_labels=10)


def test_a_hold_out_is_stratified_disjoint_and_always_the_same():
    images = np.arange(200, dtype=np.uint8)[:, None, None]
    source = as_source(images, LABELS)
    first, second = hold_out(source, 0.125), hold_out(source, 0.125)
    np.testing.assert_array_equal(np.bincount(first.evaluation.labels), [5] * 5)
    np.testing.assert_array_equal(np.bincount(first.train.labels), [35] * 5)
    kept, held = first.train.images.ravel(), first.evaluation.images.ravel()
    assert sorted([*kept, *held]) == list(range(200))
    np.testing.assert_array_equal(LABELS[held], first.evaluation.labels)
    np.testing.assert_array_equal(held, second.evaluation.images.ravel())


def test_a_hold_out_leaves_an_image_of_every_class_on_both_sides():
    source = as_source(PIXELS[:4], [0, 0, 1, 1])
    for fraction in (0.01, 0.9):
        data = hold_out(source, fraction)
        assert set(data.train.labels) == set(data.evaluation.labels) == {0, 1}


@pytest.mark.parametrize(("labels", "message"), [(None, "without labels"), ([0, 0, 1], "needs at least 2 .* got 1 of class 1")])
def test_an_impossible_hold_out_is_refused(labels, message):
    with pytest.raises(UsageError, match=message):
        hold_out(as_source(PIXELS[:3], labels), 0.5)


def test_copies_of_a_held_out_image_are_held_out_with_it():
    source = as_source(np.concatenate([PIXELS] * 2), [0] * 6 + [1] * 6 + [0] * 3 + [-1] * 3 + [1] * 6)
    data = hold_out(source, 0.3)
    held, kept = ({image.tobytes() for image in part.images[part.labels >= 0]} for part in (data.evaluation, data.train))
    assert held and kept and not held & kept and min(data.evaluation.labels) == 0
    assert len(data.train) + len(data.evaluation) == 24
    with pytest.raises(UsageError, match="at least 2 different images of every class, got 2 of class 1"):
        hold_out(as_source(PIXELS[[0, 1, 2, 2]], [0, 0, 1, 1]), 0.5)


def test_images_without_a_label_are_not_drawn():
    labels = np.where(np.arange(200) % 2, LABELS, -1)
    assert (labels[draw(labels)] >= 0).all() and len(draw(labels)) == 100
    np.testing.assert_array_equal(np.bincount(labels[draw(labels, label_fraction=0.1)]), [2] * 5)
