"""Files that survive a crash: written whole or not at all, and checked before they are believed. No TensorFlow here.

A *sealed* directory holds files and a manifest with their sizes and SHA-256. The manifest is written last, in one step, and taken
away first: a directory without one was never finished, and a directory whose files are not as the manifest says is damaged.
"""

import contextlib
import errno
import hashlib
import json
import os
import pathlib
import shutil
import time

from absl import logging

from tf_simclr.errors import StorageError

MANIFEST = "manifest.json"
PAUSES = (0.5, 1.0, 2.0)  # seconds before every further attempt
_PART = ".part"


class DamagedError(Exception):
    """A sealed directory is not what its manifest says; the message says where."""


def write_text(path, text):
    """`write_bytes` of a text in UTF-8."""
    write_bytes(path, text.encode())


def write_bytes(path, content):
    """Replaces a file in one step: a reader, also after a crash, finds the old content or the new one."""
    with replacing(path) as file:
        file.write(content)


@contextlib.contextmanager
def replacing(path):
    """As `write_bytes`, of a content that is written piece by piece: yields the binary file. With an exception, nothing was written."""
    path = pathlib.Path(path)
    part = path.with_name(path.name + _PART)
    try:
        with open(part, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    sync(path.parent)


def write_json(path, value):
    """`write_text` of a JSON-able value."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def seal(directory, facts):
    """Makes a directory's files durable and commits them by a manifest.

    Args:
      directory: holds files, or directories of them.
      facts: JSON-able dict, kept in the manifest beside `files`.
    """
    directory, files = pathlib.Path(directory), {}
    for path in sorted(directory.rglob("*")):
        sync(path)
        if path.is_file():
            files[path.relative_to(directory).as_posix()] = {"bytes": path.stat().st_size, "sha256": sha256(path)}
    write_json(directory / MANIFEST, {**facts, "files": files})


def is_sealed(directory):
    """Whether a directory was finished; whether it is still whole, `check` says."""
    return (pathlib.Path(directory) / MANIFEST).exists()


def sealed_below(directory):
    """The sealed directories in a directory, sorted by name; none where there is no such directory."""
    return sorted(path for path in pathlib.Path(directory).glob("*") if path.is_dir() and is_sealed(path))


def check(directory):
    """Compares a sealed directory with its manifest.

    Returns:
      dict, the manifest.

    Raises:
      DamagedError: the manifest cannot be read, or a file is missing or another one.
    """
    directory = pathlib.Path(directory)
    manifest = read_manifest(directory)
    for name, expected in manifest["files"].items():
        path = directory / name
        if not path.is_file():
            raise DamagedError(f"{name} is missing")
        if path.stat().st_size != expected["bytes"]:
            raise DamagedError(f"{name} has {path.stat().st_size} bytes instead of {expected['bytes']}")
        if sha256(path) != expected["sha256"]:
            raise DamagedError(f"{name} has other content than was written")
    return manifest


def read_manifest(directory):
    """The manifest, its files unchecked. Raises DamagedError where it cannot be read."""
    try:
        manifest = json.loads((pathlib.Path(directory) / MANIFEST).read_text(encoding="utf-8"))
        whole = {"bytes", "sha256"}
        if not all(whole <= set(entry) and _is_below(name) for name, entry in manifest["files"].items()):
            raise ValueError("files")
        return manifest
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedError(f"{MANIFEST} cannot be read ({type(error).__name__})") from error


def _is_below(name):
    """Whether a relative path stays in its directory."""
    return not os.path.isabs(name) and ".." not in pathlib.PurePosixPath(name).parts


def remove(directory):
    """Removes a directory, sealed or not; one that is half removed no longer counts as sealed."""
    directory = pathlib.Path(directory)
    (directory / MANIFEST).unlink(missing_ok=True)
    shutil.rmtree(directory)


def attempt(action, what, kinds=(OSError,), pauses=PAUSES):
    """Runs an action that writes files, again after a pause where storage fails; what it does must bear repetition.

    Args:
      action: called without arguments.
      what: what is being written, for messages.
      kinds: the exceptions that storage raises.
      pauses: seconds before every further attempt.

    Returns:
      What the action returns.

    Raises:
      StorageError: no attempt succeeded, or the disk is full, where waiting would not help.
    """
    for pause in (*pauses, None):
        try:
            return action()
        except StorageError:
            raise
        except kinds as error:
            reason = str(error).partition("\n")[0]
            if pause is None or getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
                raise StorageError(
                    f"{what} could not be written ({reason}); what was saved before is whole: mend the storage and run the command again"
                ) from error
            logging.warning("%s could not be written (%s); trying again in %.1f s", what, reason, pause)
            time.sleep(pause)


def need_space(directory, needed):
    """Raises StorageError where a disk has fewer than `needed` bytes free."""
    free = shutil.disk_usage(directory).free
    if free < needed:
        raise StorageError(f"saving needs {needed:,} bytes in {directory}, which has {free:,} free; make room and run the command again")


def sha256(path):
    """SHA-256 of a file's content, hexadecimal text."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def sync(path):
    """Makes a file or a directory durable. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
