"""prefect.yaml and docker/compose.yaml, as far as they can be checked without pools and without Docker."""

import importlib
import io
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from flows import FLOWS

ROOT = Path(__file__).parent.parent
POOLS = ("process", "docker", "kubernetes")
COMPOSE = ROOT / "docker/compose.yaml"


@pytest.fixture(scope="module")
def deployments() -> list[dict]:
    """As `prefect deploy` reads them."""
    from prefect.cli.deploy._config import _load_deploy_configs_and_actions
    from rich.console import Console

    said = Console(record=True, file=io.StringIO())
    found, _ = _load_deploy_configs_and_actions(ROOT / "prefect.yaml", console=said)
    assert said.export_text() == ""
    return found


def test_every_pool_has_every_flow(deployments: list[dict]) -> None:
    for pool in POOLS:
        mine = [one for one in deployments if one["name"] == pool]
        assert {one["entrypoint"] for one in mine} == {f"flows/{name}.py:{name}" for name in FLOWS}
        assert {one["work_pool"]["name"] for one in mine} == {pool}
    assert len(deployments) == len(POOLS) * len(FLOWS)


def test_every_entrypoint_is_a_flow_of_that_name(deployments: list[dict]) -> None:
    from prefect import Flow

    for one in deployments:
        file, name = one["entrypoint"].split(":")
        flow = getattr(importlib.import_module(file.removesuffix(".py").replace("/", ".")), name)
        assert isinstance(flow, Flow)
        assert flow.name == name


def test_only_refresh_is_scheduled_and_its_line_is_a_cron_line(deployments: list[dict]) -> None:
    from prefect.client.schemas.schedules import CronSchedule

    scheduled = [one for one in deployments if one.get("schedules")]
    assert {one["entrypoint"] for one in scheduled} == {"flows/refresh.py:refresh"}
    for one in scheduled:
        (schedule,) = one["schedules"]
        CronSchedule(cron=schedule["cron"], timezone=schedule["timezone"])


def test_runs_find_the_project(deployments: list[dict]) -> None:
    for one in deployments:
        (step,) = one["pull"]
        folder = step["prefect.deployments.steps.set_working_directory"]["directory"]
        assert folder == ("{{ $PWD }}" if one["name"] == "process" else "/workspace")
    process = next(one for one in deployments if one["name"] == "process")
    assert process["work_pool"]["job_variables"]["working_dir"] == "{{ $PWD }}"
    docker = next(one for one in deployments if one["name"] == "docker")
    assert docker["work_pool"]["job_variables"]["volumes"] == ["{{ $PWD }}:/workspace"]


def test_compose_keeps_to_its_specification() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(COMPOSE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_compose_holds_no_secret_and_asks_for_each() -> None:
    text = COMPOSE.read_text()
    for secret in ("POSTGRES_PASSWORD", "PREFECT_AUTH"):
        uses = re.findall(rf"\$\{{{secret}([^}}]*)\}}", text)
        assert uses
        assert all(one.startswith(":?") for one in uses), secret
    assert not re.search(r"(PASSWORD|AUTH_STRING|SECRET|TOKEN): (?!\$\{)\S", text)


def test_every_service_waits_for_a_healthy_one_and_keeps_what_it_stores() -> None:
    content = yaml.safe_load(COMPOSE.read_text())
    services = content["services"]
    assert set(services) == {"postgres", "prefect", "mlflow", "worker", "deploy"}
    for name, service in services.items():
        if name != "deploy":
            assert service["healthcheck"]["test"]
        for other, how in service.get("depends_on", {}).items():
            assert "healthcheck" in services[other]
            assert how == {"condition": "service_healthy"}
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            assert source == ".." or source in content["volumes"]
        if service["image"] == "greenlit:train":
            assert service["build"]["context"] == ".."
            assert service["build"]["dockerfile"] == "docker/train.Dockerfile"
    published = [port for service in services.values() for port in service.get("ports", [])]
    assert published
    assert all(port.startswith("${GREENLIT_BIND:-127.0.0.1}:") for port in published)
