"""Being asked to stop: by Ctrl-C, or by SIGTERM and SIGHUP, which is how clusters and spot machines do it."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

NUMBERS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Stopped(KeyboardInterrupt):
    """A signal asked to stop, and what was in progress is saved. number: the signal's."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.number = number


@dataclass
class Request:
    """number: the signal that asked to stop; 0 while none has."""

    number: int = 0


@contextmanager
def stop_signal() -> Iterator[Request]:
    """A request that the first signal makes, so that a step is never cut in half; the second one ends as ever.

    Only the main thread gets signals: elsewhere, and for signals that are ignored, nothing changes.
    """
    asked = Request()

    def ask(number: int, frame: Any) -> None:
        if asked.number:
            usual = usuals[number]
            if callable(usual):
                usual(number, frame)
            signal.signal(number, usual)
            os.kill(os.getpid(), number)
        asked.number = asked.number or number

    with _handled_by(ask) as usuals:
        yield asked


@contextmanager
def as_interrupts() -> Iterator[None]:
    """SIGTERM and SIGHUP raise Stopped where Ctrl-C raises KeyboardInterrupt: what is half-done is tidied up."""

    def stop(number: int, frame: Any) -> None:
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise Stopped(number)

    with _handled_by(stop):
        yield


@contextmanager
def _handled_by(handler: Callable[[int, Any], None]) -> Iterator[dict[int, Any]]:
    """Give the signals a handler for a while; the usual ones of those that have it now."""
    usuals: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        usuals = {number: signal.getsignal(number) for number in NUMBERS}
        usuals = {number: usual for number, usual in usuals.items() if usual not in (signal.SIG_IGN, None)}
    for number in usuals:
        signal.signal(number, handler)
    try:
        yield usuals
    finally:
        for number, usual in usuals.items():
            signal.signal(number, usual)
