"""`hutongd config`: shows what is set and where it is set, and prints an example file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from operator import attrgetter
from pathlib import Path

from hutong_texts import tr
from hutong_texts.layout import pad

from services.command.files.file_owners import refuse_foreign_files
from services.command.files.private_files import check_private_files
from services.command.files.rule_files import find_rule_faults
from services.command.workers import check_workers
from services.runtime.certificates import check_certificate_use, check_tls_files
from services.runtime.configuration.pepper_source import read_pepper
from services.runtime.configuration.settings import DECLARED, Settings, given_texts
from services.runtime.configuration.variables import BadSetting, Declared
from services.runtime.server.server import check_exposure
from services.storage.migrate import SERVICES


def check_settings(settings: Settings, services: Sequence[str] = SERVICES) -> None:
    """Check for faults that would prevent a start of these services, although each setting by itself is valid.

    Such faults are TLS files or rule files that cannot be used, files that other users can use, callers that nobody
    could identify, workers that cannot serve, and a pepper that is missing. Policy needs a pepper only for bearer
    tokens. Descriptors are not read, and commands are not run.

    Raises:
        BadSetting: a start would refuse the settings.
    """
    check_tls_files(settings.tls)
    check_certificate_use(settings.tls)
    refuse_foreign_files(settings, services)
    check_private_files(settings, services)
    for _, fault in find_rule_faults(settings):
        if fault:
            raise BadSetting(fault)
    for service in services:
        own = settings.service(service)
        check_exposure(own.address, settings)
        check_workers(settings, [service], own.workers)
    if tuple(services) == ("policy",) and settings.token_keys_file is None:
        return
    kinds = {settings.pepper_source.kind, settings.other_pepper_source.kind}
    makes_own = settings.pepper_source.kind == "embedded" and settings.results.database_url.startswith("sqlite")
    if not kinds <= {"file", "embedded"}:
        return
    if not makes_own:
        settings.pepper()
    elif settings.other_pepper_source.kind == "file":
        read_pepper(settings.other_pepper_source, settings.data_dir)


def show_settings(environment: Mapping[str, str], config: Path | None, *, as_json: bool) -> str:
    """Return every setting with its value and the place where it is set. Secrets are left out."""
    given = given_texts(environment, config)
    settings = Settings.from_environment(environment, config)
    rows = [
        {
            "key": one.key,
            "variable": one.name,
            "value": _shown(one, settings),
            "source": given[one.name][1] if one.name in given else "default",
        }
        for one in DECLARED.values()
    ]
    if as_json:
        return json.dumps({"settings": rows}, ensure_ascii=False, indent=2)
    return "\n".join(
        f"{row['key']:28} {pad(_text(row['value']), 44)} {_words_of_source(str(row['source']))}" for row in rows
    )


def _words_of_source(source: str) -> str:
    """Return the words for the source of a setting. A source that is a file is returned unchanged."""
    return {"default": tr("default"), "environment": tr("environment")}.get(source, source)


def _shown(one: Declared, settings: Settings) -> object:
    value = attrgetter(one.key)(settings)
    value = one.variable.redact(value)
    return str(value) if isinstance(value, Path) else value


def _text(value: object) -> str:
    return "-" if value is None or value == "" else str(value)


def example() -> str:
    """Return an example of the TOML file. It has every setting with its meaning and default, commented out."""
    lines = [
        "# "
        + tr("Settings of a Hutong node: hutongd --config FILE, or HUTONG_CONFIG=FILE. Every line shows the default."),
        "# " + tr("The environment wins over this file: HUTONG_RESULTS_ADDRESS over address in [results], and so on."),
        "# " + tr("Printed by `hutongd config example`."),
    ]
    table = ""
    for one in sorted(DECLARED.values(), key=lambda one: one.key.rpartition(".")[0]):
        inside, _, key = one.key.rpartition(".")
        if inside != table:
            lines += ["", f"[{inside}]"]
            table = inside
        lines += ["", f"# {tr(one.variable.describe())}", f"#{key} = {_default(one)}"]
    return "\n".join(lines) + "\n"


def _default(one: Declared) -> str:
    """Return a default as TOML. A default that is derived only at the start is shown as an empty text."""
    default = one.variable.default if isinstance(one.variable.default, str) else ""
    if one.kind in {"int", "float"} and default:
        return default
    return json.dumps(default)
