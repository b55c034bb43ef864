"""`hutongd doctor`: checks everything that a node needs, and prints what to do. The command changes nothing."""

from __future__ import annotations

import asyncio
import contextlib
import platform
import sqlite3
import ssl
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from hutong_texts import Text, english, join
from sqlalchemy import exc

from services.command.doctor.findings import Finding, Level, report, worst
from services.command.doctor.machine import check_clock, check_disk, is_given_away, is_open_to_others
from services.command.doctor.servers import check_clocks, check_replicas
from services.command.doctor.tls import check_certificates, check_server_certificate
from services.command.faults import describe
from services.command.files.file_owners import find_foreign_files
from services.command.files.private_files import find_open_files
from services.command.files.rule_files import find_rule_faults
from services.command.probe import is_served
from services.command.version import find_version
from services.domain.errors import HutongError
from services.results.exchange.upstream.tree_check import check_tree
from services.results.records import tables
from services.results.tables import metadata
from services.runtime.addresses import is_same_server, socket_path, split_address
from services.runtime.client.channels import open_channel
from services.runtime.clock import SystemClock
from services.runtime.configuration.settings import Settings
from services.runtime.configuration.variables import BadSetting
from services.runtime.server.server import check_exposure, find_bind_error
from services.storage.connections import create_inspecting_engine, find_sqlite_file, has_unlimited_reads
from services.storage.errors import UnusableDatabase
from services.storage.migrate import find_schema_fault
from services.storage.pepper_marks import check_marks, read_marks
from services.storage.schema.online_indexes import find_missing_in

ANSWER_SECONDS = 3.0
"""How long a server may take to answer, in seconds. Connecting takes less than a second even over a slow link."""


def diagnose(environment: Mapping[str, str], config: Path | None, services: Sequence[str], *, as_json: bool) -> int:
    """Print the findings for a node that runs these services.

    Return the exit code: 0 if all is well, 1 for warnings, 2 for faults.
    """
    findings = [_versions()]
    try:
        settings = Settings.from_environment(environment, config)
    except BadSetting as error:
        findings.append(Finding(english("settings"), Level.FAULT, error.text))
    else:
        findings += [Finding(english("settings"), Level.OK, english("can be used")), *_local(settings, services)]
        findings += asyncio.run(_servers(settings, services))
    print(report(findings, as_json=as_json))
    return worst(findings)


def _versions() -> Finding:
    version, commit = find_version()
    own = english("hutong {version}, commit {commit}", version=version, commit=commit)
    parts = (f"Python {platform.python_version()}", f"gRPC {grpc.__version__}", f"SQLite {sqlite3.sqlite_version}")
    return Finding(english("versions"), Level.OK, join([own, *parts, ssl.OPENSSL_VERSION]))


def _local(settings: Settings, services: Sequence[str]) -> Iterator[Finding]:
    yield check_clock()
    yield from _guarded(english("clock"), lambda: check_clocks(settings, services, SystemClock()))
    yield from _guarded(english("disk"), lambda: check_disk(settings, services))
    yield from _guarded(english("certificates"), lambda: check_certificates(settings.tls))
    yield from _guarded(english("private files"), lambda: _private_files(settings, services))
    for check, fault in find_rule_faults(settings):
        yield Finding(check, Level.FAULT if fault else Level.OK, fault or english("can be used"))
    for service in services:
        check = english("database of {service}", service=service)
        yield from _guarded(check, lambda: [_schema(settings, service)])  # noqa: B023 - it is called at once
    if "results" in services:
        yield from _guarded(english("read replicas"), lambda: check_replicas(settings))
    yield from _guarded(english("pepper"), lambda: [_pepper(settings)])


def _guarded(check: Text, find: Callable[[], Iterable[Finding]]) -> list[Finding]:
    """Return the findings of a check.

    If the check fails for a cause outside this program, return a finding with that cause.
    """
    try:
        return list(find())
    except Exception as error:
        text = describe(error)
        if text is None:
            raise
        return [Finding(check, Level.FAULT, text)]


def _private_files(settings: Settings, services: Sequence[str]) -> Iterator[Finding]:
    # Files in a folder that this user cannot enter cannot be looked at further.
    for fault in list(find_foreign_files(settings, services)) or find_open_files(settings, services):
        yield Finding(english("private files"), Level.FAULT, fault)


def _schema(settings: Settings, service: str) -> Finding:
    check = english("database of {service}", service=service)
    url = settings.service(service).database_url
    file = find_sqlite_file(url)
    if file is not None and not file.exists():
        return Finding(check, Level.OK, english("{file} does not exist yet; the first start makes it", file=file))
    try:
        fault = find_schema_fault(service, url)
    except HutongError as error:
        return Finding(check, Level.FAULT, error.message)
    if not fault and service == "results" and (missing := find_missing_in(url, metadata)):
        advice = english(
            "the indexes {names} are missing: run hutongd migrate {service}", names=", ".join(missing), service=service
        )
        return Finding(check, Level.WARNING, advice)
    if not fault and has_unlimited_reads(url):
        return Finding(
            check,
            Level.WARNING,
            english("reads have no limit behind the pooler: ALTER ROLE … SET statement_timeout = '60s' for the role"),
        )
    if not fault:
        return Finding(check, Level.OK, english("has this version's schema"))
    return Finding(check, Level.FAULT, fault)


def _pepper(settings: Settings) -> Finding:
    generated = settings.data_dir / "pepper"
    is_embedded = settings.pepper_source.kind == "embedded"
    if is_embedded and settings.results.database_url.startswith("sqlite") and not generated.exists():
        return Finding(
            english("pepper"),
            Level.OK,
            english("{generated} does not exist yet; the first start makes it", generated=generated),
        )
    try:
        pepper = settings.pepper()
    except BadSetting as error:
        return Finding(english("pepper"), Level.FAULT, error.text)
    file = generated if is_embedded else settings.pepper_file
    if file is not None and is_open_to_others(file):
        return Finding(
            english("pepper"), Level.WARNING, english("other users may read {file}: chmod 600 {file}", file=file)
        )
    with contextlib.suppress(exc.SQLAlchemyError, HutongError, UnusableDatabase):
        marks = _stored_marks(settings.results.database_url)
        if marks:
            try:
                check_marks(marks, pepper)
            except (BadSetting, UnusableDatabase) as error:
                return Finding(english("pepper"), Level.FAULT, error.text)
            return Finding(
                english("pepper"), Level.OK, english("is the one that the Results database was filled under")
            )
    return Finding(
        english("pepper"), Level.OK, english("can be used; Results has no mark of it yet, or cannot be read")
    )


def _stored_marks(url: str) -> dict[int, bytes]:
    file = find_sqlite_file(url)
    if file is not None and not file.exists():
        return {}
    engine = create_inspecting_engine(url)
    try:
        with engine.connect() as connection:
            return read_marks(connection, tables.pepper_marks)
    finally:
        engine.dispose()


async def _servers(settings: Settings, services: Sequence[str]) -> list[Finding]:
    """Check the servers at the addresses of this node and of the nation, all at once."""
    own = [_address(settings, service, services) for service in services]
    upstream = {
        english("upstream"): settings.upstream,
        english("upstream policy"): settings.upstream_policy,
        english("upstream verification"): settings.upstream_verification,
    }
    above = [_upstream(settings, name, one) for name, one in upstream.items() if one]
    metrics = [_metrics(settings.metrics_address)] if settings.metrics_address else []
    return list(await asyncio.gather(*own, *metrics, *above))


async def _metrics(address: str) -> Finding:
    """Check that the address of the metrics is free, or that a process of Hutong serves it."""
    check = english("address of metrics")
    cause = find_bind_error(address)
    if not cause:
        return Finding(check, Level.OK, english("{address} is free", address=address))
    if await asyncio.to_thread(is_served, address):
        return Finding(check, Level.OK, english("{address} is served by Hutong", address=address))
    return _taken(check, address, cause, "HUTONG_METRICS_ADDRESS")


def _taken(check: Text, address: str, cause: Text, variable: str) -> Finding:
    """Return the fault of an address that another program has."""
    return Finding(
        check,
        Level.FAULT,
        english(
            "{address}: {cause}, and no Hutong answers: free it, or change {variable}",
            address=address,
            cause=cause,
            variable=variable,
        ),
    )


async def _address(settings: Settings, service: str, services: Sequence[str]) -> Finding:
    address = settings.service(service).address
    check = english("address of {service}", service=service)
    variable = f"HUTONG_{service.upper()}_ADDRESS"
    try:
        check_exposure(address, settings)
    except BadSetting as error:
        return Finding(check, Level.FAULT, error.text)
    for other in services:
        if other != service and is_same_server(address, settings.service(other).address):
            advice = english(
                "{address} is the address of {other} too: change {variable}",
                address=address,
                other=other,
                variable=variable,
            )
            return Finding(check, Level.FAULT, advice)
    cause = find_bind_error(address)
    if not cause:
        port = 0 if socket_path(address) else split_address(address)[1]
        if is_given_away(port):
            advice = english(
                "{address} is free, but a connection that this machine opens may take it before a start: reserve the "
                "ports of the services (net.ipv4.ip_local_reserved_ports, deploy/systemd/hutong-ports.conf)",
                address=address,
            )
            return Finding(check, Level.WARNING, advice)
        return Finding(check, Level.OK, english("{address} is free", address=address))
    serves, text = await _health(settings, address)
    if serves is None:
        return _taken(check, address, cause, variable)
    if not serves:
        return Finding(
            check,
            Level.FAULT,
            english(
                "{address} is served by Hutong and is not healthy: {text}; read its log", address=address, text=text
            ),
        )
    return Finding(check, Level.OK, english("{address} is served by Hutong", address=address))


async def _upstream(settings: Settings, name: Text, address: str) -> Finding:
    if settings.tls.calls_tls:
        found = await asyncio.to_thread(check_server_certificate, name, address, settings.tls, ANSWER_SECONDS)
        if found.level is Level.FAULT:
            return found
    else:
        found = Finding(name, Level.OK, Text(""))
    serves, text = await _health(settings, address)
    if serves is None:
        cause = english(
            "{address} does not answer ({text}): check the address, the network and the nation's node",
            address=address,
            text=text,
        )
        return Finding(name, Level.FAULT, cause)
    if not serves:
        return Finding(
            name,
            Level.WARNING,
            english("{address} is not healthy ({text}): ask the nation's operators", address=address, text=text),
        )
    if name == "upstream":
        try:
            await check_tree(partial(open_channel, address, settings), settings.jurisdiction, ANSWER_SECONDS)
        except BadSetting as error:
            return Finding(name, Level.FAULT, error.text)
    return found if found.level else Finding(name, Level.OK, _answers(address, found.text))


def _answers(address: str, certificate: Text) -> Text:
    if not certificate:
        return english("{address} answers", address=address)
    return english("{address} answers; {certificate}", address=address, certificate=certificate)


async def _health(settings: Settings, address: str) -> tuple[bool | None, str]:
    """Return whether a server is healthy, and the name of its status. The former is None if no server answers."""
    async with open_channel(address, settings) as channel:
        try:
            answer = await health_pb2_grpc.HealthStub(channel).Check(  # type: ignore[attr-defined]
                health_pb2.HealthCheckRequest(), timeout=ANSWER_SECONDS, wait_for_ready=False
            )
        except grpc.aio.AioRpcError as error:
            silent = error.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}
            return None if silent else False, error.code().name
    status = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
    return answer.status == health_pb2.HealthCheckResponse.SERVING, status
