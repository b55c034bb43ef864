"""Compares an upload through the service with the raw bulk load of the same rows into the same tables and engine."""

from __future__ import annotations

import sqlite3
import statistics
import time
from pathlib import Path

import grpc
import psycopg
from hutong.results.v1 import lab_pb2, upload_pb2, upload_service_pb2
from hutong.results.v1.lab_service_pb2 import CreateLabRequest
from hutong.results.v1.lab_service_pb2_grpc import LabServiceStub
from sqlalchemy import make_url

from services.results.upload.stream import UPLOAD_METHOD
from tests.bench.measure import ROUNDS, Measurement
from tests.bench.nodes import bench_node
from tests.bench.tubes import LAB, make_tubes
from tests.support.databases import PostgresServer, SqliteDatabases

BATCH = 1_000
UNLIMITED = {"HUTONG_LAB_PERSONS_PER_SECOND": "100000000"}
"""By default the quota of one laboratory is 50,000 persons a second. With that quota, the bench's only laboratory could
not upload 200,000 persons faster than 68,000 a second."""


def bench_upload(directory: Path, postgres: PostgresServer, persons: int) -> list[Measurement]:
    """Measure the first upload of a day and its resend on both engines."""
    tubes = make_tubes(persons)
    measurements = []
    for engine in ("postgresql", "sqlite"):
        databases = postgres if engine == "postgresql" else SqliteDatabases(directory)
        rounds = [_upload(directory / f"node-{engine}-{turn}", databases, tubes, persons) for turn in range(ROUNDS)]
        first, again, raw = (persons / statistics.median(seconds) for seconds in zip(*rounds, strict=True))
        what, must = ("COPY", 0.40) if engine == "postgresql" else ("executemany", 0.55)
        measurements += [
            Measurement(f"upload, {engine}", first, f"raw {what}", raw, "persons/s", must),
            Measurement(f"resent day, {engine}", again, "first upload", first, "persons/s"),
        ]
    return measurements


def _upload(
    directory: Path, databases: PostgresServer | SqliteDatabases, tubes: list[upload_pb2.Tube], persons: int
) -> tuple[float, float, float]:
    """Return the seconds of a day's first upload, of the same day sent again, and of the raw bulk load of its rows."""
    url = databases.make("results")
    with (
        bench_node(directory, {"results": url}, UNLIMITED) as addresses,
        grpc.insecure_channel(addresses["results"]) as channel,
    ):
        lab = lab_pb2.Lab(name=LAB, display_name="bench", region="220500")
        LabServiceStub(channel).CreateLab(CreateLabRequest(lab=lab))
        first = send(channel, "first", tubes, persons, "accepted_count")
        again = send(channel, "again", tubes, persons, "duplicate_count")
    load = raw_executemany if isinstance(databases, SqliteDatabases) else raw_copy
    return first, again, load(url, databases.make("results"))


def send(channel: grpc.Channel, upload_id: str, tubes: list[upload_pb2.Tube], persons: int, counted: str) -> float:
    """Upload all tubes by one stream. Return the seconds until the last acknowledgement.

    The frames are encoded before the measurement, because encoding is work of the laboratory, and would take processor
    time of the same machine.
    """
    start = upload_service_pb2.UploadResultsRequest(start=upload_pb2.UploadStart(lab=LAB, upload_id=upload_id))
    batches = (
        upload_pb2.TubeBatch(offset=offset, tubes=tubes[offset : offset + BATCH])
        for offset in range(0, len(tubes), BATCH)
    )
    frames = [
        start.SerializeToString(),
        *(upload_service_pb2.UploadResultsRequest(batch=batch).SerializeToString() for batch in batches),
    ]
    upload: grpc.StreamStreamMultiCallable[bytes, upload_service_pb2.UploadResultsResponse] = channel.stream_stream(
        UPLOAD_METHOD, response_deserializer=upload_service_pb2.UploadResultsResponse.FromString
    )
    begun = time.perf_counter()
    count = sum(getattr(response, counted) for response in upload(iter(frames)))
    seconds = time.perf_counter() - begun
    assert count == persons, f"{count} of {persons} persons counted as {counted}"
    return seconds


def raw_copy(source: str, target: str) -> float:
    """Return the seconds that COPY takes for the rows of `source`, all in one transaction."""
    with psycopg.connect(_libpq(source)) as reader, psycopg.connect(_libpq(target)) as writer:
        texts = {table: _dump(reader, table) for table in ("report_keys", "results")}
        months = reader.execute(
            "SELECT c.relname, pg_get_expr(c.relpartbound, c.oid) FROM pg_inherits i"
            " JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'results'::regclass"
        ).fetchall()
        for name, bounds in months:
            writer.execute(f"CREATE TABLE IF NOT EXISTS {name} PARTITION OF results {bounds}")  # type: ignore[call-overload]
        writer.commit()
        begun = time.perf_counter()
        for table, text in texts.items():
            with writer.cursor().copy(f"COPY {table} FROM STDIN") as copy:  # type: ignore[call-overload]
                copy.write(text)
        writer.commit()
        return time.perf_counter() - begun


def _dump(connection: psycopg.Connection[tuple[object, ...]], table: str) -> bytes:
    with connection.cursor().copy(f"COPY (SELECT * FROM {table}) TO STDOUT") as copy:  # type: ignore[call-overload]
        return b"".join(bytes(chunk) for chunk in copy)


def _libpq(url: str) -> str:
    return make_url(url).render_as_string(hide_password=False)


def raw_executemany(source: str, target: str) -> float:
    """Return the seconds that executemany takes for the rows of `source`, all in one transaction.

    The database has the same journal and synchronous settings as the service's.
    """
    with sqlite3.connect(make_url(source).database or "") as reader:
        rows = {table: reader.execute(f"SELECT * FROM {table}").fetchall() for table in ("report_keys", "results")}
    writer = sqlite3.connect(make_url(target).database or "", isolation_level=None)
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "cache_size = -65536"):
        writer.execute(f"PRAGMA {pragma}")
    begun = time.perf_counter()
    writer.execute("BEGIN IMMEDIATE")
    for table, values in rows.items():
        marks = ", ".join("?" * len(values[0]))
        writer.executemany(f"INSERT INTO {table} VALUES ({marks})", values)
    writer.execute("COMMIT")
    seconds = time.perf_counter() - begun
    writer.close()
    return seconds
