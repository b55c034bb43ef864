"""A province sends both keys of an upload while the pepper rotates, and forgets the other one when it has arrived."""

from __future__ import annotations

from hutong.exchange.v1.replica_pb2 import ReplicatedResult, ReplicatedTubes
from sqlalchemy import Connection, select

from services.domain.document import canonical_document
from services.domain.subject import Pepper
from services.results.changelog.tables import changes
from services.results.exchange.convert.results import fill_replica, replica_from_proto
from services.results.exchange.convert.tubes import fill_tubes, tubes_from_proto
from services.results.exchange.model import Replica
from services.results.exchange.upstream.acknowledgements import AcknowledgedCommit, record_acknowledged
from services.results.exchange.upstream.outbox import read_page
from services.results.stores import Stores
from tests.support.results.factories import NEGATIVE, NOW, PENDING, USCC, make_document, make_tube
from tests.support.results.store import Laboratory

JILIN = "220000"
OLD, NEW = b"o" * 32, b"n" * 32
FIRST, SECOND = Pepper(OLD, 1, Pepper(NEW, 2)), Pepper(NEW, 2, Pepper(OLD))


def keys(person: int) -> list[bytes]:
    document = make_document(person)
    return SECOND.subject_keys(canonical_document(document.type, document.number))


async def test_other_keys_are_sent_with_uploads_and_forgotten_then(laboratory: Laboratory) -> None:
    """A result is sent with the key under the other version of the pepper, and with none if there is only one version.

    The result of a sampling record is stored under the version of the record, so its keys come the other way round.
    """
    laboratory.stores = Stores(laboratory.database, laboratory.clock, SECOND.secrets, JILIN, joined=True)
    await laboratory.send([make_tube(1), make_tube(2)], upload_id="new", pepper=SECOND)
    await laboratory.send([make_tube(3, outcome=PENDING)], upload_id="record", pepper=FIRST)
    await laboratory.send([make_tube(3, outcome=NEGATIVE)], upload_id="result", pepper=SECOND)
    await laboratory.send([make_tube(4)], upload_id="alone", pepper=Pepper(NEW, 2))
    page = await laboratory.database.read(read_page, {}, JILIN)
    uploads = [tubes for commit in page.commits for tubes in commit.tubes]
    sent = {}
    for tubes in uploads:
        message = ReplicatedTubes()
        fill_tubes(message, tubes)
        arrived = tubes_from_proto(message, JILIN)
        assert list(arrived.replicas()) == list(tubes.replicas())
        sent |= {one.result.report_number: (one.result.subject_key, one.other_key) for one in arrived.replicas()}
    for change in (one for commit in page.commits for one in commit.changes):
        assert isinstance(change, Replica)
        message_of_one = ReplicatedResult()
        fill_replica(message_of_one, change)
        assert replica_from_proto(message_of_one).other_key == change.other_key
        if change.result.revision == 2:
            sent[change.result.report_number] = (change.result.subject_key, change.other_key)
    assert sent == {
        "R1": tuple(keys(1)),
        "R2": tuple(keys(2)),
        "R3": tuple(reversed(keys(3))),
        "R4": (keys(4)[0], b""),
    }
    acknowledged = [
        AcknowledgedCommit(
            one.entry.writer_id, one.entry.sequence, USCC, {NOW: ()}, NOW, has_other_keys=bool(one.entry.other_keys)
        )
        for one in page.commits
    ]
    await laboratory.database.write(record_acknowledged, acknowledged)

    def read(connection: Connection) -> list[bytes | None]:
        return list(connection.execute(select(changes.c.other_keys)).scalars())

    assert await laboratory.database.read(read) == [None] * 4


async def test_a_node_without_a_node_above_keeps_none(laboratory: Laboratory) -> None:
    await laboratory.send([make_tube(1)], pepper=SECOND)
    page = await laboratory.database.read(read_page, {}, JILIN)
    assert [commit.entry.other_keys for commit in page.commits] == [{}]
