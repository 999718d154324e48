"""How far a long pass over many items is."""

import time

from absl import logging

REPORT_EVERY = 10  # seconds


def with_progress(items, total, verb, what, count=lambda item: 1):
    """The items; every ten seconds a line of the log says how many are left and how long they will take.

    Args:
      items: an iterable.
      total: how many it will give, counted by `count`.
      verb, what: words for the line, "checked 5 of 10 images, 0.1 minutes left".
      count: how many an item stands for.
    """
    number, start = 0, time.monotonic()
    said = start
    for item in items:
        number, now = number + count(item), time.monotonic()
        if now - said > REPORT_EVERY:
            said = now
            left = (total / number - 1) * (now - start) / 60
            logging.info("%s %s of %s %s, %.1f minutes left", verb, f"{number:,}", f"{total:,}", what, left)
        yield item
