"""The memory of request ids: done once, answered the same, and nothing to be read from what it keeps."""

from __future__ import annotations

import hashlib
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
from hutong.results.v1.lab_service_pb2 import CreateLabRequest, CreateLabResponse
from sqlalchemy import Connection, select

from services.domain.errors import InvalidArgument
from services.results.idempotency import requests
from services.runtime.call import Call, current_call
from services.runtime.caller import Caller
from services.storage.engine import Database, open_database
from services.storage.idempotency import answer_once
from tests.support.databases import MakeUrl
from tests.support.waiting import TIMEOUT_SECONDS

METHOD = "/hutong.results.v1.LabService/CreateLab"


@pytest.fixture
def database(database_url: MakeUrl) -> Iterator[Database]:
    """Results' database; the test runs once on each engine."""
    opened = open_database(database_url("results"))
    yield opened
    opened.close()


def request(name: str = "labs/1") -> CreateLabRequest:
    """A request with content."""
    asked = CreateLabRequest()
    asked.lab.name = name
    return asked


class Work:
    """A mutation that counts how often it was done and answers with the count."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> CreateLabResponse:
        """Do the request once."""
        self.count += 1
        response = CreateLabResponse()
        response.lab.display_name = f"done {self.count}"
        return response


def ask(
    database: Database,
    work: Callable[[], CreateLabResponse],
    request_id: str,
    content: CreateLabRequest,
    *,
    method: str = METHOD,
    secrets: Sequence[bytes] = (b"s" * 32,),
) -> str:
    """Put the request in a transaction of its own; what it was answered."""

    def run(connection: Connection) -> CreateLabResponse:
        return answer_once(
            connection, requests, method, request_id, content, 1, work, response_type=CreateLabResponse, secrets=secrets
        )

    return database.write_now(run).lab.display_name


def test_the_same_request_is_answered_again(database: Database) -> None:
    """The request is not done again."""
    work, request_id = Work(), str(uuid.uuid4())
    assert [ask(database, work, request_id, request()) for _ in range(3)] == ["done 1"] * 3
    assert work.count == 1


def test_other_content_under_one_id_is_refused(database: Database) -> None:
    """REQUEST_ID_REUSED, naming the field; nothing is done, and the first answer stands."""
    work, request_id = Work(), str(uuid.uuid4())
    ask(database, work, request_id, request())
    with pytest.raises(InvalidArgument) as caught:
        ask(database, work, request_id, request("labs/2"))
    assert (caught.value.reason, caught.value.metadata) == ("REQUEST_ID_REUSED", {"field": "request_id"})
    assert ask(database, work, request_id, request()) == "done 1"
    assert work.count == 1


def test_an_id_is_its_callers_own(database: Database) -> None:
    """A caller is its name together with the person behind its token. A row of a former release names no caller."""
    work, ids = Work(), [str(uuid.uuid4()) for _ in range(2)]

    def ask_as(name: str, person: str, request_id: str) -> str:
        call = Call("call")
        call.caller = Caller("app", name, person=person)
        token = current_call.set(call)
        try:
            return ask(database, work, request_id, request())
        finally:
            current_call.reset(token)

    assert [ask_as("apps/1", "li", ids[0]) for _ in range(2)] == ["done 1"] * 2
    for name, person in (("apps/2", "li"), ("apps/1", "wang"), ("apps/1", "")):
        with pytest.raises(InvalidArgument, match="another caller"):
            ask_as(name, person, ids[0])
    assert ask(database, work, ids[1], request()) == ask_as("apps/1", "li", ids[1]) == "done 2"


def test_ids_are_a_methods_own(database: Database) -> None:
    """The same id in two methods stands for two requests, and so do two ids in one method."""
    work, request_id = Work(), str(uuid.uuid4())
    ask(database, work, request_id, request())
    assert ask(database, work, request_id, request(), method="/another") == "done 2"
    assert ask(database, work, str(uuid.uuid4()), request()) == "done 3"


def test_without_an_id_everything_is_done(database: Database) -> None:
    """The answer is the same for every repetition."""
    work = Work()
    assert [ask(database, work, "", request()) for _ in range(2)] == ["done 1", "done 2"]


def test_what_failed_is_not_remembered(database: Database) -> None:
    """The same id may be tried again, with the same content or mended."""
    request_id = str(uuid.uuid4())

    def fail() -> CreateLabResponse:
        raise KeyError("fault")

    with pytest.raises(KeyError):
        ask(database, fail, request_id, request())
    assert ask(database, Work(), request_id, request("labs/2")) == "done 1"


def test_of_many_at_one_instant_one_is_done(database: Database) -> None:
    """The calls come from connections of several processes. All get the same answer."""
    url = database.engine.url.render_as_string(hide_password=False)
    others = [open_database(url) for _ in range(2)]
    work, request_id, together = Work(), str(uuid.uuid4()), threading.Barrier(6)

    def at_once(number: int) -> str:
        together.wait(TIMEOUT_SECONDS)
        return ask([database, *others][number % 3], work, request_id, request())

    with ThreadPoolExecutor(6) as pool:
        assert set(pool.map(at_once, range(6))) == {"done 1"}
    assert work.count == 1
    for other in others:
        other.close()


def test_a_call_that_waited_for_a_failed_one_is_served(database: Database) -> None:
    """The second of two takes the first one's place when that is undone."""
    request_id, inside, go_on = str(uuid.uuid4()), threading.Event(), threading.Event()

    def fail() -> CreateLabResponse:
        inside.set()
        assert go_on.wait(TIMEOUT_SECONDS)
        raise KeyError("fault")

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(ask, database, fail, request_id, request())
        assert inside.wait(TIMEOUT_SECONDS)
        second = pool.submit(ask, database, Work(), request_id, request())
        go_on.set()
        with pytest.raises(KeyError):
            first.result(TIMEOUT_SECONDS)
        assert second.result(TIMEOUT_SECONDS) == "done 1"


def test_a_request_is_recognised_under_each_key_version(database: Database) -> None:
    """While the key rotates, processes write either version. A third key recognises nothing."""
    old, new = b"s" * 32, b"t" * 32
    request_id = str(uuid.uuid4())
    assert ask(database, Work(), request_id, request(), secrets=[old]) == "done 1"
    for secrets in ([old], [old, new], [new, old]):
        assert ask(database, Work(), request_id, request(), secrets=secrets) == "done 1"
        with pytest.raises(InvalidArgument):
            ask(database, Work(), request_id, request("labs/other"), secrets=secrets)
    with pytest.raises(InvalidArgument):
        ask(database, Work(), request_id, request(), secrets=[new])


def test_what_is_kept_reveals_nothing(database: Database) -> None:
    """The content is a keyed hash, so a reader of the table cannot try numbers until one fits."""
    content = request("labs/410105188001010017")
    ids = [str(uuid.uuid4()) for _ in range(2)]
    for request_id, secret in zip(ids, (b"s" * 32, b"t" * 32), strict=True):
        ask(database, Work(), request_id, content, secrets=[secret])
    rows = database.read_now(lambda connection: connection.execute(select(requests)).all())
    assert "410105188001010017" not in f"{rows}"
    hashes = {bytes(row.content_hash) for row in rows}
    assert len(hashes) == 2
    serialised = content.SerializeToString(deterministic=True)
    assert hashlib.blake2b(serialised, digest_size=32).digest() not in hashes
    assert hashlib.sha256(serialised).digest() not in hashes


def test_every_method_of_the_contract_fits() -> None:
    """The longest name there is, in the column it is kept in."""
    from google.protobuf import descriptor_pool
    from hutong.policy.v1 import policy_admin_service_pb2 as policies
    from hutong.results.v1 import lab_service_pb2, results_admin_service_pb2, results_service_pb2
    from hutong.verification.v1 import refusal_service_pb2, verification_service_pb2

    modules = [policies, lab_service_pb2, results_admin_service_pb2, results_service_pb2]
    modules += [refusal_service_pb2, verification_service_pb2]
    pool = descriptor_pool.Default()
    longest = max(
        (
            f"/{service.full_name}/{method.name}"
            for module in modules
            for service in pool.FindFileByName(module.DESCRIPTOR.name).services_by_name.values()
            for method in service.methods
        ),
        key=len,
    )
    assert len(longest) <= requests.c.method.type.length
