"""How far a long pass over many items is."""

import sys
import time

from absl import logging

REPORT_EVERY = 10  # seconds between lines of a log
_DRAW_EVERY = 0.2  # seconds between changes of a bar
_BAR = 30  # characters


def with_progress(items, total, verb, what, count=lambda item: 1):
    """The items. On a terminal a bar says how many are left and how long they will take, else a line of the log every ten seconds.

    Args:
      items: an iterable.
      total: how many it will give, counted by `count`.
      verb, what: words for the line, "checked 5 of 10 images, 0.1 minutes left".
      count: how many an item stands for.
    """
    number, start = 0, time.monotonic()
    said, bar = start, sys.stderr.isatty()
    for item in items:
        number, now = number + count(item), time.monotonic()
        if now - said > (_DRAW_EVERY if bar else REPORT_EVERY):
            said = now
            left = (total / number - 1) * (now - start) / 60
            line = f"{verb} {number:,} of {total:,} {what}, {left:.1f} minutes left"
            if bar:
                sys.stderr.write(f"\r\033[K[{'=' * (_BAR * number // total):{_BAR}}] {line}")
                sys.stderr.flush()
            else:
                logging.info("%s", line)
        yield item
    if bar and said > start:
        sys.stderr.write("\r\033[K")  # what comes next begins on a clean line
