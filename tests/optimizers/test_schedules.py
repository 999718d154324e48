import numpy as np
import pytest
import tensorflow as tf

from tf_simclr.optimizers.schedules import WarmupCosine, scaled_rate


def test_values_at_the_corners():
    schedule = WarmupCosine(2.0, total_steps=110, warmup_steps=10)
    expected = {0: 0.0, 5: 1.0, 10: 2.0, 35: 1.0 + np.sqrt(0.5), 60: 1.0, 85: 1.0 - np.sqrt(0.5), 110: 0.0, 500: 0.0}
    for step, rate in expected.items():
        np.testing.assert_allclose(schedule(step), rate, atol=1e-6)


def test_without_warm_up_it_starts_at_the_peak():
    assert WarmupCosine(3.0, total_steps=10)(tf.constant(0, tf.int64)) == 3.0


def test_round_trip():
    schedule = WarmupCosine(2.0, total_steps=110, warmup_steps=10)
    copy = tf.keras.optimizers.schedules.deserialize(tf.keras.optimizers.schedules.serialize(schedule))
    assert isinstance(copy, WarmupCosine) and copy.get_config() == schedule.get_config()


@pytest.mark.parametrize("scaling, rate", [("none", 0.1), ("linear", 0.2), ("sqrt", 0.1 * np.sqrt(512))])
def test_scaled_rate(scaling, rate):
    np.testing.assert_allclose(scaled_rate(0.1, scaling, 512), rate)
