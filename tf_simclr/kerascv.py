"""KerasCV, which takes seconds to load: only for whom it is needed, and without a word."""

import contextlib
import io
import os


def load():
    """The module `keras_cv`. The package beneath it would say its backend on stdout, and write a file to remember it."""
    os.environ["KERAS_BACKEND"] = "tensorflow"
    with contextlib.redirect_stdout(io.StringIO()):
        import keras_cv
    return keras_cv
