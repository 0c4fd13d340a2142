"""Being asked to stop: a step is never cut in half."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def stop_signal() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C sets, so that a step is never cut in half; the second one interrupts as ever.

    Only the main thread gets signals: elsewhere, and where Ctrl-C is ignored, nothing changes.
    """
    asked = threading.Event()
    usual = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(usual):
        yield asked
        return

    def ask(number: int, frame: Any) -> None:
        if asked.is_set():
            usual(number, frame)
        asked.set()

    signal.signal(signal.SIGINT, ask)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, usual)
