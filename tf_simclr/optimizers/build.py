"""From settings to an optimizer with its schedule and masks."""

import re

import tensorflow as tf

from tf_simclr.errors import UsageError
from tf_simclr.optimizers.adamw import AdamW
from tf_simclr.optimizers.lars import LARS
from tf_simclr.optimizers.masks import classifier_kernels, undecayed
from tf_simclr.optimizers.schedules import WarmupCosine, scaled_rate
from tf_simclr.optimizers.sgd import SGD


def _lars(rate, fit, network):
    def positions(variables):
        chosen = {v.ref() for v in variables}
        return [i for i, v in enumerate(network.trainable_variables) if v.ref() in chosen]

    masks = {"undecayed": positions(undecayed(network)), "unadapted": positions(classifier_kernels(network))}
    return LARS(rate, momentum=fit.momentum, weight_decay=fit.weight_decay, **masks)


def _sgd(rate, fit, network):
    optimizer = SGD(rate, momentum=fit.momentum, nesterov=True, weight_decay=fit.weight_decay or None)
    optimizer.exclude_from_weight_decay(var_list=undecayed(network))
    return optimizer


def _adamw(rate, fit, network):
    optimizer = AdamW(rate, weight_decay=fit.weight_decay)
    optimizer.exclude_from_weight_decay(var_list=undecayed(network))
    return optimizer


def check_optimizer(fit):
    """Raises UsageError for an optimizer whose package is missing."""
    if fit.optimizer == "lamb":
        _addons()


def _addons():
    try:
        import tensorflow_addons
    except ImportError:
        raise UsageError(
            "optimizer lamb needs tensorflow-addons, which exists for Python 3.9-3.11 with TensorFlow 2.15 only;"
            " it is not installed here; use --optimizer=lars, or that environment"
        ) from None
    return tensorflow_addons


def _lamb(rate, fit, network):
    # Addons matches exclusions by regular expression over names; these are the exact ones of the variables of our roles, on any replica.
    def names(variables):
        return [rf"^{re.escape(v.name.split(':')[0])}(/replica_\d+)?:0$" for v in variables]

    left, alone = names(undecayed(network)), names(classifier_kernels(network))
    masks = {"exclude_from_weight_decay": left, "exclude_from_layer_adaptation": left + alone}
    optimizer = _addons().optimizers.LAMB(rate, weight_decay=fit.weight_decay, **masks)
    optimizer.build = optimizer._create_all_weights  # the name of this step in Keras' older optimizers, of which Addons' are
    return optimizer


_RULES = {"lars": _lars, "sgd": _sgd, "adamw": _adamw, "lamb": _lamb}


def build(network, fit, total_steps):
    """The optimizer for one stretch of training.

    Args:
      network: a built `Network`; its layers' roles give the masks.
      fit: a `FitConfig`.
      total_steps: length of the schedule.

    Returns:
      A Keras optimizer; for a network that computes in float16 one that scales the loss. Raises UsageError when its package is missing.
    """
    peak = scaled_rate(fit.learning_rate, fit.lr_scaling, fit.batch_size)
    schedule = WarmupCosine(peak, total_steps, round(fit.warmup * total_steps))
    optimizer = _RULES[fit.optimizer](schedule, fit, network)
    return tf.keras.mixed_precision.LossScaleOptimizer(optimizer) if network.compute_dtype == "float16" else optimizer
