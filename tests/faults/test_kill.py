"""R1: SIGKILL at twenty moments. One run is killed again and again, and ends as the run that nothing happened to."""

import itertools
import random
import time

import problem
import pytest

# Points of `driver`, with how often each is passed before it kills. A stage's config.json and contents.bin are one replace and two syncs
# each (file and directory); a save of it is write, written, sync of two files, of the manifest, replace, replaced, sync of the
# directory, remove.
MOMENTS = (
    [f"pretrain/{point}" for point in ("step:2", "write:1", "written:1", "sync:3", "sync:5", "replace:2", "replaced:2", "write:1")]
    + [f"pretrain/{point}" for point in ("replaced:3", "remove:1", "finish:1")]
    + [f"finetune_1/{point}" for point in ("step:5", "written:2", "sync:6", "finish:1")]
    + [f"self_distill_1/{point}" for point in ("step:1", "replace:3", "step:7", "finish:1", "export:1")]
)


def kill_again_and_again(arguments, runs, log, moments):
    """Kills a command at every moment, then lets it end. Asserts that its runs lose no committed checkpoint and do little twice."""
    redone = 0
    for crash in [*moments, None]:
        earlier, saved = problem.updates(log), {run: problem.committed(run) for run in runs}
        last = dict(earlier)
        done = problem.run(arguments, crash, log)
        assert done.returncode == (0 if crash is None else -9), f"{crash}: exit {done.returncode}: {done.stderr[-2000:]}"
        for run, steps in saved.items():
            assert not steps or max(problem.committed(run)) >= max(steps), f"{crash}: {run.name} lost {steps}"
        made = problem.updates(log)[len(earlier) :]
        for stage, steps in itertools.groupby(made, key=lambda update: update[0]):
            again = last.get(stage, 0) - next(steps)[1] + 1
            assert again <= problem.EVERY, f"{crash}: {stage} did {again} steps again"
            redone += max(0, again)
    return redone


def check_against(undisturbed, run_dir, data):
    for stage in problem.STAGES:
        problem.assert_same(problem.state(undisturbed / stage), problem.state(run_dir / stage))
    problem.assert_same(problem.served(undisturbed / "export", data), problem.served(run_dir / "export", data))


@pytest.mark.fault("R1")
@pytest.mark.slow
def test_killed_at_twenty_moments(data, undisturbed, tmp_path, outcome):
    runs = [tmp_path / "run" / stage for stage in problem.STAGES]
    redone = kill_again_and_again(problem.flags(data, tmp_path / "run"), runs, tmp_path / "steps", MOMENTS)
    # One more, at a random moment of a run of its own.
    process = problem.start(problem.flags(data, tmp_path / "other"))
    time.sleep(random.Random(0).uniform(8, 12))
    process.kill()
    process.wait()
    assert problem.run(problem.flags(data, tmp_path / "other")).returncode == 0
    for run_dir in (tmp_path / "run", tmp_path / "other"):
        check_against(undisturbed, run_dir, data)
    outcome(
        f"killed {len(MOMENTS) + 1} times; {redone} steps done twice in all, never more than {problem.EVERY}; state and export identical"
    )


def test_killed_in_the_midst_of_a_save(data, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert problem.run(problem.flags(data, whole, "pretrain")).returncode == 0
    kill_again_and_again(problem.flags(data, killed, "pretrain"), [killed], tmp_path / "steps", ["replace:3"])
    problem.assert_same(problem.state(whole), problem.state(killed))
