"""The manifests: valid for several versions of Kubernetes, consistent, patient with a drain."""

from __future__ import annotations

import re

import pytest

from klaviyo_relay_worker.doorbell import DRAIN_SECONDS

VERSIONS = ("1.29", "1.32", "1.34")
OWN_KINDS = {"ScaledObject": "keda.sh/v1alpha1", "PodMonitor": "monitoring.coreos.com/v1"}


@pytest.fixture
def manifests(yaml, deploy):
    """File -> its objects."""
    return {path.stem: yaml(path) for path in sorted((deploy / "kubernetes").glob("*.yaml"))}


@pytest.fixture
def objects(manifests):
    """(kind, name) -> object."""
    return {
        (one["kind"], one["metadata"]["name"]): one
        for all_of in manifests.values()
        for one in all_of
    }


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_keeps_to_its_schema(objects, version):
    validator = pytest.importorskip(
        "kubernetes_validate", reason="kubernetes-validate is not installed"
    )
    for (kind, name), one in objects.items():
        if kind in OWN_KINDS:
            assert one["apiVersion"] == OWN_KINDS[kind], name
        else:
            validator.validate(one, version, strict=True)


def pods_of(objects):
    return {
        name: one["spec"]["template"]
        for (kind, name), one in objects.items()
        if kind in {"Deployment", "StatefulSet"}
    }


def test_selectors_find_their_pods(objects):
    pods = pods_of(objects)
    worker = pods["klaviyo-relay-worker"]["metadata"]["labels"].items()
    for (kind, name), one in objects.items():
        if kind in {"Deployment", "StatefulSet"}:
            labels = one["spec"]["selector"]["matchLabels"].items()
            assert labels == pods[name]["metadata"]["labels"].items()
        elif kind in {"PodDisruptionBudget", "PodMonitor"}:
            assert one["spec"]["selector"]["matchLabels"].items() <= worker, kind


def test_the_autoscaler_names_the_deployment_and_never_stops_the_last_worker(objects):
    spec = objects["ScaledObject", "klaviyo-relay-worker"]["spec"]
    target = spec["scaleTargetRef"]
    assert (target["kind"], target["name"]) in objects
    budget = objects["PodDisruptionBudget", "klaviyo-relay-worker"]["spec"]["minAvailable"]
    assert 1 <= budget < spec["minReplicaCount"] <= spec["maxReplicaCount"]
    (trigger,) = spec["triggers"]
    assert trigger["type"] == "prometheus"
    assert {"serverAddress", "query", "threshold"} <= set(trigger["metadata"])
    assert all(isinstance(value, str) for value in trigger["metadata"].values())


def test_a_pod_is_given_the_time_to_drain(objects):
    spec = pods_of(objects)["klaviyo-relay-worker"]["spec"]
    # The standby's threads may take DRAIN_SECONDS, and so may those of Celery, one after the other.
    assert spec["terminationGracePeriodSeconds"] >= 2 * DRAIN_SECONDS


def test_pods_are_not_root_and_know_no_service_account(objects):
    for name, pod in pods_of(objects).items():
        spec = pod["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["automountServiceAccountToken"] is False, name
        for container in spec["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_the_probes_run_what_the_image_holds(objects, deploy):
    dockerfile = (deploy / "docker" / "Dockerfile").read_text()
    (container,) = pods_of(objects)["klaviyo-relay-worker"]["spec"]["containers"]
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        program = container[probe]["exec"]["command"][1]
        assert re.search(rf"(?m)^COPY .* {re.escape(program)}$", dockerfile), probe
        # healthy.py itself gives up after eight seconds.
        assert container[probe]["timeoutSeconds"] > 8


def test_an_application_keeps_its_spool_or_waits_for_redis(objects):
    kept = objects["StatefulSet", "shop"]["spec"]
    (claim,) = kept["volumeClaimTemplates"]
    assert kept["persistentVolumeClaimRetentionPolicy"]["whenScaled"] == "Retain"
    for kind, name, expected in (
        ("StatefulSet", "shop", None),
        ("Deployment", "shop-sync", "sync"),
    ):
        spec = objects[kind, name]["spec"]["template"]["spec"]
        (container,) = spec["containers"]
        environment = {one["name"]: one["value"] for one in container["env"]}
        (mount,) = container["volumeMounts"]
        assert environment["KLAVIYO_RELAY_SPOOL_DIR"].startswith(mount["mountPath"])
        assert environment.get("KLAVIYO_RELAY_SHIP") == expected
        exit_seconds = int(environment["KLAVIYO_RELAY_EXIT_SECONDS"])
        assert exit_seconds < spec["terminationGracePeriodSeconds"]
        assert mount["name"] == claim["metadata"]["name"]


def test_no_manifest_holds_a_secret_or_a_registrys_host(objects):
    assert not [kind for kind, _ in objects if kind == "Secret"]
    for pod in pods_of(objects).values():
        for container in pod["spec"]["containers"]:
            assert re.fullmatch(r"[a-z-]+:\d+\.\d+\.\d+", container["image"])
