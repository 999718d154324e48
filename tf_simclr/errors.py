"""What can stop a run, each with its exit code and a message of one line that says what was required, what was received, what to do."""


class UsageError(ValueError):
    """A setting, file or run directory that cannot be used, said before any training."""

    exit_code = 2


class NotFiniteError(ArithmeticError):
    """NaN or infinity in a loss or gradient. Nothing was updated by it; the last checkpoint is the last good one."""

    exit_code = 3


class StorageError(OSError):
    """Files could not be written, also not after some attempts. Checkpoints from before are whole."""

    exit_code = 4


class WorkerLostError(ConnectionError):
    """Another worker is gone. The last checkpoint stands; all workers start again with the same command."""

    exit_code = 42


class Interrupted(KeyboardInterrupt):
    """SIGTERM or SIGINT was heeded: what was done is saved, and the same command goes on from there."""

    exit_code = 42
