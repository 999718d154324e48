"""Learning-rate scaling and the warm-up + cosine schedule (paper, appendix B.1)."""

import math

import tensorflow as tf


def scaled_rate(learning_rate, scaling, batch_size):
    """The peak rate for a batch: none (as given), linear (times batch/256), sqrt (times the root of the batch)."""
    return learning_rate * {"none": 1.0, "linear": batch_size / 256.0, "sqrt": math.sqrt(batch_size)}[scaling]


@tf.keras.utils.register_keras_serializable("tf_simclr")
class WarmupCosine(tf.keras.optimizers.schedules.LearningRateSchedule):
    """Linear from 0 to the peak over `warmup_steps`, then half a cosine to 0 at `total_steps`.

    Args:
      peak: the highest rate.
      total_steps: length of the whole schedule, ≥ 1.
      warmup_steps: steps before the peak, 0 to `total_steps`.
    """

    def __init__(self, peak, total_steps, warmup_steps=0):
        super().__init__()
        self.peak, self.total_steps, self.warmup_steps = peak, total_steps, warmup_steps

    def __call__(self, step):
        step = tf.cast(step, tf.float32)
        warming = self.peak * step / max(self.warmup_steps, 1)
        progress = (step - self.warmup_steps) / max(self.total_steps - self.warmup_steps, 1)
        cooling = 0.5 * self.peak * (1.0 + tf.cos(math.pi * tf.clip_by_value(progress, 0.0, 1.0)))
        return tf.where(step < self.warmup_steps, warming, cooling)

    def get_config(self):
        return {"peak": self.peak, "total_steps": self.total_steps, "warmup_steps": self.warmup_steps}
