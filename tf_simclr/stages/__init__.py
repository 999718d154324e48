"""The stages of the procedure, one file each, every one a `run(config, data)` that returns a JSON-able result."""

import importlib

from tf_simclr import lock
from tf_simclr.combinations import check_given


def run(config, data=None):
    """Runs one stage: what the command line does, as one call.

    Running it again with the same settings goes on where it stopped; a finished run returns its recorded result. A Keras
    policy, seeds and earlier runs of the process do not change what it computes, and the policy and TensorFlow's seed are afterwards
    what they were. One run at a time: another thread's call waits. Meanwhile no other thread should trace a `tf.custom_gradient`, since
    what TensorFlow keeps of those is dropped at the end.

    Args:
      config: a `tf_simclr.Config`; `config.stage` says what to do.
      data: a `tf_simclr.data.Data` (see `from_arrays`, `from_dataset`); None loads what `config.data` names.

    Returns:
      dict, the result that the run directory's `done.json` holds; every stage's module says what is in it.

    Raises:
      UsageError: settings, data or directories that cannot be used, before anything is trained; or a strategy's scope around the call.
      NotFiniteError, StorageError, WorkerLostError: see `errors`; what was saved before is whole.
    """
    check_given(config, data)
    from tf_simclr.stages import precision, process, replicas  # here, as they load TensorFlow

    with process.to_itself():
        config = precision.resolved(config)
        replicas.connect(config)
        stage = importlib.import_module(f"tf_simclr.stages.{config.stage}")
        with lock.writing(), replicas.losses_named():
            return stage.run(config, data)
