import numpy as np
import pytest
import tensorflow as tf

from tf_simclr.augment.random import threefry, uniform


@pytest.mark.parametrize(
    "key, counter, expected",  # threefry2x32, 20 rounds: the known answers published with Random123
    [
        ((0x00000000, 0x00000000), (0x00000000, 0x00000000), (0x6B200159, 0x99BA4EFE)),
        ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
        ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
    ],
)
def test_threefry_gives_the_published_answers(key, counter, expected):
    words = threefry(*(tuple(tf.constant(word, tf.uint32) for word in pair) for pair in (key, counter)))
    assert tuple(int(word) for word in words) == expected


def test_uniform_is_uniform_and_uncorrelated():
    draws = uniform(1, tf.range(20_000, dtype=tf.int64), 0, 5).numpy()
    assert draws.min() >= 0 and draws.max() < 1
    for column in draws.T:
        # Kolmogorov-Smirnov at a level of about one in ten thousand
        distance = np.abs(np.sort(column) - (np.arange(len(column)) + 0.5) / len(column)).max()
        assert distance < 2.2 / np.sqrt(len(column))
    correlation = np.corrcoef(np.concatenate([draws.T, [draws[1:, 0].tolist() + [0.5]]]))
    assert np.abs(correlation - np.eye(6)).max() < 0.03


def test_a_draw_depends_on_its_own_position_only():
    together = uniform(7, tf.constant([3, 9, 2**40], tf.int64), 1, 7)
    alone = uniform(7, tf.constant([9], tf.int64), 1, 7)
    np.testing.assert_array_equal(together[1], alone[0])
    np.testing.assert_array_equal(tf.function(uniform)(7, tf.constant([9], tf.int64), 1, 7), alone)


def test_seed_view_and_position_each_change_every_draw():
    base = uniform(5, tf.constant([11], tf.int64), 0, 6).numpy()
    # A seed or a position beyond 32 bits' half, or beyond 32 bits, is another one.
    others = [(6, 11, 0), (5, 12, 0), (5, 11, 1), (2**31 + 5, 11, 0), (5, 2**32 + 11, 0), (5, 2**31 + 11, 0)]
    for seed, position, view in others:
        assert not np.any(uniform(seed, tf.constant([position], tf.int64), view, 6).numpy() == base), (seed, position, view)
