"""The command line: srt data | train | sweep | evaluate | recommend | plan.

Exit codes: 0 done; 1 something failed, said in one line; 2 the command itself was not understood; 130 interrupted.
Torch is imported by the commands that need it, and by no other.
"""

import argparse
import sys
import warnings
from collections.abc import Sequence
from typing import Any

from srtlib.cli import data, planning, serving, training
from srtlib.cli.arguments import Commands
from srtlib.cli.printing import as_json, as_text


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _say
            result = options.run(options)
    except KeyboardInterrupt:
        print("srt: interrupted; the same command goes on from the last checkpoint", file=sys.stderr)
        return 130
    except (ValueError, OSError, RuntimeError) as error:
        print(f"srt: {error}", file=sys.stderr)
        return 1
    if result is not None:
        print(as_json(result) if options.json else as_text(result))
    return 0


def _say(message: Warning | str, *_: Any, **__: Any) -> None:
    """Show a warning as one line."""
    print(f"srt: {message}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="srt",
        description="Sequential recommendation from item text.",
        epilog="exit codes: 0 done, 1 failed (one line says why), 2 not understood, 130 interrupted",
    )
    commands = Commands(parser)
    for group in (data, training, planning, serving):
        group.add_to(commands)
    return parser
