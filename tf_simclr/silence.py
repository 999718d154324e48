"""For native code that says on standard error what no user can act on."""

import contextlib
import functools
import os
import sys


@contextlib.contextmanager
def silence():
    """Nothing reaches standard error within, if the process has one. What fails must be an exception as well."""
    if sys.stderr is None:  # closed by whoever started the process; its number may be another file's by now
        yield
        return
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(kept, 2)
        os.close(kept)


@functools.cache
def hush_compiler():
    """Has XLA compile something, since at the first time in a process it says that it did, whatever is to be logged."""
    import tensorflow as tf

    with silence(), tf.init_scope(), tf.device("CPU:0"):
        tf.function(tf.identity, jit_compile=True)(0.0)
