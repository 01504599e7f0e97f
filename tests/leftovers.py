"""leftovers: what only Python's search for cycles would let go of.

That search is rare in our processes (operate/loop), so a message that waits for it
waits for long.  Traceback and frame are the usual cycle: an error that a frame of
its own traceback knows, by a variable or by the task whose error it is.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def cycles() -> Iterator[list[object]]:
    """-> filled at the end: all that was made meanwhile, is in nobody's reach, and was still there."""
    found: list[object] = []
    gc.collect()
    gc.disable()
    debug = gc.get_debug()
    try:
        yield found
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        found.extend(gc.garbage)
    finally:
        gc.set_debug(debug)
        gc.garbage.clear()
        gc.enable()
