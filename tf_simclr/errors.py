"""Errors that a user can mend: one line, said before any training."""


class UsageError(ValueError):
    """A setting, file or run directory that cannot be used; the command line exits with 2.

    The message says what was required, what was received and what to do, on one line.
    """
