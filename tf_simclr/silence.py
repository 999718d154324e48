"""For native code that says on standard error what no user can act on."""

import contextlib
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
