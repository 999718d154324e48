"""From settings to an optimizer with its schedule and masks."""

import tensorflow as tf

from tf_simclr.errors import UsageError
from tf_simclr.optimizers.lars import LARS
from tf_simclr.optimizers.masks import plain_variables
from tf_simclr.optimizers.schedules import WarmupCosine, scaled_rate


def _lars(rate, fit, plain):
    optimizer = LARS(rate, momentum=fit.momentum, weight_decay=fit.weight_decay)
    optimizer.exclude(plain)
    return optimizer


def _decoupled(optimizer, fit, plain):
    if fit.weight_decay:
        optimizer.exclude_from_weight_decay(var_list=plain)
    return optimizer


def _sgd(rate, fit, plain):
    optimizer = tf.keras.optimizers.SGD(rate, momentum=fit.momentum, nesterov=True, weight_decay=fit.weight_decay or None)
    return _decoupled(optimizer, fit, plain)


def _adamw(rate, fit, plain):
    return _decoupled(tf.keras.optimizers.AdamW(rate, weight_decay=fit.weight_decay), fit, plain)


def _lamb(rate, fit, plain):
    try:
        import tensorflow_addons as tfa
    except ImportError:
        raise UsageError(
            "optimizer lamb needs tensorflow-addons, which exists for Python 3.9-3.11 with TensorFlow 2.15 only;"
            " it is not installed here; use --optimizer=lars, or that environment"
        ) from None
    # Addons matches exclusions by regular expression over names; the names are exact ones of the variables of our roles.
    names = [f"^{variable.name.split(':')[0]}$" for variable in plain]
    return tfa.optimizers.LAMB(
        rate, weight_decay=fit.weight_decay, exclude_from_weight_decay=names, exclude_from_layer_adaptation=names
    )


_RULES = {"lars": _lars, "sgd": _sgd, "adamw": _adamw, "lamb": _lamb}


def build(network, fit, total_steps):
    """The optimizer for one stretch of training.

    Args:
      network: a built `Network`; its layers' roles give the masks.
      fit: a `FitConfig`.
      total_steps: length of the schedule.

    Returns:
      A Keras optimizer. Raises UsageError when its package is missing.
    """
    peak = scaled_rate(fit.learning_rate, fit.lr_scaling, fit.batch_size)
    schedule = WarmupCosine(peak, total_steps, round(fit.warmup * total_steps))
    return _RULES[fit.optimizer](schedule, fit, plain_variables(network))
