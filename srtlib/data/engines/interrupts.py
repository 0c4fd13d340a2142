"""Signals that stop a query: engines run where Python's own handling of signals does not reach."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")


@contextmanager
def interruptible(interrupt: Callable[[], object]) -> Iterator[None]:
    """What a handler of signals raises, such as KeyboardInterrupt, ends the query that runs and is raised in its place.

    Without it DuckDB first reads a file to its end, and then makes an error of its own of the exception.

    Args:
        interrupt: has the query end soon, in whatever error.
    """
    raised: list[BaseException] = []

    def stopping(handler: Callable[[int, FrameType | None], object]) -> Callable[[int, FrameType | None], None]:
        def handle(number: int, frame: FrameType | None) -> None:
            try:
                handler(number, frame)
            except BaseException as error:
                raised.append(error)
                interrupt()
                raise

        return handle

    handlers = {}
    if threading.current_thread() is threading.main_thread():
        numbers = [getattr(signal, name) for name in SIGNALS if hasattr(signal, name)]
        handlers = {number: found for number in numbers if callable(found := signal.getsignal(number))}
    for number, handler in handlers.items():
        signal.signal(number, stopping(handler))
    try:
        yield
    except BaseException:
        if raised:
            raise raised[0] from None
        raise
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
