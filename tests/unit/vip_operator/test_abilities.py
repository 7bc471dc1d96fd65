"""Checks that the speakers cannot carry out as the chart was installed."""

import pytest
from vip_operator.plan.daemonset import Template

from tests.operator_world import FakeCluster, manifest

PROCESS = {"name": "httpd", "weight": -20, "process": {"name": "httpd"}}
SCRIPT = {"name": "look", "weight": -20, "script": {"name": "look"}}
FILE = {"name": "number", "weight": 1, "file": {"path": "/run/web/value"}}
TCP = {"name": "port", "weight": -20, "tcp": {"host": "10.0.0.1", "port": 80}}


def cluster_with(*track, args=("--files-root=/host",), containers=(), **pod):
    cluster = FakeCluster("node1", "node2")
    rendered = manifest(**pod)
    of_pod = rendered["spec"]["template"]["spec"]
    of_pod["containers"][0]["args"] = list(args)
    of_pod["containers"] += [{"name": name} for name in containers]
    cluster.template = Template(config_map="kube-vrrp-speaker", config_map_uid="cm", manifest=rendered)
    for node in list(cluster.nodes):
        cluster.add_pod(node)
    cluster.add_vip(virtualRouterID=51, track=list(track))
    cluster.settle()
    return cluster


@pytest.mark.parametrize(
    ("check", "value"),
    [(PROCESS, "speaker.hostPID"), (SCRIPT, "speaker.scripts.enabled"), (FILE, "/run/web/value is in none of the")],
)
def test_a_check_that_is_not_enabled_is_degraded_and_names_the_value(check, value):
    cluster = cluster_with(TCP, check)
    assert cluster.condition("Accepted") == ("True", "Accepted")
    assert cluster.condition("Degraded") == ("True", "ChecksNotEnabled")
    assert cluster.message("Degraded").startswith(f"check {check['name']}: ")
    assert value in cluster.message("Degraded")
    assert "check port" not in cluster.message("Degraded")
    assert [e.reason for _, e in cluster.events if e.type == "Warning"] == ["ChecksNotEnabled"]


def test_what_the_chart_allows_is_not_told():
    cluster = cluster_with(
        PROCESS, SCRIPT, FILE, hostPID=True, containers=("agent", "checks"),
        args=("--files-root=/host", "--files-dir=/run/web"),
    )  # fmt: skip
    assert cluster.condition("Degraded") == ("False", "AllNodesWell")


def test_a_directory_of_a_similar_name_does_not_do():
    cluster = cluster_with(FILE, args=("--files-root=/host", "--files-dir=/run/we", "--files-dir=/run/web/value/x"))
    assert cluster.condition("Degraded") == ("True", "ChecksNotEnabled")


def test_a_router_that_sees_all_files_is_believed():
    assert cluster_with(FILE, args=()).condition("Degraded") == ("False", "AllNodesWell")


def test_nothing_is_said_while_the_template_is_not_known():
    cluster = cluster_with(PROCESS)
    cluster.template = None
    cluster.settle()
    assert cluster.condition("Degraded") == ("False", "AllNodesWell")
