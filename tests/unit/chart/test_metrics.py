"""What agent and operator serve and the chart's rules, judged by Prometheus' own libraries (tests/promcheck, Go), and
their table in docs/metrics.md.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.exposition import generate_latest
from vip_operator import metrics as operator_metrics
from vip_speaker.agent.metrics import COUNTERS, NodeCollector
from vip_speaker.agent.reflector import Reflector
from vip_speaker.agent.reporter import Reporter
from vip_speaker.agent.store import Store
from vip_speaker.statedirectory import StateDirectory
from vip_speaker.statefile import Contribution, PriorityParts, VirtualIPState

from tests.agent_fakes import FakeApi
from tests.unit.chart.test_chart import CHART, VALUES, one, render

ROOT = Path(__file__).parents[3]
SOURCES = [ROOT / "tests" / "promcheck" / name for name in ("main.go", "go.mod", "go.sum")]


@pytest.fixture(scope="session")
def promcheck() -> Path:
    """The judge's program, built when its sources are newer."""
    binary = ROOT / ".cache" / "promcheck"
    if binary.exists() and binary.stat().st_mtime >= max(source.stat().st_mtime for source in SOURCES):
        return binary
    if shutil.which("go") is None:
        pytest.fail("metrics are judged by a Go program: put go (1.25 or newer) on PATH")
    binary.parent.mkdir(exist_ok=True)
    fresh = binary.with_name(f"promcheck.{os.getpid()}")
    command = ["nice", "go", "build", "-trimpath", "-o", str(fresh), "."]
    subprocess.run(command, cwd=SOURCES[0].parent, check=True, timeout=900, env=os.environ | {"CGO_ENABLED": "0"})
    fresh.replace(binary)
    return binary


def complaints(promcheck: Path, what: str, text: str) -> list[str]:
    done = subprocess.run([promcheck, what], input=text, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def agent_exposition(directory: Path) -> str:
    """A scrape of an agent with every family: each counter that the router keeps, a state, a check."""
    files = StateDirectory(directory)
    files.create()
    kept = {name.removeprefix("kube_vrrp_") for name in COUNTERS}
    links = {name.removeprefix("link_"): 1 for name in kept if name.startswith("link_")}
    vip = {name: 1 for name in kept if not name.startswith("link_")}
    files.write_metrics(
        {
            "virtualips": {"web": {**vip, "notes": {"advert_late": 1}}},
            "links": {"eth0": {**links, "discarded": {"ttl": 1}, "remarks": {"interval": 1}}},
            "worst_lateness_seconds": 0.1,
        }
    )
    store, api = Store(), FakeApi()
    reporter = Reporter(store, files, api, node="node1", clock=lambda: 0.0)
    parts = PriorityParts(base=254, contributions=(Contribution(name="httpd", value=-20),))
    reporter.states = {
        "web": VirtualIPState(name="web", state="MASTER", effectivePriority=234, priorityParts=parts),
    }
    registry = CollectorRegistry()
    registry.register(NodeCollector(files, Reflector(api, store, holding=lambda: False), reporter))
    return generate_latest(registry).decode()


def operator_exposition() -> str:
    """A scrape of an operator after it has done and failed something."""
    operator_metrics.CHANGES.labels("ApplyStatus").inc()
    operator_metrics.FAILURES.labels("ApplyStatus").inc()
    operator_metrics.ConditionGauge().show({("web", "Ready"): "True"})
    lines = generate_latest(REGISTRY).decode().splitlines(keepends=True)
    # not what Python's client adds about itself and the process
    return "".join(line for line in lines if "kube_vrrp" in line)


def families(exposition: str) -> set[str]:
    """The names that are shown, without those of a histogram's parts and the creation times beside counters."""
    found = set(re.findall(r"^# TYPE (\S+)", exposition, re.M))
    return {name for name in found if not name.endswith("_created")}


def test_promtool_has_nothing_to_say_about_the_agents_metrics(promcheck, tmp_path):
    assert complaints(promcheck, "metrics", agent_exposition(tmp_path)) == []


def test_promtool_has_nothing_to_say_about_the_operators_metrics(promcheck):
    assert complaints(promcheck, "metrics", operator_exposition()) == []


def test_the_judge_does_complain(promcheck):
    assert complaints(promcheck, "metrics", "# TYPE kube_vrrp_wait_ms counter\nkube_vrrp_wait_ms 1\n") != []
    assert complaints(promcheck, "rules", "groups: [{name: a, rules: [{alert: X, expr: 'sum('}]}]") != []


@pytest.mark.parametrize("extra", [[], [{"alert": "Mine", "expr": "vector(1)"}]])
def test_promtool_takes_the_rules(promcheck, extra):
    objects = render(prometheus={"prometheusRule": {"enabled": True, "extraRules": extra}})
    groups = {"groups": one(objects, "PrometheusRule")["spec"]["groups"]}
    assert complaints(promcheck, "rules", yaml.safe_dump(groups)) == []


def test_the_rules_ask_only_for_metrics_that_are_served(tmp_path):
    served = families(agent_exposition(tmp_path)) | families(operator_exposition())
    (group,) = one(render(**VALUES["full"]), "PrometheusRule")["spec"]["groups"]
    asked = {name for rule in group["rules"] for name in re.findall(r"kube_vrrp_\w+", rule["expr"])}
    assert asked
    assert asked <= served


def test_every_counter_of_the_router_has_its_sentence():
    router = ROOT / "speaker" / "vip_speaker" / "router"
    counted = re.findall(r'counters\["(\w+)"\]', "".join(path.read_text() for path in router.glob("*.py")))
    assert counted
    assert {f"kube_vrrp_{name}" for name in counted} <= set(COUNTERS)


def test_the_page_lists_exactly_what_is_served(tmp_path):
    page = (ROOT / "docs" / "metrics.md").read_text()
    listed = set(re.findall(r"^\| `(kube_vrrp_\w+)` \|", page, re.M))
    assert listed == families(agent_exposition(tmp_path)) | families(operator_exposition())
    alerts = set(re.findall(r"^\| `(KubeVrrp\w+)` \|", page, re.M))
    (group,) = one(render(prometheus={"prometheusRule": {"enabled": True}}), "PrometheusRule")["spec"]["groups"]
    assert alerts == {rule["alert"] for rule in group["rules"]}
    assert (CHART / "README.md").read_text().count("docs/metrics.md")


def test_no_master_is_noticed_where_no_agent_is_scraped():
    """No speaker, no series of its: only the operator still says that nobody serves."""
    (group,) = one(render(prometheus={"prometheusRule": {"enabled": True}}), "PrometheusRule")["spec"]["groups"]
    alert = next(rule for rule in group["rules"] if rule["alert"] == "KubeVrrpNoMaster")
    assert 'kube_vrrp_virtualip_condition{condition="Ready", status="True"}' in alert["expr"]
