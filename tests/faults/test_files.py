"""R2, R6, R7: the files of a save, with and without a disk that works. No TensorFlow where it is not needed."""

import errno
import functools
import os
import resource
import shutil
import signal

import problem
import pytest

from tf_simclr import durable
from tf_simclr.errors import StorageError

OPERATIONS = ((os, "fsync"), (os, "replace"), (os, "open"), (shutil, "rmtree"))


class Died(BaseException):
    """The process is gone: nobody catches this."""


def save(directory, name, content):
    """What a checkpoint does: files, then the seal, then the older ones go."""
    target = directory / name
    if target.exists():
        durable.remove(target)
    target.mkdir()
    for part in ("data", "index"):
        (target / part).write_bytes(content + part.encode())
    durable.seal(target, {"step": name})
    for other in durable.sealed_below(directory)[:-1]:
        durable.remove(other)


def newest(directory):
    """The content that a reader would restore."""
    for path in reversed(durable.sealed_below(directory)):
        durable.check(path)
        return (path / "data").read_bytes()


def die_at(monkeypatch, number):
    """Makes the `number`-th file operation the last one; returns the counter."""
    count = [0]

    def guard(real):
        def operation(*args, **kwargs):
            count[0] += 1
            if count[0] == number:
                raise Died
            return real(*args, **kwargs)

        return operation

    for owner, name in OPERATIONS:
        monkeypatch.setattr(owner, name, guard(getattr(owner, name)))
    real = os.unlink
    monkeypatch.setattr("pathlib.Path.unlink", lambda self, missing_ok=False: guard(real)(self) if self.exists() else None)
    return count


@pytest.mark.fault("R2")
def test_a_save_that_dies_leaves_the_old_state_or_the_new_one(tmp_path, outcome):
    seen, operations = set(), 1000
    number = 0
    while number < operations:
        number += 1
        home = tmp_path / str(number)
        home.mkdir()
        save(home, "step-1", b"old ")
        with pytest.MonkeyPatch.context() as patched:
            count = die_at(patched, number)
            try:
                save(home, "step-2", b"new ")
                operations = count[0]
            except Died:
                pass
        state = newest(home)
        assert state in (b"old data", b"new data"), f"operation {number}"
        seen.add(state)
        # Whatever was left, the next save works.
        save(home, "step-2", b"new ")
        assert newest(home) == b"new data" and [path.name for path in durable.sealed_below(home)] == ["step-2"]
    assert seen == {b"old data", b"new data"} and operations > 10
    outcome(f"died at each of {operations} file operations: old or new state every time")


def test_a_text_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "config.json"
    durable.write_text(path, "old")
    for number in range(1, 6):
        with pytest.MonkeyPatch.context() as patched:
            die_at(patched, number)
            try:
                durable.write_text(path, "new")
            except Died:
                pass
        assert path.read_text() in ("old", "new")
    assert path.read_text() == "new"


def test_attempts_have_a_bound_and_a_full_disk_is_not_waited_for(monkeypatch):
    pauses = []
    monkeypatch.setattr("tf_simclr.durable.time.sleep", pauses.append)
    failures = [OSError(errno.EIO, "Input/output error")] * 2

    def flaky():
        if failures:
            raise failures.pop()
        return "written"

    assert durable.attempt(flaky, "file") == "written" and len(pauses) == 2

    def broken(number):
        raise OSError(number, os.strerror(number))

    for number, expected in ((errno.EIO, 3), (errno.ENOSPC, 0)):
        pauses.clear()
        with pytest.raises(StorageError, match="file could not be written"):
            durable.attempt(functools.partial(broken, number), "file")
        assert len(pauses) == expected


@pytest.mark.fault("R7")
@pytest.mark.slow
def test_storage_that_fails_for_a_while_and_for_good(data, undisturbed, tmp_path, outcome):
    assert problem.run(problem.flags(data, tmp_path / "run", "pretrain"), "eio:2").returncode == 0
    problem.assert_same(problem.state(undisturbed / "pretrain"), problem.state(tmp_path / "run"))
    done = problem.run(problem.flags(data, tmp_path / "broken", "pretrain"), "eio:1000")
    assert done.returncode == StorageError.exit_code and "Input/output error" in done.stderr and "Traceback" not in done.stderr
    assert done.stderr.count("trying again") == 3
    assert problem.run(problem.flags(data, tmp_path / "broken", "pretrain")).returncode == 0
    problem.assert_same(problem.state(undisturbed / "pretrain"), problem.state(tmp_path / "broken"))
    outcome("two failures: retried, same result; permanent: exit 4 after 4 attempts, then finished with the same result")


def test_a_disk_too_small_is_noticed_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr("tf_simclr.durable.shutil.disk_usage", lambda path: shutil._ntuple_diskusage(100, 90, 10))
    with pytest.raises(StorageError, match="needs 5,000 bytes .* has 10 free"):
        durable.need_space(tmp_path, 5000)


@pytest.mark.fault("R6")
@pytest.mark.slow
def test_a_disk_that_fills_up_during_a_save(data, undisturbed, tmp_path, outcome):
    """The disk is a limit on file size, which every user can set: writes fail half way through, as on a full disk."""
    arguments = problem.flags(data, tmp_path / "run", "pretrain")
    assert problem.run(arguments, "step:7").returncode == -9
    saved = problem.committed(tmp_path / "run")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    line, environment = problem.command(arguments)

    def small_disk():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))

    done = problem.subprocess.run(line, env=environment, capture_output=True, text=True, preexec_fn=small_disk, timeout=300)
    assert done.returncode == StorageError.exit_code and "Traceback" not in done.stderr, done.stderr[-2000:]
    assert problem.committed(tmp_path / "run") == saved
    problem.state(tmp_path / "run")  # the old one loads
    assert problem.run(arguments).returncode == 0
    problem.assert_same(problem.state(undisturbed / "pretrain"), problem.state(tmp_path / "run"))
    outcome("exit 4; the old checkpoint loads; with room again the run ends identical")
