"""docker-compose.yml and Dockerfile against the code; no engine runs here, so what they say is read and tried without one."""

from __future__ import annotations

import ast
import os
import re
import signal
import socket
import subprocess
import sys
import time
from importlib.metadata import packages_distributions, requires
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grimp
import httpx
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from core.postgres.database import sqlalchemy_url
from core.postgres.server import EmbeddedServer
from core.settings import ADMIN_KEY_ENV, DATABASE_URL_ENV, ENVIRONMENT_NAMES, MLFLOW_URL_ENV, STATE_ENV, TELEMETRY_OFF

if TYPE_CHECKING:
    from collections.abc import Iterable

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}
DOCKERFILE = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
PROGRAMS = Path(sys.executable).parent

#: A tag that names one version down to its last part.
PINNED = re.compile(r"^[a-z/]+:v?\d+\.\d+(\.\d+)?(-[a-z-]+)?$")
#: What other programs read: libpq, BentoML, MLflow, the shell.
OF_OTHERS = {"PGPASSWORD", "BENTOML_HOME", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "PATH"}


def _stages() -> dict[str, str]:
    """Map each stage of the Dockerfile to what it is built from."""
    return {name: base for base, name in re.findall(r"^FROM (\S+) AS (\S+)$", DOCKERFILE, re.MULTILINE)}


def _lines(word: str, stage: str) -> list[str]:
    block = re.split(r"^FROM ", DOCKERFILE, flags=re.MULTILINE)
    (found,) = (part for part in block if re.match(rf"\S+ AS {stage}\n", part))
    return [line.partition(" ")[2] for line in found.splitlines() if line.startswith(f"{word} ")]


def _image_environment() -> dict[str, str]:
    return dict(pair.split("=", 1) for line in _lines("ENV", "base") for pair in line.split())


def _healthcheck_address(service: str) -> str:
    (address,) = re.findall(r"http://127\.0\.0\.1:\d+/\w+", " ".join(SERVICES[service]["healthcheck"]["test"]))
    return str(address)


def test_every_image_is_pinned() -> None:
    stages = _stages()
    images = [service["image"] for service in SERVICES.values() if "image" in service]
    images += [base for base in stages.values() if base not in stages]
    assert len(images) == 4
    for image in images:
        assert PINNED.match(image), image


def test_the_database_is_the_version_that_is_embedded_elsewhere(tmp_path: Path) -> None:
    postgres = EmbeddedServer(tmp_path)._install / "bin" / "postgres"
    version = subprocess.run([postgres, "--version"], check=True, capture_output=True, text=True).stdout.split()[-1]
    assert SERVICES["database"]["image"] == f"postgres:{version}-bookworm"


def test_every_target_is_a_stage_that_runs_as_nobody_special() -> None:
    for service in OURS.values():
        target = service["build"]["target"]
        assert target in _stages()
        assert _lines("USER", target) == ["panthera"]


@pytest.mark.parametrize("service", OURS)
def test_the_program_of_a_command_is_installed(service: str) -> None:
    assert (PROGRAMS / SERVICES[service]["command"][0]).exists()


def test_the_images_run_what_their_services_run() -> None:
    for target in ("pipeline", "service"):
        (command,) = _lines("CMD", target)
        assert yaml.safe_load(command) == SERVICES[target]["command"]


def test_a_verb_of_ours_is_one_that_the_command_line_has() -> None:
    verb = SERVICES["schema"]["command"][1]
    done = subprocess.run([PROGRAMS / "panthera", verb, "--help"], check=True, capture_output=True, text=True)
    assert done.stdout.startswith("usage: panthera up")


def test_the_service_names_a_class_that_is_there() -> None:
    module, _, name = SERVICES["service"]["command"][2].partition(":")
    tree = ast.parse((ROOT / f"{module.replace('.', '/')}.py").read_text())
    assert name in {node.name for node in tree.body if isinstance(node, ast.ClassDef)}


def test_environment_names_are_those_that_somebody_reads() -> None:
    for name, service in OURS.items():
        assert set(service["environment"]) <= ENVIRONMENT_NAMES | OF_OTHERS, name
    assert set(_image_environment()) <= ENVIRONMENT_NAMES | OF_OTHERS | TELEMETRY_OFF.keys()


def test_the_images_send_no_telemetry() -> None:
    assert TELEMETRY_OFF.items() <= _image_environment().items()


def test_an_address_inside_names_a_service_and_the_port_that_it_listens_on() -> None:
    mlflow = [option.partition("=") for option in SERVICES["mlflow"]["command"][2:]]
    options = {name: value for name, _, value in mlflow}
    assert SERVICES["pipeline"]["environment"][MLFLOW_URL_ENV] == f"http://mlflow:{options['--port']}"
    assert f"mlflow:{options['--port']}" in options["--allowed-hosts"].split(",")
    url = SERVICES["mlflow"]["environment"][DATABASE_URL_ENV]
    assert options["--backend-store-uri"] == sqlalchemy_url(url, "mlflow")
    database = SERVICES["database"]["environment"]
    assert url == f"postgresql://{database['POSTGRES_USER']}@database:5432/{database['POSTGRES_DB']}"


def test_the_pipeline_and_the_service_share_the_state_and_the_service_only_reads_it() -> None:
    state = _image_environment()[STATE_ENV]
    assert f"state:{state}" in SERVICES["pipeline"]["volumes"]
    assert f"state:{state}:ro" in SERVICES["service"]["volumes"]


def test_every_volume_is_declared_and_belongs_to_the_user_of_the_image() -> None:
    mounts = {name: [mount.split(":") for mount in service.get("volumes", [])] for name, service in SERVICES.items()}
    assert {mount[0] for found in mounts.values() for mount in found} == set(COMPOSE["volumes"])
    (made,) = (line for line in _lines("RUN", "base") if "mkdir" in line)
    for name in OURS:
        assert all(mount[1] in made.split() for mount in mounts[name]), name


def test_nothing_but_the_service_is_published_and_on_this_machine_alone() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {
        "service": ["127.0.0.1:${PANTHERA_PORT:-3000}:3000"],
        "grafana": ["127.0.0.1:${GRAFANA_PORT:-3001}:3000"],
    }
    assert all("network_mode" not in service for service in SERVICES.values())
    command = SERVICES["service"]["command"]
    assert command[command.index("--port") + 1] == "3000"


def test_no_secret_stands_in_the_files() -> None:
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            if "SIGNING_KEY" in name:
                assert re.fullmatch(r"\$\{[A-Z_]+:-\}", value), name
            if ("PASSWORD" in name and not name.endswith("__FILE")) or "ADMIN_KEY" in name:
                assert re.fullmatch(r"\$\{[A-Z_]+:\?[^}]+\}", value), name
            assert not re.search(r"://[^/\s]*:[^/\s@]*@", value), name
    assert not re.search(r"password|secret|token", DOCKERFILE, re.IGNORECASE)


def test_the_service_has_a_first_key_before_it_starts_and_only_its_hash_is_kept() -> None:
    holders = [name for name, service in SERVICES.items() if ADMIN_KEY_ENV in service.get("environment", {})]
    assert holders == ["schema"]
    assert SERVICES["schema"]["command"] == ["panthera", "up"]


def test_health_is_asked_of_everything_that_stays() -> None:
    staying = {name for name, service in SERVICES.items() if "restart" in service}
    assert {name for name, service in SERVICES.items() if "healthcheck" in service} == staying
    waited = {name for service in SERVICES.values() for name, how in service.get("depends_on", {}).items()
              if how["condition"] == "service_healthy"}  # fmt: skip
    assert waited <= staying


def test_the_health_check_of_the_database_is_a_program_of_postgres(server_url: str, tmp_path: Path) -> None:
    _, program, *arguments = SERVICES["database"]["healthcheck"]["test"]
    programs = EmbeddedServer(tmp_path)._install / "bin"
    place = server_url.partition("host=")[2]
    assert subprocess.run([programs / program, *arguments, "--host", place], check=False).returncode == 0


def test_the_health_check_of_the_service_is_a_route_of_its_own() -> None:
    # Read, not imported: that it says whether a prediction would be answered is a test of the service's own.
    route = _healthcheck_address("service").removeprefix("http://127.0.0.1:3000")
    assert f'"{route}": ("GET", Endpoints.ready)' in (ROOT / "serving" / "app.py").read_text()


def test_the_service_has_time_to_answer_its_last_requests() -> None:
    (seconds,) = re.findall(
        r"^_SECONDS_TO_STOP = ([0-9.]+)$", (ROOT / "serving" / "workers" / "processes.py").read_text(), re.MULTILINE
    )
    assert float(SERVICES["service"]["stop_grace_period"].removesuffix("s")) > float(seconds)


def test_mlflow_starts_as_it_is_told_to_and_answers_to_its_name(database_url: str, tmp_path: Path) -> None:
    command = SERVICES["mlflow"]["command"]
    told = sqlalchemy_url(SERVICES["mlflow"]["environment"][DATABASE_URL_ENV], "mlflow")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    places = {
        told: sqlalchemy_url(database_url, "mlflow"),
        "/artifacts": str(tmp_path),
        "--port=5000": f"--port={port}",
        "0.0.0.0": "127.0.0.1",  # noqa: S104
    }
    for said, here in places.items():
        command = [word.replace(said, here) for word in command]
    given = {name: value for name, value in SERVICES["mlflow"]["environment"].items() if name.startswith("MLFLOW_")}
    log = tmp_path / "mlflow.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [PROGRAMS / command[0], *command[1:]],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, **TELEMETRY_OFF, **given},
            start_new_session=True,
        )
    try:
        address = _healthcheck_address("mlflow").replace("5000", str(port))
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and server.poll() is None:
            try:
                assert httpx.get(address, headers={"Host": "127.0.0.1:5000"}).is_success, log.read_text()
                break
            except httpx.TransportError:
                time.sleep(0.2)
        asked = address.replace("/health", "/api/2.0/mlflow/experiments/search?max_results=1")
        assert httpx.get(asked, headers={"Host": "mlflow:5000"}, timeout=60).is_success, log.read_text()
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(60)


def test_the_image_of_the_service_holds_what_bentofile_names_and_the_lock_pins(tmp_path: Path) -> None:
    (installs,) = (line for line in _lines("RUN", "service-packages") if "bentofile.yaml" in line)
    choose = installs.partition(" && ")[0].partition(" > ")[0].strip()
    chosen = subprocess.run(["sh", "-c", choose], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert chosen.split() == yaml.safe_load((ROOT / "bentofile.yaml").read_text())["python"]["packages"]
    assert "--require-hashes -c requirements.lock" in installs
    locked = (ROOT / "requirements.lock").read_text()
    for pin in map(Requirement, chosen.split()):
        assert re.search(rf"^{re.escape(f'{pin.name}{pin.specifier}')} ", locked, re.MULTILINE), pin


def test_the_image_of_the_service_lacks_nothing_that_answers_need() -> None:
    packages = yaml.safe_load((ROOT / "bentofile.yaml").read_text())["python"]["packages"]
    held = _with_what_they_require(packages) | {"pantherapredict"}
    absent = [
        module
        for module, distributions in packages_distributions().items()
        if not held & {canonicalize_name(name) for name in distributions}
    ]
    assert {"dvc", "diskcache", "mlflow", "feast", "duckdb"} <= set(absent)
    program = (
        "import sys\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name in {absent!r}: raise ModuleNotFoundError(f'no {{name}}', name=name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        f"import serving.service, {', '.join(_imported_at_any_time('serving.service'))}\n"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", program], cwd=ROOT, check=True)


def _imported_at_any_time(module: str) -> list[str]:
    packages = ("core", "feature_repo", "models", "serving")
    graph = grimp.build_graph(
        *packages, include_external_packages=True, exclude_type_checking_imports=True, cache_dir=None
    )
    return sorted(found for found in graph.find_upstream_modules(module) if graph.is_module_squashed(found))


def _with_what_they_require(packages: Iterable[str]) -> set[str]:
    held: set[str] = set()
    wanted = [Requirement(package) for package in packages]
    while wanted:
        asked = wanted.pop()
        if (name := canonicalize_name(asked.name)) in held and not asked.extras:
            continue
        held.add(name)
        extras = {"", *asked.extras}
        required = [Requirement(line) for line in requires(name) or []]
        wanted += [
            one for one in required if not one.marker or any(one.marker.evaluate({"extra": extra}) for extra in extras)
        ]
    return held
