"""Print verdicts, one line each, and count them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import click
from hutong.verification.v1.verification_service_pb2 import VerifyItem
from hutong_texts import list_words, tr
from rich.cells import cell_len

from hutong_client.cli.exit_codes import ExitCode, smallest
from hutong_client.cli.gate.verdicts import LET_IN, ORDER, STYLES, Action, Verdict, action_word, verdict_of
from hutong_client.cli.output import echo_raw, print_json_line, printable
from hutong_client.cli.people import Asked

Keep = Callable[[Asked, Verdict], None]


class Answers:
    """Printer of verdicts that also counts them and collects their exit codes.

    Args:
        as_json: whether to print NDJSON.
        exceptions_only: whether to leave out the verdicts that let the person in without registration.
        keep: receives every verdict, printed or not.
    """

    def __init__(self, *, as_json: bool, exceptions_only: bool = False, keep: Keep | None = None) -> None:
        self._as_json = as_json
        self._exceptions_only = exceptions_only
        self._keep = keep
        self._codes: set[ExitCode] = set()
        self._counts: Counter[Action] = Counter()

    def add(self, asked: Asked, item: VerifyItem | None) -> None:
        """Print the answer to a question. The item is None if the question has a fault and was not asked."""
        verdict = verdict_of(asked, item)
        self._counts[verdict.action] += 1
        self._codes.add(verdict.exit_code)
        if self._keep:
            self._keep(asked, verdict)
        if self._exceptions_only and verdict.action == LET_IN and not verdict.must_register:
            return
        if self._as_json:
            print_json_line({"row": asked.row, "correlation_id": asked.mark, **verdict.content})
        else:
            echo_raw(_format(asked, verdict))

    @property
    def exit_code(self) -> ExitCode:
        """The smallest exit code of all answers except 0; 0 if all are 0."""
        return smallest(self._codes)

    @property
    def totals(self) -> list[tuple[Action, int]]:
        """The number of persons for each action that occurred."""
        known = [(action, self._counts[action]) for action in ORDER if self._counts[action]]
        return known + [(action, count) for action, count in sorted(self._counts.items()) if action not in ORDER]

    def describe_totals(self) -> str:
        """Describe the totals in one line: "500 people: LET IN 490, MAY BE REFUSED 10"."""
        people = sum(self._counts.values())
        parts = list_words(f"{action_word(action)} {count}" for action, count in self.totals)
        return tr("{people} people: {parts}", people=people, parts=parts) if parts else tr("no people")


def _format(asked: Asked, verdict: Verdict) -> str:
    """Format a verdict: the action's word in its colour, the row, the person, then the reasons."""
    own_mark = f" ({printable(asked.mark)})" if asked.mark != str(asked.row) else ""
    person = f" {printable(verdict.name)}" if verdict.name else ""
    padding = " " * (max(cell_len(action_word(action)) for action in ORDER) - cell_len(verdict.word))
    return f"{color_word(verdict.action)}{padding} {asked.row}{own_mark}{person}: {printable(verdict.details)}"


def color_word(action: Action) -> str:
    """Return the word of an action in bold and in its colour. Colours are removed where the output is no terminal."""
    style = STYLES.get(action)
    return click.style(action_word(action), fg=style.terminal if style else None, bold=True)


def describe_rows(rows: Sequence[int]) -> str:
    """Describe rows in ascending order: "3, 5 to 9"."""
    spans: list[list[int]] = []
    for row in rows:
        if spans and row == spans[-1][1] + 1:
            spans[-1][1] = row
        else:
            spans.append([row, row])
    return list_words(
        str(first) if first == last else tr("{first} to {last}", first=first, last=last) for first, last in spans
    )
