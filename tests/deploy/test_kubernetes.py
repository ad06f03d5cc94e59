"""The manifests: valid, and by the same rules as docker-compose.yml."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from live_api import app
from streamgauge import __version__, delivering, processor
from streamgauge.settings import Settings, variables
from tests.stack import ROOT

BASE = ROOT / "deploy/kubernetes/base"
CLUSTER = ROOT / "deploy/kubernetes/cluster"
LIMITS_S = {"processor": processor.DRAIN_S, "api": app.HARD_LIMIT_S, "deliver": delivering._HARD_LIMIT_S}


def manifests() -> Iterator[dict[str, Any]]:
    for name in kustomization(BASE)["resources"]:
        yield from yaml.safe_load_all((BASE / name).read_text())


def kustomization(directory: Path) -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load((directory / "kustomization.yaml").read_text())
    return read


ALL = list(manifests())
WORKLOADS = {one["metadata"]["name"]: one for one in ALL if one["kind"] in ("StatefulSet", "Deployment")}
workload = pytest.mark.parametrize("name", WORKLOADS)


def of(kind: str, name: str) -> dict[str, Any]:
    [found] = [one for one in ALL if one["kind"] == kind and one["metadata"]["name"] == name]
    return found


def container(name: str) -> dict[str, Any]:
    [found] = WORKLOADS[name]["spec"]["template"]["spec"]["containers"]
    return found  # type: ignore[no-any-return]


def test_they_are_what_kubernetes_takes() -> None:
    files = [str(path) for path in BASE.glob("*.yaml") if path.name != "kustomization.yaml"]
    command = [str(Path(sys.executable).with_name("kubernetes-validate")), "--strict", *files]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    listed = {*kustomization(BASE)["resources"], "kustomization.yaml", "secret.example.yaml"}
    assert {path.name for path in BASE.iterdir()} == listed


def test_parts() -> None:
    assert {name: one["kind"] for name, one in WORKLOADS.items()} == {
        "processor": "StatefulSet",
        "api": "Deployment",
        "deliver": "Deployment",
    }
    assert WORKLOADS["processor"]["spec"]["replicas"] == 1
    [image] = kustomization(BASE)["images"]
    assert image == {"name": "streamgauge", "newTag": __version__}


@workload
def test_a_pod_may_do_little(name: str) -> None:
    pod = WORKLOADS[name]["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 10_001
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    made = container(name)
    assert made["image"] == f"streamgauge:{__version__}"
    assert made["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert set(made["resources"]["limits"]) == {"cpu", "memory"}


@workload
def test_nobody_is_killed_who_would_end_by_itself(name: str) -> None:
    assert WORKLOADS[name]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] >= 1.5 * LIMITS_S[name]


@workload
def test_it_is_asked_where_it_answers(name: str) -> None:
    made = container(name)
    ports = {one["name"]: one["containerPort"] for one in made["ports"]}
    settings = Settings()
    assert ports["metrics"] == settings.metrics_of(name).port
    assert ports.get("http", settings.port) == settings.port
    asked = "http" if name == "api" else "metrics"
    for probe, path in (("livenessProbe", "/healthz"), ("startupProbe", "/healthz"), ("readinessProbe", "/readyz")):
        assert made[probe]["httpGet"] == {"path": path, "port": asked}
    labels = WORKLOADS[name]["spec"]["template"]["metadata"]["labels"]
    assert WORKLOADS[name]["spec"]["selector"]["matchLabels"] == labels


@workload
def test_settings_are_those_there_are_and_secrets_are_files(name: str) -> None:
    given = {one["name"]: one["value"] for one in container(name).get("env", [])} | of("ConfigMap", "settings")["data"]
    assert {one.removesuffix("_FILE") for one in given} <= set(variables().values())
    secret = yaml.safe_load((BASE / "secret.example.yaml").read_text())["stringData"]
    [mount] = [one for one in container(name)["volumeMounts"] if one["name"] == "secrets"]
    for variable, value in given.items():
        if variable.endswith("_FILE"):
            directory, _, file = value.rpartition("/")
            assert directory == mount["mountPath"]
            assert file in secret
        assert not re.search(r"://.*@", value)
    assert ("STREAMGAUGE_PERSON_KEY_FILE" in given) == (name != "deliver")


@workload
def test_whatever_is_mounted_is_a_volume(name: str) -> None:
    spec = WORKLOADS[name]["spec"]
    volumes = {one["name"] for one in spec["template"]["spec"]["volumes"]}
    volumes |= {one["metadata"]["name"] for one in spec.get("volumeClaimTemplates", [])}
    assert {one["name"] for one in container(name)["volumeMounts"]} == volumes


def test_a_cluster_has_as_many_members_as_its_list() -> None:
    assert kustomization(CLUSTER)["resources"] == ["../base"]
    [patch] = kustomization(CLUSTER)["patches"]
    assert patch["target"] == {"kind": "StatefulSet", "name": "processor"}
    members = yaml.safe_load((CLUSTER / patch["path"]).read_text())
    [made] = members["spec"]["template"]["spec"]["containers"]
    script = made["command"][-1]
    ports = {one["name"]: one["containerPort"] for one in made["ports"]}
    service = WORKLOADS["processor"]["spec"]["serviceName"]
    wanted = [f"processor-{n}.{service}:{ports['members']}" for n in range(members["spec"]["replicas"])]
    assert f"--cluster {','.join(wanted)} " in script
    assert WORKLOADS["processor"]["spec"]["podManagementPolicy"] == "Parallel"
    assert of("Service", service)["spec"]["publishNotReadyAddresses"] is True
    assert of("Service", service)["spec"]["clusterIP"] == "None"
    # What the shell makes of a pod's name; a port for each member less its number, as each adds that again.
    said = script.replace("exec streamgauge", "echo $STREAMGAUGE_METRICS_PORT")
    done = subprocess.run(
        ["sh", "-c", said], env={"HOSTNAME": "processor-2"}, capture_output=True, text=True, check=True
    )
    port, *command = done.stdout.split()
    assert int(port) + 2 == ports["metrics"]
    assert command[-2:] == ["--member", "2"]


def test_only_members_reach_the_ports_of_members() -> None:
    policy = of("NetworkPolicy", "members")["spec"]
    assert policy["podSelector"] == policy["ingress"][0]["from"][0]["podSelector"]
    [port] = policy["ingress"][0]["ports"]
    members = yaml.safe_load((CLUSTER / "members.yaml").read_text())
    ports = members["spec"]["template"]["spec"]["containers"][0]["ports"]
    assert {"name": "members", "containerPort": port["port"]} in ports
    assert of("NetworkPolicy", "nobody")["spec"] == {"podSelector": {}, "policyTypes": ["Ingress"]}
    others = [one for one in ALL if one["kind"] == "NetworkPolicy" and one["metadata"]["name"] != "members"]
    assert not any(port in rule["ports"] for one in others for rule in one["spec"].get("ingress", []))
