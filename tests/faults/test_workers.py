"""R10: one of two workers dies; and what two processes on loopback train is what one process trains."""

import json
import socket
import time

import numpy as np
import problem
import pytest


def ports(count):
    """Free ports of this machine."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    numbers = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return numbers


def start_pair(arguments, crash=None):
    """Both workers, the second with an accident."""
    workers = [f"127.0.0.1:{port}" for port in ports(2)]
    started = []
    for index in range(2):
        line, environment = problem.command(arguments, crash if index == 1 else None)
        environment["TF_CONFIG"] = json.dumps({"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}})
        started.append(
            problem.subprocess.Popen(line, env=environment, stdout=problem.subprocess.PIPE, stderr=problem.subprocess.STDOUT, text=True)
        )
    return started


def end_pair(pair):
    """Their exit codes and what they said."""
    said = [process.communicate(timeout=300)[0] for process in pair]
    return [process.returncode for process in pair], said


@pytest.mark.fault("R10")
@pytest.mark.slow
def test_one_of_two_workers_dies(data, tmp_path, outcome):
    def arguments(name, strategy="multiworker"):
        # Plain momentum: adaptive rates would blow the last digit of a gradient near zero up to a whole update.
        return problem.flags(data, tmp_path / name, strategy=strategy, optimizer="sgd", learning_rate=0.001)

    assert problem.run(arguments("one", "one")).returncode == 0
    # The second worker would die of its first write that is to last: only the chief writes.
    codes, said = end_pair(start_pair(arguments("whole"), "sync:1"))
    assert codes == [0, 0], said
    for stage in problem.STAGES:
        one, two = problem.state(tmp_path / "one" / stage), problem.state(tmp_path / "whole" / stage)
        assert set(one) == set(two)
        for key, value in one.items():
            np.testing.assert_allclose(value, two[key], rtol=1e-4, atol=1e-4, err_msg=f"{stage} {key}")
    pair = start_pair(arguments("broken"), "step:7")
    pair[1].wait(timeout=300)
    start = time.perf_counter()
    pair[0].wait(timeout=120)
    seconds = time.perf_counter() - start
    codes, said = end_pair(pair)
    assert codes[1] == -9 and codes[0] == 42 and seconds < 60, said
    assert problem.committed(tmp_path / "broken" / "pretrain") == [3, 6]
    codes, said = end_pair(start_pair(arguments("broken")))
    assert codes == [0, 0], said
    for stage in problem.STAGES:
        problem.assert_same(problem.state(tmp_path / "whole" / stage), problem.state(tmp_path / "broken" / stage))
    outcome(f"the other worker ended after {seconds:.1f} s with exit 42; the pair that started again ends as one that nothing happened to")
