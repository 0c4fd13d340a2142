"""The command line: srt data | train | sweep | evaluate | compare | recommend | models | export | plan.

Exit codes: 0 done; 1 something failed, said in one line; 2 the command itself was not understood; 130, 143 or 129
interrupted by Ctrl-C, SIGTERM or SIGHUP; 141 nobody reads the output any more. Torch is imported by the commands that
need it, and by no other.
"""

import argparse
import errno
import io
import math
import os
import shutil
import signal
import sys
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from srtlib.cli import data, planning, serving, training
from srtlib.cli.arguments import Commands
from srtlib.cli.printing import as_json, as_text
from srtlib.paths import home
from srtlib.training.signals import Stopped, as_interrupts

SAID = (ValueError, OSError, RuntimeError, ImportError, MemoryError)  # what errors of input and of the machine are
UNREAD = 141  # as a process that SIGPIPE ends
CANNOT_WRITE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    sys.stdout = sys.stdout or io.StringIO()  # Python has none where the descriptor is closed
    sys.stderr = sys.stderr or io.StringIO()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # what the locale's encoding lacks stops no command
    try:
        try:
            return _run(_parser().parse_args(arguments))
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes it once more
        return UNREAD


def _run(options: argparse.Namespace) -> int:
    try:
        with warnings.catch_warnings(), as_interrupts():
            warnings.showwarning = _say
            warnings.simplefilter("default", UserWarning)  # said, whatever the interpreter's options make of them
            result = options.run(options)
            if result is not None:
                width = shutil.get_terminal_size().columns if sys.stdout.isatty() else math.inf
                print(as_json(result) if options.json else as_text(result, width))
    except KeyboardInterrupt as error:
        _say("interrupted; the same command goes on from the last checkpoint")
        return 128 + (error.number if isinstance(error, Stopped) else signal.SIGINT)
    except BrokenPipeError:
        raise
    except Exception as error:
        if options.debug:
            traceback.print_exc()
        _say(_explain(error))
        return 1
    return 0


def _explain(error: Exception) -> str:
    """One line, with a way to report what nobody foresaw.

    >>> _explain(ValueError("n_heads=2 must divide d_model=9"))
    'n_heads=2 must divide d_model=9'
    """
    if "DefaultCPUAllocator" in str(error):  # torch's way to say MemoryError
        return "out of memory: arrays of this size do not fit; expected a smaller model, batch or number of negatives"
    file = error.filename if isinstance(error, OSError) and error.errno in CANNOT_WRITE else None
    if file is not None and Path(str(file)).is_relative_to(home()):
        return f"{error}; expected a data home that can be written, such as the environment variable SRT_HOME names"
    if isinstance(error, SAID):
        return str(error) or type(error).__name__
    return f"unexpected {type(error).__name__}: {error} (please report it, with what --debug adds to the command)"


def _say(message: Warning | str, *_: Any, **__: Any) -> None:
    """Show a warning or an error as one line."""
    print("srt:", *map(str.strip, str(message).splitlines()), file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="srt",
        description="Sequential recommendation from item text.",
        epilog="exit codes: 0 done, 1 failed (one line says why), 2 not understood, 130, 143 or 129 interrupted",
    )
    commands = Commands(parser)
    for group in (data, training, planning, serving):
        group.add_to(commands)
    return parser
