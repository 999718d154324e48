"""Cross-entropy on labels and on a teacher's probabilities (paper, section 2, equations 2 and 3)."""

import tensorflow as tf


def supervised(labels, logits):
    """Cross-entropy per example.

    Args:
      labels: int [B].
      logits: float [B, K].

    Returns:
      float32 [B], in nats.
    """
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, tf.cast(logits, tf.float32))


def distillation(teacher_logits, student_logits, temperature):
    """`-Σ_y P_T(y|x;τ) log P_S(y|x;τ)` per example (equation 2); no gradient reaches the teacher.

    Args:
      teacher_logits, student_logits: float [B, K].
      temperature: τ > 0, of both softmaxes.

    Returns:
      float32 [B], in nats.
    """
    target = tf.nn.softmax(tf.cast(teacher_logits, tf.float32) / temperature)
    logits = tf.cast(student_logits, tf.float32) / temperature
    return tf.nn.softmax_cross_entropy_with_logits(tf.stop_gradient(target), logits)
