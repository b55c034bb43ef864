"""The sources of the nation's secret: a file, a file descriptor, or a command of a key store.

A descriptor can be read only once, and a command may cost a call to a KMS. A process therefore reads each source once
and keeps the secret.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import select
import shlex
import signal
import subprocess
import time
from functools import cache
from pathlib import Path
from typing import NamedTuple

from hutong_texts import english
from hutong_texts.system import system_text

from services.domain.subject import Pepper
from services.runtime.configuration.unreadable import unreadable
from services.runtime.configuration.variables import BadSetting

_LEAST_BYTES = 32
"""The least bytes of a secret: the length of a SHA-256 hash. A shorter secret would be easier to guess than the hash.
"""
_MOST_BYTES = 4096
"""The most bytes of a secret. No key is as long. A longer text comes from a wrong command or a wrong file."""
_SOURCE_SECONDS = 30.0
"""How long a command may run, and how long reading a descriptor may take. Calls to a KMS take under a second."""


class PepperSource(NamedTuple):
    """The settings of a pepper's source. At most one source is given.

    Without any, an embedded node makes its own secret. `name` is the prefix of the settings' names. `version` is the
    key version of the secret.
    """

    file: Path | None
    descriptor: int | None
    command: str
    name: str = "HUTONG_PEPPER"
    version: int = 1

    @property
    def kind(self) -> str:
        """Return "file", "descriptor", "command", or "embedded" if no source is given."""
        return self._given[0] if self._given else "embedded"

    @property
    def _given(self) -> list[str]:
        kinds = ("file", "descriptor", "command")
        return [kind for kind in kinds if getattr(self, kind) not in (None, "")]

    def check(self) -> None:
        """Check that at most one source is given.

        Raises:
            BadSetting: two sources are given.
        """
        if len(self._given) > 1:
            raise BadSetting(english("give one of {name}_FILE, {name}_DESCRIPTOR and {name}_COMMAND", name=self.name))


def check_sources(written: PepperSource, other: PepperSource) -> None:
    """Check the sources of both peppers, without reading them.

    Raises:
        BadSetting: two sources are given for one pepper, or the versions of the peppers do not fit together.
    """
    written.check()
    other.check()
    if (other.kind == "embedded") != (other.version == 0):
        raise BadSetting(
            english("HUTONG_PEPPER_OTHER_VERSION goes with HUTONG_PEPPER_OTHER_FILE, _DESCRIPTOR or _COMMAND")
        )
    if other.version and abs(other.version - written.version) != 1:
        raise BadSetting(english("HUTONG_PEPPER_OTHER_VERSION must be one more or one less than HUTONG_PEPPER_VERSION"))


def read_peppers(written: PepperSource, other: PepperSource, directory: Path) -> Pepper:
    """Return the pepper under which keys are written. If `other` is given, the returned pepper has both.

    Raises:
        BadSetting: a source cannot be used, or both give the same secret.
    """
    pepper = read_pepper(written, directory)
    if other.kind == "embedded":
        return pepper
    second = read_pepper(other, directory)
    if second.secret == pepper.secret:
        raise BadSetting(english("HUTONG_PEPPER_OTHER_* gives the same secret as HUTONG_PEPPER_*: give the second one"))
    return Pepper(pepper.secret, pepper.version, second)


def read_pepper(source: PepperSource, directory: Path, seconds: float = _SOURCE_SECONDS) -> Pepper:
    """Return the pepper from its source.

    Without a source, the pepper is the content of a file in `directory`. The first start makes that file. A command
    must end within `seconds`, and so must the content of a descriptor.

    Raises:
        BadSetting: the source cannot be used, or gives less than 32 or more than 4,096 bytes.
    """
    if source.command:
        secret = _secret_of_command(source.command, f"{source.name}_COMMAND", seconds)
    elif source.descriptor is not None:
        secret = _secret_of_descriptor(source.descriptor, f"{source.name}_DESCRIPTOR", seconds)
    else:
        secret = _read_file(_make_file(directory) if source.file is None else source.file, f"{source.name}_FILE")
    return Pepper(secret, source.version)


@cache
def _secret_of_command(command: str, name: str, seconds: float) -> bytes:
    """Run a command without a shell and return the secret that it prints.

    The output never appears in a log or an error.
    """
    try:
        # The command gets its own process group, so that the processes that it starts can be ended with it.
        process = subprocess.Popen(  # noqa: S603 - the operator's own setting, as the program hutongd is
            shlex.split(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        raise BadSetting(
            english(
                "{name} cannot be run: {cause}; correct the path of its program", name=name, cause=system_text(error)
            )
        ) from None
    except ValueError:
        raise BadSetting(
            english("{name} cannot be run: close its quotes, and leave out zero bytes", name=name)
        ) from None
    assert process.stdout is not None
    until = time.monotonic() + seconds
    try:
        secret = _read_until(process.stdout.fileno(), until)
        # The command is not waited for if its output is too long, because it may never end.
        code = 0 if len(secret) > _MOST_BYTES else process.wait(max(0.0, until - time.monotonic()))
    except (TimeoutError, subprocess.TimeoutExpired):
        raise BadSetting(
            english(
                "{name} did not end within {seconds:g} seconds; run it by hand to see why", name=name, seconds=seconds
            )
        ) from None
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.stdout.close()
        process.wait()
    if code != 0:
        raise BadSetting(
            english("{name} failed with exit code {code}; run it by hand to see why", name=name, code=code)
        )
    return _checked(name, secret)


@cache
def _secret_of_descriptor(descriptor: int, name: str, seconds: float) -> bytes:
    """Return the secret in an open file descriptor, and close the descriptor."""
    try:
        secret = _read_until(descriptor, time.monotonic() + seconds)
        os.close(descriptor)
    except TimeoutError:
        raise BadSetting(
            english(
                "{name}: {descriptor} did not end within {seconds:g} seconds; close it after the secret is written",
                name=name,
                descriptor=descriptor,
                seconds=seconds,
            )
        ) from None
    except OSError as error:
        raise BadSetting(
            english(
                "{name}: {descriptor} cannot be read: {cause}; open it for this process, as a shell does with 3< FILE",
                name=name,
                descriptor=descriptor,
                cause=system_text(error),
            )
        ) from None
    return _checked(name, secret)


def _read_until(descriptor: int, until: float) -> bytes:
    """Return the content of a file or pipe up to its end. If it is too long, return only the beginning.

    Raises:
        TimeoutError: the pipe did not end in time.
        OSError: it cannot be read.
    """
    content = b""
    while len(content) <= _MOST_BYTES:
        ready, _, _ = select.select([descriptor], [], [], max(0.0, until - time.monotonic()))
        if not ready:
            raise TimeoutError
        part = os.read(descriptor, _MOST_BYTES + 1 - len(content))
        if not part:
            break
        content += part
    return content


def _read_file(path: Path, name: str) -> bytes:
    try:
        with path.open("rb") as file:
            secret = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise BadSetting(english("{name} {fault}", name=name, fault=unreadable(path, error))) from None
    return _checked(name, secret)


def _checked(name: str, secret: bytes) -> bytes:
    """Return a secret after checking its length. `name` is the setting that gave the secret."""
    if len(secret) < _LEAST_BYTES:
        raise BadSetting(
            english("{name} gives less than {least} bytes: give the whole secret", name=name, least=_LEAST_BYTES)
        )
    if len(secret) > _MOST_BYTES:
        raise BadSetting(
            english("{name} gives more than {most} bytes: give the secret alone", name=name, most=_MOST_BYTES)
        )
    return secret


def _make_file(directory: Path) -> Path:
    """Return the file of an embedded node's secret. The first start makes the file. Only its owner can read it.

    Raises:
        BadSetting: the directory cannot be used.
    """
    path = directory / "pepper"
    try:
        if not path.exists():
            _make_secret(path)
    except OSError as error:
        raise BadSetting(
            english(
                "HUTONG_DATA_DIR cannot be used: {directory}: {cause}; change it, or its owner and permissions",
                directory=directory,
                cause=system_text(error),
            )
        ) from None
    return path


def _make_secret(path: Path) -> None:
    """Create the secret atomically. Services that start at the same time must all read the same secret."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    with open(draft, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(secrets.token_bytes(_LEAST_BYTES))
    with contextlib.suppress(FileExistsError):
        os.link(draft, path)
    draft.unlink()
