"""The asker of a question: the audit of its call, and how much of a decision it may see."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from hutong.access.v1 import access_pb2
from hutong_texts import english

from services.domain.errors import PermissionDenied
from services.runtime.audit import CallAudit, current_audit
from services.runtime.call import Call, current_call
from services.runtime.caller import LOCAL

View: TypeAlias = access_pb2.View.ValueType

MINIMAL = access_pb2.VIEW_MINIMAL
FULL = access_pb2.VIEW_FULL


class Asker(NamedTuple):
    """Who asks a question.

    Attributes:
        audit: the audit of the call; None outside a call.
        role: the caller's role.
        most: the most that the caller may see.
        compares_name: whether the name in a question is compared. The name is not compared if the user has signed in.
        needs_name: whether a question must state a name.
        question: identifies the question by its caller and its own id. The same question may show a holder's token
            again. Empty if the question has no id; its token can then be used only once.
        call: the call, which counts answers about persons without any record; None outside a call.
    """

    audit: CallAudit | None = None
    role: str = LOCAL
    most: View = FULL
    compares_name: bool = True
    needs_name: bool = False
    question: str = ""
    call: Call | None = None

    def view_of(self, asked: View) -> View:
        """Return the view for an answer.

        Raises:
            PermissionDenied: NOT_PERMITTED, the caller may not see as much as it asks for.
        """
        if asked > self.most:
            raise PermissionDenied(
                "NOT_PERMITTED",
                english("view: the caller may not see so much of a decision"),
                metadata={"role": self.role, "needed": "view: VIEW_MINIMAL"},
            )
        return asked or self.most


def current_asker(correlation_id: str | None = None) -> Asker:
    """Return the caller of the current call as an asker. Its view is VIEW_MINIMAL unless its grant states another.

    `correlation_id` is the id of a question on a stream. It is empty if the question has no id, and None for a call
    without a stream.
    """
    call = current_call.get()
    if call is None:
        return Asker(current_audit.get())
    caller, needs_name = call.caller, call.needs_name
    if correlation_id is None:
        question = f"{caller.name} call {call.request_id}"
    else:
        question = f"{caller.name} question {correlation_id}" if correlation_id else ""
    if caller.role == LOCAL:
        return Asker(current_audit.get(), question=question, call=call)
    return Asker(
        current_audit.get(),
        caller.role,
        call.view or MINIMAL,
        needs_name,
        needs_name and not call.bare_number,
        question,
        call,
    )
