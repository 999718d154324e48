"""A run is one call in a process that does other things as well: neither is disturbed by the other, and weights do not pile up."""

import contextlib
import sys
import threading

import tensorflow as tf
from tensorflow.python.distribute import mirrored_run
from tensorflow.python.eager import context
from tensorflow.python.framework import ops

from tf_simclr.errors import UsageError
from tf_simclr.stages.setup import computing_in

_running = threading.RLock()


@contextlib.contextmanager
def to_itself():
    """Within it, layers compute in float32 unless told otherwise, no other thread is within it, and at its end TensorFlow's generators
    are where they were and what it keeps of functions that were traced meanwhile is gone.

    Raises:
      UsageError: this is the scope of a strategy, which decides where variables are and cannot be left.
    """
    if tf.distribute.has_strategy():
        name = type(tf.distribute.get_strategy()).__name__
        raise UsageError(f"a run makes its own strategy (--strategy), but it was called in the scope of a {name}; call it outside of that")
    with _running, computing_in("float32"), _generators_kept(), _functions_dropped():
        yield


@contextlib.contextmanager
def _generators_kept():
    """Python's and NumPy's are kept by `setup.seeded`; TensorFlow's and Keras' seed is to last as long as a run, whose layers may draw."""
    keras = sys.modules[f"{tf.keras.Model.__module__.partition('.')[0]}.src.backend"]._SEED_GENERATOR
    holders = (vars(context.context()), ("_seed", "_rng")), (vars(keras), ("generator",))
    before = [{name: state[name] for name in names if name in state} for state, names in holders]
    try:
        yield
    finally:
        for (state, names), kept in zip(holders, before):
            for name in names:
                state.pop(name, None)
            state.update(kept)


@contextlib.contextmanager
def _functions_dropped():
    """TensorFlow keeps the gradient of every `tf.custom_gradient` that it traced, and every function that ran on mirrored replicas, for
    good, and with them all weights of a training and the slots of its optimizer. Whose a gradient is cannot be told: one that another
    thread traced meanwhile goes as well."""
    gradients, functions = ops.gradient_registry._registry, mirrored_run._cfer_fn_cache
    before = set(gradients), list(functions)
    try:
        yield
    finally:
        for name in set(gradients) - before[0]:
            if name.startswith("CustomGradient-"):
                del gradients[name]
        for strategy in list(functions):
            if not any(strategy is known for known in before[1]):
                del functions[strategy]
