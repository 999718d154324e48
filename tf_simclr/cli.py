"""The command line: arguments become a `Config`, a stage runs it, errors become one line and an exit code.

Nothing loads TensorFlow before the settings are known to be good: `--help` and a mistyped flag answer at once.
"""

import contextlib
import errno
import gc
import importlib
import os
import shutil
import sys
import traceback
import warnings
from logging import INFO, Formatter

import tf_simclr
from tf_simclr import interruption
from tf_simclr.cli_flags import overruled, read, to_config
from tf_simclr.errors import Interrupted, NotFiniteError, StorageError, UsageError, WorkerLostError
from tf_simclr.silence import silence


def parse(argv):
    """The settings that a list of arguments stands for; nothing is started and nothing global changes.

    Args:
      argv: list of str without the program's name, for example `["--stage=pretrain", "--depth=10"]`.

    Returns:
      A validated `tf_simclr.Config`.

    Raises:
      UsageError: for an unknown flag, a value outside its type, choices or bounds, a flag that the stage does not take, a
        positional argument, or a flag file that cannot be read.
    """
    return to_config(read(argv))


def prepare(debug=False):
    """Loads TensorFlow, which it makes quiet, and makes our own log visible."""
    # 2.15 reports harmless "errors" about CUDA plugins at every start; what really fails is an exception as well.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "0" if debug else "3")
    # Addons announces its end of life at every import; the lock files pin the last release on purpose.
    warnings.filterwarnings("ignore", message=r"\s*TensorFlow Addons")
    # TensorFlow 2.20 and later; its successor is another package.
    warnings.filterwarnings("ignore", message=r"\s*tf\.lite\.Interpreter is deprecated")
    # Pictures with class names in a script that matplotlib's font lacks: one warning for every letter.
    warnings.filterwarnings("ignore", message=r"Glyph \d+ .* missing from")
    # Imported here because absl's logging defines flags of its own in the global FLAGS.
    from absl import flags, logging

    flags.FLAGS.mark_as_parsed()  # else the first line of the log complains that it comes before flag parsing
    logging.use_absl_handler()
    logging.get_absl_handler().setFormatter(Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    # TensorFlow logs through absl too; of what it says, only warnings are for our users.
    ours = os.path.dirname(os.path.abspath(__file__))
    logging.get_absl_handler().python_handler.addFilter(lambda r: r.levelno > INFO or r.pathname.startswith(ours))
    logging.set_verbosity(logging.INFO)
    logging.set_stderrthreshold(logging.INFO)
    if "tensorflow" not in sys.modules:
        _load_tensorflow(contextlib.nullcontext() if debug else silence())


def _load_tensorflow(quietly):
    """Imports it, and excepts all objects so far from the search for garbage: they stay, and searching them takes a third of the import,
    and again at the end of the process."""
    gc.disable()
    try:
        with quietly:  # 2.21 speaks of processors and drivers before it reads how much it may log
            importlib.import_module("tensorflow")
    finally:
        gc.enable()
    gc.freeze()


def _complain(message):
    print(f"tf-simclr: error: {' '.join(message.split())}", file=sys.stderr)


def _show(text):
    try:
        print(text, flush=True)
    except BrokenPipeError:  # `--help | head`: the reader has seen enough; Python must not try again when it ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def main(argv=None):
    """Runs one command.

    Args:
      argv: list of str without the program's name; None takes those of the process.

    Returns:
      The exit code: 0 done, or a demo that was told to stop; 1 an unforeseen error; 2 settings, data or directories that cannot be used;
      3 NaN or infinity; 4 storage; 42 run the same command again: stopped by SIGTERM or SIGINT with everything saved, or another worker
      is gone; 130 interrupted by a second signal.
    """
    debug = False
    try:
        values = read(sys.argv[1:] if argv is None else list(argv))
        debug = values["debug"].value
        if values["help"].value:
            from tf_simclr.cli_help import help_text

            _show(help_text(min(max(shutil.get_terminal_size((100, 24)).columns, 80), 120)))
            return 0
        if values["version"].value:
            _show(f"tf-simclr {tf_simclr.__version__}")
            return 0
        config = to_config(values)
        prepare(debug)
        from absl import logging

        from tf_simclr.stages import run

        for line in overruled(values):
            logging.warning("%s", line)

        with interruption.heeding():
            run(config)
        return 0
    except Interrupted as signal:
        print(f"tf-simclr: stopped by {signal}; run the same command to go on", file=sys.stderr)
        return signal.exit_code
    except KeyboardInterrupt:
        print("tf-simclr: interrupted", file=sys.stderr)
        return 130
    except (UsageError, NotFiniteError, StorageError, WorkerLostError) as error:
        if debug:
            traceback.print_exc()
        _complain(str(error))
        return error.exit_code
    except Exception as error:  # the edge of the program: everything unforeseen becomes one line
        if debug:
            traceback.print_exc()
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO)
        _complain(f"{type(error).__name__}: {error} (run again with --debug for the traceback)")
        return StorageError.exit_code if full else 1
