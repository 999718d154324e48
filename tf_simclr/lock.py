"""One writer per run directory: a lock that the kernel drops with its process, so that it is never stale."""

import contextlib
import errno
import fcntl
import json
import os
import pathlib
import socket
import time

from absl import logging

from tf_simclr.errors import UsageError

NAME = "lock.json"
_held = {}  # resolved path: descriptor


@contextlib.contextmanager
def writing():
    """Releases, at its end, the locks that were taken inside of it."""
    before = set(_held)
    try:
        yield
    finally:
        for path in set(_held) - before:
            os.ftruncate(_held[path], 0)  # no owner: the next one takes over from nobody
            os.close(_held.pop(path))


def acquire(directory):
    """Makes this process the directory's writer until the `writing` around it ends, or the process does.

    The file names host and process for people; what counts is the kernel's lock on it.

    Raises:
      UsageError: another process writes there; names it. Or this one cannot.
    """
    path = pathlib.Path(directory).resolve() / NAME
    if path in _held:
        return
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        raise UsageError(f"a run directory must be one to write to, got {directory} ({error.strerror}); use a copy of it") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            owner = _owner(descriptor)
            os.close(descriptor)
            raise UsageError(f"a run directory has one writer, but {directory} is written by {owner}; wait for it, or stop it") from None
        logging.warning("%s cannot be locked (%s): see to it that no other process writes there", directory, error.strerror)
    else:
        previous = _owner(descriptor)
        if previous:
            logging.info("taking %s over from %s, which is gone", directory, previous)
    os.ftruncate(descriptor, 0)
    me = {"host": socket.gethostname(), "process": os.getpid(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
    os.pwrite(descriptor, (json.dumps(me) + "\n").encode(), 0)
    _held[path] = descriptor


def _owner(descriptor):
    """The process that a lock file names, in words; empty where it names none."""
    try:
        owner = json.loads(os.pread(descriptor, 1000, 0))
        return f"process {owner['process']} on {owner['host']} since {owner['since']}"
    except (ValueError, TypeError, KeyError):
        return ""
