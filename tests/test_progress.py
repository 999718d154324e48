"""How far a long pass is, on a terminal and in a log."""

import io
import itertools

import pytest

from tf_simclr import progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """Every look at the clock is six seconds later."""
    ticks = itertools.count(0, 6)
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(ticks))


def test_a_bar_on_a_terminal(clock, monkeypatch):
    monkeypatch.setattr(progress.sys, "stderr", Terminal())
    assert list(progress.with_progress("abcd", 8, "passed", "images", count=lambda _: 2)) == list("abcd")
    drawn = progress.sys.stderr.getvalue().split("\r\033[K")
    assert drawn[1] == f"[{'=' * 7:30}] passed 2 of 8 images, 0.3 minutes left"
    assert drawn[4] == f"[{'=' * 30}] passed 8 of 8 images, 0.0 minutes left" and drawn[5] == ""


def test_lines_in_a_log(clock, monkeypatch, caplog):
    monkeypatch.setattr(progress.sys, "stderr", io.StringIO())
    with caplog.at_level("INFO", logger="absl"):
        assert list(progress.with_progress("abcd", 4, "checked", "images")) == list("abcd")
    assert caplog.messages == ["checked 2 of 4 images, 0.2 minutes left", "checked 4 of 4 images, 0.0 minutes left"]
    assert "\r" not in progress.sys.stderr.getvalue()
