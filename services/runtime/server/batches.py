"""Answers batches and streams of which some items are refused before the service sees them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor

from services.domain.errors import HutongError
from services.runtime.server.status import to_status


@dataclass(frozen=True, slots=True)
class Refused:
    """A question of a stream that a layer refuses.

    The service answers the question with the error, and the stream goes on.
    """

    request: Any
    error: HutongError


async def answer_others(
    described: MethodDescriptor,
    field: str,
    request: Any,
    refused: Mapping[int, HutongError],
    context: Any,
    proceed: Callable[[Any, Any], Awaitable[Any]],
) -> Any:
    """Let the service answer the items that are not refused. Put errors in the places of the refused items.

    `proceed` takes a request and the context of the call. `field` is the name of the field of the items. `refused` has
    the errors by the indexes of their items.
    """
    if not refused:
        return await proceed(request, context)
    items: Sequence[Any] = getattr(request, field)
    response: Any = message_factory.GetMessageClass(described.output_type)()
    others = [item for index, item in enumerate(items) if index not in refused]
    answers: Iterator[Any] = iter(())
    if others:
        answered = await proceed(type(request)(**{field: others}), context)
        answers = iter(answered.items)
    for index in range(len(items)):
        if index in refused:
            response.items.add(error=to_status(refused[index]))
        else:
            response.items.append(next(answers))
    return response
