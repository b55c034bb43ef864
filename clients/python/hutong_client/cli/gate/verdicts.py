"""Verdicts: what a gate does with one person, with its word, its colour and its reasons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from google.rpc.status_pb2 import Status
from hutong.verification.v1 import decision_pb2
from hutong.verification.v1.verification_service_pb2 import VerifyItem
from hutong_texts import english, tr

from hutong_client.cli.exit_codes import ExitCode
from hutong_client.cli.explanation import ACTIONS, REASONS, describe_next_step, describe_outcome, exit_code_of
from hutong_client.cli.people import Asked
from hutong_client.errors import from_status
from hutong_client.formatting import as_dict, mask

Action: TypeAlias = "decision_pb2.GateAction.ValueType"

LET_IN = decision_pb2.GATE_ACTION_LET_IN
ASK_AGAIN = decision_pb2.GATE_ACTION_ASK_AGAIN
ORDER = (
    decision_pb2.GATE_ACTION_LET_IN,
    decision_pb2.GATE_ACTION_LET_IN_AND_REGISTER,
    decision_pb2.GATE_ACTION_ASK_AGAIN,
    decision_pb2.GATE_ACTION_MAY_BE_REFUSED,
)
"""The actions in the order in which totals list them."""


@dataclass(frozen=True, slots=True)
class Style:
    """The colours of an action: the colour of its word on a terminal, and the colour of its cell in a workbook."""

    terminal: str
    workbook: str


STYLES: Mapping[Action, Style] = {
    decision_pb2.GATE_ACTION_LET_IN: Style("green", "C6EFCE"),
    decision_pb2.GATE_ACTION_LET_IN_AND_REGISTER: Style("yellow", "FFEB9C"),
    decision_pb2.GATE_ACTION_ASK_AGAIN: Style("cyan", "DDEBF7"),
    decision_pb2.GATE_ACTION_MAY_BE_REFUSED: Style("red", "FFC7CE"),
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer to one question, for people.

    Attributes:
        action: what the gate does first.
        then: what the gate does if asking again gives the same answer; empty unless the first action is to ask again.
        must_register: whether the gate registers the case.
        outcome: the outcome and the reason in the contract's words; for an error, the error's reason.
        why: the reason in a sentence.
        to_do: what the person or the gate can do.
        name: the masked name of the person; empty if it is not known.
        stored: the name of the stored decision; empty if it was not stored.
        content: the answer as JSON.
        exit_code: the exit code for this answer.
    """

    action: Action
    then: str
    must_register: bool
    outcome: str
    why: str
    to_do: str
    name: str
    stored: str
    content: Mapping[str, object]
    exit_code: ExitCode

    @property
    def word(self) -> str:
        """The word of the action, "LET IN"."""
        return action_word(self.action)

    @property
    def details(self) -> str:
        """All of the answer except the action and the person, in one line."""
        then = tr("then {action}", action=self.then) if self.then else ""
        register = tr("register") if self._registers_besides else ""
        facts = tr("; ").join(filter(None, (then, register, self.outcome)))
        return tr("{facts}: {reason}", facts=facts, reason=self.why) if self.why else facts

    @property
    def _registers_besides(self) -> bool:
        return self.must_register and self.action != decision_pb2.GATE_ACTION_LET_IN_AND_REGISTER


def action_word(action: Action) -> str:
    """Return the word of an action in capitals. An action that this version does not know is UNKNOWN."""
    return tr(ACTIONS.get(action, english("unknown"))).upper()


def verdict_of(asked: Asked, item: VerifyItem | None) -> Verdict:
    """Return the verdict for a question; the item is None if the question has a fault and was not asked."""
    name = mask(asked.request.document.name)
    if item is None:
        return _failed(name, tr("NOT ASKED"), asked.fault, {"error": {"message": asked.fault}})
    if item.WhichOneof("item") == "error":
        return _of_error(name, item.error)
    decision = item.decision
    return Verdict(
        action=decision.action,
        then=tr(ACTIONS.get(decision.then_action, "")) if decision.then_action else "",
        must_register=decision.must_register,
        outcome=describe_outcome(decision),
        why=tr(REASONS.get(decision.reason, "")),
        to_do=tr("; ").join([*map(describe_next_step, decision.next_steps), *map(tr, decision.advice)]),
        name=decision.masked_name or name,
        stored=decision.name,
        content={"decision": as_dict(decision)},
        exit_code=exit_code_of(decision),
    )


def _of_error(name: str, status: Status) -> Verdict:
    error = from_status(status)
    return _failed(
        name,
        tr("ERROR, {reason}", reason=error.reason or error.code.name),
        error.shown_message,
        {"error": as_dict(status)},
    )


def _failed(name: str, outcome: str, why: str, content: Mapping[str, object]) -> Verdict:
    """Return the verdict for a question without a decision. The holder is never at fault (docs/decision.md §17)."""
    return Verdict(
        action=ASK_AGAIN,
        then=tr(ACTIONS[LET_IN]),
        must_register=False,
        outcome=outcome,
        why=why,
        to_do="",
        name=name,
        stored="",
        content=content,
        exit_code=ExitCode.PARTLY,
    )
