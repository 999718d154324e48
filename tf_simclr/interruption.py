"""SIGTERM and SIGINT: heeded at once where nothing is lost by it, else at the end of the step."""

import contextlib
import signal
import time

from tf_simclr.errors import Interrupted

_APART = 1.0  # seconds; what follows sooner is the same wish, as of a program that signals a process and its group
_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_state = {"deferred": 0, "received": None, "since": 0.0, "raised": None}


@contextlib.contextmanager
def heeding():
    """Turns both signals into `Interrupted`, in the main thread, until its end.

    Where the first is deferred, one that comes `_APART` later or after becomes a plain KeyboardInterrupt, at once.

    An exception that comes where Python was running a finaliser or a callback from C goes no further than that: then this raises it
    at the end. One that came through as another is put right.
    """
    before = {number: signal.signal(number, _receive) for number in _SIGNALS}
    _state.update(deferred=0, received=None, raised=None)
    try:
        yield
        if _state["raised"]:
            raise Interrupted(_state["raised"])
    except Exception as error:
        if _state["raised"]:
            raise Interrupted(_state["raised"]) from error
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def defer():
    """From here to `heed`, a signal waits."""
    _state["deferred"] += 1


def heed():
    """Ends what `defer` began. Raises Interrupted where a signal came meanwhile."""
    _state["deferred"] -= 1
    if not _state["deferred"] and _state["received"] is not None:
        name = signal.Signals(_state["received"]).name
        _state["received"] = None
        raise _interrupted(name)


@contextlib.contextmanager
def deferred():
    """`defer` and `heed` around a block that must not be torn, such as a save."""
    defer()
    try:
        yield
    except BaseException:
        _state["deferred"] -= 1
        raise
    heed()


@contextlib.contextmanager
def handed_to(stop):
    """Within it a signal calls `stop` and raises nothing: for a server, which ends normally by it. In the main thread alone."""
    before = {number: signal.signal(number, lambda *_: stop()) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def forget():
    """Drops what `defer` began and was never ended, because an exception came between."""
    _state["deferred"] = 0


def _interrupted(name):
    _state["raised"] = name
    return Interrupted(name)


def _receive(number, frame):
    if not _state["deferred"]:
        raise _interrupted(signal.Signals(number).name)
    if _state["received"] is None:
        _state.update(received=number, since=time.monotonic())
    elif time.monotonic() - _state["since"] >= _APART:  # in the middle of something: nobody may save
        raise KeyboardInterrupt
