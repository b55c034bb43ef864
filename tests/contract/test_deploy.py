"""Image, compose file, Kubernetes manifests and systemd unit name settings, ports, commands and files that exist."""

from __future__ import annotations

import functools
import re
import shlex
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.supply.packages import main
from services.command.parser import make_parser
from services.command.worker import EXIT_USAGE
from services.runtime.configuration.settings import DECLARED, VARIABLES, Settings
from services.runtime.configuration.variables import BadSetting

ROOT = Path(__file__).parents[2]
BASE = ROOT / "deploy/kubernetes/base"
IMAGE = ROOT / "deploy/image"
CONTAINERFILE = (IMAGE / "Containerfile").read_text(encoding="utf-8")
SERVICES = ("results", "policy", "verification")
PORTS = {
    service: int(Settings.from_environment({}).service(service).address.rpartition(":")[2]) for service in SERVICES
}
COMMANDS = set(tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"])
DRAIN_SECONDS = Settings.from_environment({}).drain_seconds
SETTING = re.compile(r"\bHUTONG_[A-Z_]+")
OF_THE_BUILD = {"HUTONG_COMMIT"}
"""A variable that the build of wheels reads (hatch_build.py)."""


@functools.cache
def documents() -> list[dict[str, Any]]:
    """Return the objects of the manifests."""
    texts = [path.read_text(encoding="utf-8") for path in sorted(BASE.glob("*.yaml"))]
    return [one for text in texts for one in yaml.safe_load_all(text) if one]


def of_kind(kind: str) -> dict[str, dict[str, Any]]:
    return {one["metadata"]["name"]: one for one in documents() if one["kind"] == kind}


def pods() -> dict[str, dict[str, Any]]:
    """Return the templates of all pods by their component."""
    owners = [*of_kind("Deployment").values(), *of_kind("Job").values()]
    templates = [one["spec"]["template"] for one in owners]
    return {one["metadata"]["labels"]["app.kubernetes.io/component"]: one for one in templates}


def accepted(given: Mapping[str, str], folder: Path) -> Settings:
    """Return the settings as a start accepts them. The files that they name are empty ones in a folder of the test."""
    here = {}
    for name, value in given.items():
        here[name] = value
        if name.endswith("_FILE"):
            file = folder / value.lstrip("/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
            here[name] = str(file)
    return Settings.from_environment(here)


def variables_of(container: Mapping[str, Any]) -> dict[str, str]:
    """Return the settings of a container: those that all share, and its own."""
    (kustomization,) = (one for one in documents() if one["kind"] == "Kustomization")
    (shared,) = kustomization["configMapGenerator"]
    literals = dict(one.partition("=")[::2] for one in shared["literals"]) if "envFrom" in container else {}
    return literals | {one["name"]: one["value"] for one in container.get("env", ()) if "value" in one}


@pytest.mark.parametrize(
    "path", [*IMAGE.glob("*"), *BASE.glob("*"), *(ROOT / "deploy/systemd").glob("*")], ids=lambda path: path.name
)
def test_every_setting_exists(path: Path) -> None:
    found = set(SETTING.findall(path.read_text(encoding="utf-8"))) - OF_THE_BUILD
    assert found <= {"HUTONG_CONFIG", *VARIABLES}


def test_kustomization_lists_every_file() -> None:
    (kustomization,) = (one for one in documents() if one["kind"] == "Kustomization")
    assert {"kustomization.yaml", *kustomization["resources"]} == {path.name for path in BASE.glob("*.yaml")}
    used = {container["image"] for pod in pods().values() for container in pod["spec"]["containers"]}
    assert {one["name"] for one in kustomization["images"]} == used


@pytest.mark.parametrize("component", [*SERVICES, "migrate"])
def test_pods_run_commands_with_settings_that_can_be_used(component: str, tmp_path: Path) -> None:
    """The command parses, and the settings are accepted as at a start."""
    (container,) = pods()[component]["spec"]["containers"]
    options = make_parser().parse_args(container["args"])
    assert options.command in {"serve", "migrate"}
    given = variables_of(container)
    settings = accepted(given, tmp_path)
    assert settings.drain_seconds + 5 <= pods()[component]["spec"].get("terminationGracePeriodSeconds", 30)
    if component in SERVICES:
        assert options.service == component
        assert given[f"HUTONG_{component.upper()}_ADDRESS"] == f"0.0.0.0:{PORTS[component]}"
        assert container["ports"] == [{"name": "grpc", "containerPort": PORTS[component]}]
        for other in {*SERVICES} - {component}:
            if f"HUTONG_{other.upper()}_ADDRESS" in given:
                assert given[f"HUTONG_{other.upper()}_ADDRESS"] == f"hutong-{other}:{PORTS[other]}"
        for probe in ("startupProbe", "readinessProbe"):
            assert set(container[probe]["exec"]["command"]) <= COMMANDS
    mounted = {one["mountPath"] for one in container["volumeMounts"]}
    files = [value for name, value in given.items() if DECLARED[name].key.endswith("_file")]
    assert all(str(Path(value).parent) in mounted for value in files)


@pytest.mark.parametrize("component", [*SERVICES, "migrate"])
def test_pods_get_no_variables_of_services(component: str) -> None:
    """Variables of the Service hutong-web would be unknown settings, so the pod would not start."""
    assert "hutong-web" in of_kind("Service")
    with pytest.raises(BadSetting, match="HUTONG_WEB_SERVICE_HOST"):
        Settings.from_environment({"HUTONG_WEB_SERVICE_HOST": "10.0.0.1"})
    assert pods()[component]["spec"]["enableServiceLinks"] is False


@pytest.mark.parametrize("component", [*SERVICES, "migrate"])
def test_pods_have_the_password_of_postgresql(component: str) -> None:
    """A passfile from a secret would be of no use: the pod's group can read it, so that libpq ignores it."""
    (container,) = pods()[component]["spec"]["containers"]
    variables = {one["name"]: one.get("valueFrom") for one in container["env"]}
    assert variables["PGPASSWORD"] == {"secretKeyRef": {"name": "hutong", "key": "password"}}
    assert not [value for value in variables_of(container).values() if "passfile" in value]


@pytest.mark.parametrize("component", [*SERVICES, "envoy", "migrate"])
def test_no_pod_runs_as_root_or_can_write_its_image(component: str) -> None:
    pod = pods()[component]["spec"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert f"USER {pod['securityContext']['runAsUser']}:" in CONTAINERFILE
    for container in pod["containers"]:
        assert container["securityContext"]["readOnlyRootFilesystem"]
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["limits"]["memory"]
    assert not pod["automountServiceAccountToken"]


@pytest.mark.parametrize("component", [*SERVICES, "envoy"])
def test_selectors_find_their_pods(component: str) -> None:
    """Selectors of the Deployment, Service and disruption budget fit the pods. The port of the Service fits too."""
    pod = pods()[component]
    labels = pod["metadata"]["labels"]
    deployment = of_kind("Deployment")[f"hutong-{component}"]
    service = next(one for one in of_kind("Service").values() if one["spec"]["selector"] == labels)
    budget = of_kind("PodDisruptionBudget")[f"hutong-{component}"]["spec"]
    assert deployment["spec"]["selector"]["matchLabels"] == labels == budget["selector"]["matchLabels"]
    assert budget["minAvailable"] < deployment["spec"]["replicas"]
    (port,) = service["spec"]["ports"]
    assert port["targetPort"] in {one["name"] for one in pod["spec"]["containers"][0]["ports"]}
    if component in SERVICES:
        assert (service["metadata"]["name"], port["port"]) == (f"hutong-{component}", PORTS[component])


def test_network_policies_permit_what_the_services_need_and_name_pods_that_exist() -> None:
    components = pods().keys()
    policies = of_kind("NetworkPolicy")
    served = policies["hutong-in"]["spec"]
    assert set(served["podSelector"]["matchExpressions"][0]["values"]) == set(SERVICES) <= components
    for rule in (served["ingress"][0], policies["hutong-out"]["spec"]["egress"][2]):
        assert {one["port"] for one in rule["ports"]} == set(PORTS.values())
    (web,) = pods()["envoy"]["spec"]["containers"][0]["ports"]
    assert policies["hutong-web"]["spec"]["ingress"][0]["ports"][0]["port"] == web["containerPort"]
    assert policies["hutong-nothing"]["spec"]["policyTypes"] == ["Ingress", "Egress"]


def test_compose_starts_services_after_the_migration(tmp_path: Path) -> None:
    """The commands parse, the settings are accepted, and files in the containers are mounted."""
    services = yaml.safe_load((IMAGE / "compose.yaml").read_text(encoding="utf-8"))["services"]
    for name in (*SERVICES, "migrate"):
        service = services[name]
        options = make_parser().parse_args(service["command"])
        assert options.command == ("migrate" if name == "migrate" else "serve")
        accepted(service["environment"], tmp_path)
        targets = [one.split(":")[1] for one in service["volumes"]]
        for key, value in service["environment"].items():
            assert not key.endswith("_FILE") or any(value.startswith(target) for target in targets)
        assert service["read_only"]
    for name in SERVICES:
        assert services[name]["ports"] == [f"{PORTS[name]}:{PORTS[name]}"]
        assert services[name]["depends_on"]["migrate"]["condition"] == "service_completed_successfully"
        assert int(services[name]["stop_grace_period"].rstrip("s")) > DRAIN_SECONDS


def instructions(name: str) -> list[str]:
    """Return the arguments of an instruction of the Containerfile, each time that it stands there."""
    joined = CONTAINERFILE.replace("\\\n", " ")
    return re.findall(rf"^{name} (.+)$", joined, re.MULTILINE)


def test_base_images_are_of_exact_versions() -> None:
    """No tag moves to another version. The digest after a tag may change."""
    (python,) = [one.removeprefix("PYTHON=") for one in instructions("ARG") if one.startswith("PYTHON=")]
    compose = yaml.safe_load((IMAGE / "compose.yaml").read_text(encoding="utf-8"))
    (kustomization,) = (one for one in documents() if one["kind"] == "Kustomization")
    named = [python, *(one["image"] for one in compose["services"].values())]
    named += [f"{one['newName']}:{one['newTag']}" for one in kustomization["images"]]
    foreign = [one for one in named if not one.startswith("localhost/")]
    assert len(foreign) >= 3
    for image in foreign:
        assert re.fullmatch(r"[a-z./]+:v?\d+\.\d+(\.\d+)?(-[a-z-]+)?(@sha256:[0-9a-f]{64})?", image), image
        assert not image.split("@")[0].endswith("-latest")
    assert re.search(r":\d+\.\d+\.\d+-", python), "a release of Python has three numbers"


def test_the_image_copies_files_that_exist_and_runs_commands_that_exist() -> None:
    for copied in instructions("COPY"):
        if not copied.startswith("--from="):
            assert [one for one in copied.split()[:-1] if not (ROOT / one).exists()] == []
    assert instructions("ENTRYPOINT") == ['["hutongd"]']
    make_parser().parse_args(yaml.safe_load(instructions("CMD")[-1]))
    (health,) = re.findall(r"HEALTHCHECK .* CMD (\[.*\])", CONTAINERFILE)
    assert set(yaml.safe_load(health)) | {"hutongd"} <= COMMANDS
    assert [int(one) for one in instructions("EXPOSE")[0].split()] == list(PORTS.values())
    assert not [
        one
        for one in instructions("RUN")
        if "pip install" in one and "--require-hashes" not in one and "--no-index" not in one
    ]


@pytest.mark.parametrize(("file", "action"), [("requirements.lock", "requirements"), ("build.lock", "build")])
def test_the_image_installs_what_is_locked(file: str, action: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`make lock` writes both files from requirements.lock."""
    assert main([action]) == 0
    assert (IMAGE / file).read_text(encoding="utf-8") == capsys.readouterr().out, "run: make lock"


def test_the_unit_runs_commands_that_exist() -> None:
    """The unit waits longer for the end of its command than the service drains."""
    unit = (ROOT / "deploy/systemd/hutong@.service").read_text(encoding="utf-8")
    values = dict(re.findall(r"^(\w+)=(.*)$", unit, re.MULTILINE))
    program, *arguments = shlex.split(values["ExecStart"].replace("%i", "results"))
    assert Path(program).name in COMMANDS
    make_parser().parse_args(arguments)
    # RestartPreventExitStatus does not hold for ExecStartPre, so wrong settings would be tried for ever.
    assert values["RestartPreventExitStatus"] == str(EXIT_USAGE)
    assert "ExecStartPre" not in values
    assert int(values["TimeoutStopSec"]) > DRAIN_SECONDS
    assert values["User"] != "root"


def test_each_unit_may_have_settings_of_its_own() -> None:
    """The settings file is that of all units, and two processes cannot serve metrics at one address."""
    unit = (ROOT / "deploy/systemd/hutong@.service").read_text(encoding="utf-8")
    (file,) = re.findall(r"^EnvironmentFile=-(.*)$", unit, re.MULTILINE)
    assert len({file.replace("%i", service) for service in SERVICES}) == len(SERVICES)


def test_the_ports_of_the_services_are_reserved() -> None:
    (line,) = re.findall(
        r"^net\..*= (.*)$", (ROOT / "deploy/systemd/hutong-ports.conf").read_text("utf-8"), re.MULTILINE
    )
    first, last = map(int, line.split("-"))
    assert set(PORTS.values()) == {*range(first, last + 1)}
