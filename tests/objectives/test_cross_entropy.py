import numpy as np
import oracles
import pytest
import tensorflow as tf

from tf_simclr.objectives.cross_entropy import distillation, supervised

RNG = np.random.default_rng(0)
TEACHER, STUDENT = RNG.normal(size=(4, 3)), RNG.normal(size=(4, 3))


@pytest.mark.parametrize("temperature", [0.1, 1.0, 4.0])
def test_distillation_equals_loops(temperature):
    losses = distillation(TEACHER, STUDENT, temperature)
    np.testing.assert_allclose(tf.reduce_mean(losses), oracles.distillation(TEACHER, STUDENT, temperature), rtol=1e-5)


def test_supervised_equals_loops():
    labels = [2, 0, 1, 1]
    np.testing.assert_allclose(tf.reduce_mean(supervised(labels, STUDENT)), oracles.cross_entropy(labels, STUDENT), rtol=1e-6)


def test_both_compute_in_float32():
    half = tf.cast(STUDENT, tf.float16)
    assert supervised([2, 0, 1, 1], half).dtype == distillation(half, half, 0.5).dtype == tf.float32
    np.testing.assert_array_equal(supervised([2, 0, 1, 1], half), supervised([2, 0, 1, 1], tf.cast(half, tf.float32)))


def test_no_gradient_reaches_the_teacher():
    teacher, student = tf.constant(TEACHER), tf.constant(STUDENT)
    with tf.GradientTape() as tape:
        tape.watch([teacher, student])
        loss = distillation(teacher, student, 0.5)
    for_teacher, for_student = tape.gradient(loss, [teacher, student])
    assert for_teacher is None and np.any(for_student)
