"""The nation's register says where a laboratory is at home, so only the nation writes it."""

from __future__ import annotations

from typing import cast

import pytest
from hutong.results.v1.lab_service_pb2 import CreateLabRequest, UpdateLabRequest

from services.domain.errors import PermissionDenied
from services.results.labs.servicer import LabServicer
from services.results.labs.store import LabStore
from services.runtime.call import Call, current_call
from services.runtime.caller import Caller
from services.runtime.clock import FixedClock
from services.runtime.page_tokens import PageTokens
from tests.support.results.factories import NOW, lab_to_register


class Reached(Exception):
    """The call reached the store."""


class Store:
    """A store that registers nothing."""

    async def create_lab(self, *_: object) -> None:
        raise Reached

    update_lab = create_lab


@pytest.mark.parametrize(
    ("caller", "at_nation", "error"),
    [
        (Caller("supervisor", "supervisors/220500", "220500"), True, PermissionDenied),
        (Caller("supervisor", "supervisors/000000", "000000"), True, Reached),
        (Caller("operator", "operators/1"), True, Reached),
        (Caller("supervisor", "supervisors/220500", "220500"), False, Reached),
    ],
)
async def test_only_the_nations_supervisor_registers_and_changes_at_the_nation(
    caller: Caller, at_nation: bool, error: type[Exception]
) -> None:
    servicer = LabServicer(cast("LabStore", Store()), PageTokens([b"k" * 32]), FixedClock(NOW), at_nation=at_nation)
    call = Call("test")
    call.caller = caller
    token = current_call.set(call)
    try:
        with pytest.raises(error):
            await servicer.CreateLab(CreateLabRequest(lab=lab_to_register()), None)
        with pytest.raises(error):
            await servicer.UpdateLab(UpdateLabRequest(lab=lab_to_register()), None)
    finally:
        current_call.reset(token)
