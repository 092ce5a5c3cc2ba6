"""What the command line prints: rich on a terminal, plain lines elsewhere, one JSON object with `--json`."""

import json
import sys
from enum import IntEnum
from typing import Any

from rich.console import Console


class Exit(IntEnum):
    """Exit codes of every `farm` command."""

    OK = 0
    BUG = 1
    BAD_INPUT = 2
    NOT_SET_UP = 3
    RENDER_FAILED = 4
    TRY_AGAIN = 5
    STOPPED = 6  # the farm goes on by itself no more: limits, breaker or budget; a person has to decide
    INTERRUPTED = 130


class Output:
    """Facts to standard output, everything else to standard error."""

    def __init__(self, as_json: bool = False) -> None:
        self.as_json = as_json
        # markup off: what workers log and why they failed is full of square brackets
        self.facts = Console(file=sys.stdout, highlight=False, markup=False, soft_wrap=not sys.stdout.isatty())
        self.talk = Console(file=sys.stderr, highlight=False, markup=False, soft_wrap=not sys.stderr.isatty())

    def say(self, text: str) -> None:
        """Tell a person what is going on."""
        self.talk.print(text)

    def show(self, renderable: Any) -> None:
        """Show a person the result; nothing with `--json`."""
        if not self.as_json:
            self.facts.print(renderable)

    def result(self, value: dict[str, Any]) -> None:
        """Print the machine's form of the result with `--json`; nothing otherwise."""
        if self.as_json:
            sys.stdout.write(json.dumps(value, sort_keys=True, ensure_ascii=False) + "\n")
            sys.stdout.flush()
