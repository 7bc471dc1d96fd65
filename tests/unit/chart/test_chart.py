"""The chart: linted and rendered over several values files, and what must hold of every object it makes."""

import json
import os
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import yaml
from vip_api.schema import NAME_RULE
from vip_operator.plan.abilities import Abilities, abilities
from vip_operator.plan.daemonset import Template
from vip_operator.store import CONFIG_MAPS, Extra, Store
from vip_speaker import cli

from tests.cluster.embedded.binaries import build_helm
from tests.documents import good

REPOSITORY = Path(__file__).parents[3]
CHART = REPOSITORY / "charts" / "kube-vrrp"
APP_VERSION = yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"]


@cache
def helm() -> str:
    """The helm of the PATH, else the one that the test cluster builds and keeps in .cache/bin."""
    return shutil.which("helm") or str(build_helm())


def run(*arguments: str, values: dict[str, Any] | None = None, ok: bool = True) -> str:
    done = subprocess.run(
        [helm(), *arguments, "--values", "-"],
        input=yaml.safe_dump(values or {}),
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent"},
    )
    assert (done.returncode == 0) == ok, done.stdout + done.stderr
    return done.stdout + done.stderr if not ok else done.stdout


def render(**values: Any) -> list[dict[str, Any]]:
    text = run("template", "rel", str(CHART), "-n", "vrrp", "--kube-version", "1.35.0", values=values)
    return [d for d in yaml.safe_load_all(text) if d]


def one(objects: list[dict[str, Any]], kind: str, name: str = "") -> dict[str, Any]:
    found = [o for o in objects if o["kind"] == kind and (not name or o["metadata"]["name"] == name)]
    assert len(found) == 1, [(o["kind"], o["metadata"]["name"]) for o in objects]
    return found[0]


def daemon_set(objects: list[dict[str, Any]]) -> dict[str, Any]:
    (text,) = [o["data"]["daemonset.yaml"] for o in objects if "daemonset.yaml" in (o.get("data") or {})]
    document: dict[str, Any] = yaml.safe_load(text)
    return document


VALUES: dict[str, dict[str, Any]] = {
    "default": {},
    "full": {
        "imagePullSecrets": [{"name": "pull"}],
        "fullnameOverride": "other",
        "vips": [{"name": "web", "spec": {"addresses": ["192.168.137.220"]}}],
        "prometheus": {
            "serviceMonitor": {"enabled": True, "interval": "10s", "additionalLabels": {"release": "prom"}},
            "prometheusRule": {"enabled": True, "extraRules": [{"alert": "Mine", "expr": "vector(1)"}]},
            "rbacPrometheus": True,
            "serviceAccount": "prometheus",
            "namespace": "monitoring",
        },
        "operator": {
            "replicas": 1, "logLevel": "debug", "image": {"repository": "reg/op", "tag": "1"},
            "podAnnotations": {"a": "b"},
            "labels": {"team": "net"}, "nodeSelector": {"zone": "a"}, "tolerations": [{"operator": "Exists"}],
            "affinity": {"nodeAffinity": {}}, "runtimeClassName": "kata",
            "extraContainers": [{"name": "c", "image": "i"}],
            "serviceAccount": {"name": "op-sa", "annotations": {"a": "b"}},
            "livenessProbe": {"enabled": False},
        },
        "speaker": {
            "realtime": True, "image": {"repository": "reg/sp", "tag": "2", "pullPolicy": "Always"},
            "podAnnotations": {"a": "b"}, "labels": {"team": "net"}, "nodeSelector": {"zone": "a"},
            "serviceAccount": {"create": False, "name": "sp-sa"}, "runtimeClassName": "runc",
            "extraContainers": [{"name": "c", "image": "i"}], "affinity": {"nodeAffinity": {}},
        },
        "extraObjects": [
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "extra"}},
            'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: "{{ .Release.Name }}-text"}',
        ],
    },
    "checks": {
        "speaker": {
            "hostPID": True, "hostFiles": ["/run/web", "/srv/app.d"], "realtime": True,
            "scripts": {"enabled": True, "hostPath": "/opt/checks"},
        },
    },
    "pod monitors": {"prometheus": {"podMonitor": {"enabled": True, "additionalLabels": {"release": "prom"}}}},
    "scripts of a ConfigMap": {"speaker": {"scripts": {"enabled": True, "configMap": "mine"}}},
    "all pods": {"rbac": {"podNamespaces": ["*"]}, "nameOverride": "vip"},
    "bare": {
        "rbac": {"create": False}, "crds": {"enabled": False}, "releaseOnUninstall": False,
        "operator": {"enabled": False, "serviceAccount": {"create": False}},
        "speaker": {"priorityClassName": "", "serviceAccount": {"create": False}},
    },
}  # fmt: skip


@pytest.mark.parametrize("name", VALUES)
def test_it_lints_and_renders(name):
    run("lint", "--strict", str(CHART), values=VALUES[name])
    objects = render(**VALUES[name])
    names = [(o["kind"], o["metadata"].get("namespace"), o["metadata"]["name"]) for o in objects]
    assert len(set(names)) == len(names)
    assert daemon_set(objects)["kind"] == "DaemonSet"


@pytest.mark.parametrize(
    "values",
    [
        {"speakers": {}}, {"operator": {"replica": 2}}, {"speaker": {"image": {"name": "x"}}},
        {"operator": {"image": {"digest": "latest"}}},
        {"vips": [{"name": "a"}]}, {"vips": [{"name": "a.b", "spec": {"addresses": ["::1"]}}]},
        {"vips": [{"name": "a" * 64, "spec": {"addresses": ["::1"]}}]},
        {"speaker": {"progressDeadlineSeconds": "2m"}}, {"speaker": {"progressDeadlineSeconds": 9}},
        {"vips": {"web": {}}}, {"operator": {"logLevel": "loud"}}, {"prometheus": {"metricsPort": "7472"}},
        {"prometheus": {"metricsPort": 8080}},
        {"prometheus": {"podMonitor": {"enable": True}}}, {"crds": True}, {"rbac": {"create": "yes"}},
        {"speaker": {"updateStrategy": {"type": "RollingUpdate"}}},
        {"speaker": {"hostPID": "yes"}}, {"speaker": {"hostFiles": ["run/web"]}}, {"speaker": {"hostFiles": ["/"]}},
        {"speaker": {"hostFiles": ["/run/../etc"]}}, {"speaker": {"hostFiles": ["/run/a", "/run/a"]}},
        {"speaker": {"hostFiles": "/run/web"}}, {"speaker": {"scripts": True}},
        {"fullnameOverride": "UPPER"}, {"fullnameOverride": "a.b"}, {"fullnameOverride": "a-"}, {"nameOverride": "A"},
        {"rbac": {"podNamespaces": ["*", "default"]}}, {"rbac": {"podNamespaces": ["default", "*"]}},
        {"speaker": {"scripts": {"hostPath": "scripts"}}}, {"speaker": {"scripts": {"configMap": "Not a name"}}},
    ],
)  # fmt: skip
def test_the_schema_refuses_what_it_does_not_know(values):
    assert "values don't meet the specifications" in run("template", "rel", str(CHART), values=values, ok=False)


def test_the_schema_says_of_a_virtualip_what_the_definition_says():
    schema = CHART / "values.schema.json"
    generator = [sys.executable, str(REPOSITORY / "scripts" / "values-schema")]
    done = subprocess.run([*generator, schema, REPOSITORY / "crds" / "virtualip.yaml"], capture_output=True, check=True)
    assert schema.read_text() == done.stdout.decode(), "run `make generate`"


def test_a_good_virtualip_among_the_values_is_taken():
    run("lint", "--strict", str(CHART), values={"vips": [{"name": "a", "spec": e.document["spec"]} for e in good()]})


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"addreses": ["10.0.0.1"]}, "additional properties 'addreses' not allowed"),
        ({"addresses": []}, "minItems: got 0, want 1"),
        ({"addresses": ["10.0.0.1"], "virtualRouterID": 256}, "at '/vips/1/spec/virtualRouterID': maximum"),
        ({"addresses": ["10.0.0.1"], "track": [{"name": "a", "tpc": {"port": 80}}]}, "'tpc' not allowed"),
        ({"addresses": ["10.0.0.1"], "onCordon": "keep"}, "at '/vips/1/spec/onCordon'"),
    ],
)
def test_a_wrong_virtualip_among_the_values_is_refused_before_anything_is_installed(spec, said):
    vips = [{"name": "web", "spec": {"addresses": ["10.0.0.2"]}}, {"name": "bad", "spec": spec}]
    assert said in run("template", "rel", str(CHART), values={"vips": vips}, ok=False)


def leaves(values: dict[str, Any], path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The paths of all values that are no mappings with keys of ours."""
    return [
        leaf
        for key, value in values.items()
        for leaf in (leaves(value, (*path, key)) if isinstance(value, dict) and value else [(*path, key)])
    ]


def documented() -> set[str]:
    """Every key that the README's table names; `a.{b, c}` and `.b` after `a.x` are written out."""
    keys: set[str] = set()
    for row in re.findall(r"^\| (`.*) \|$", (CHART / "README.md").read_text(), re.M):
        cells = row.split(" | ")
        named = re.findall(r"`([^`]+)`", cells[0])
        inner = re.findall(r"`([^`]+)`", cells[1]) if any(name.endswith(".*") for name in named) else []
        for name in named:
            full = named[0].rpartition(".")[0] + name if name.startswith(".") else name
            below = [part for text in inner for part in spelled_out(text)]
            keys |= {full.removesuffix("*") + part for part in below} if full.endswith(".*") else {full}
    return keys


def spelled_out(text: str) -> list[str]:
    head, brace, rest = text.partition("{")
    return [head + part.strip() for part in rest.rstrip("}").split(",")] if brace else [text]


#: Written as they are in Kubernetes; the README names where they go.
OF_KUBERNETES = ("resources", "securityContext", "livenessProbe", "readinessProbe", "updateStrategy")


def shortened(path: tuple[str, ...]) -> str:
    """Without what lies inside a field of Kubernetes."""
    for number, key in enumerate(path):
        if key in OF_KUBERNETES:
            return ".".join(path[: number + 1])
    return ".".join(path)


def test_every_value_is_in_the_readmes_table_and_every_row_is_a_value():
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    existing = {shortened(path) for path in leaves(values)}
    listed = {shortened(tuple(key.split("."))) for key in documented()}
    assert existing == listed


def test_the_schema_knows_every_value_and_is_strict_wherever_keys_are_ours():
    schema = json.loads((CHART / "values.schema.json").read_text())

    def strict(node: dict[str, Any], path: str) -> None:
        if "properties" in node:
            assert node.get("additionalProperties") is False, path
            for key, value in node["properties"].items():
                strict(value, f"{path}.{key}")

    strict(schema, "values")
    for path in leaves(yaml.safe_load((CHART / "values.yaml").read_text())):
        node = schema
        for key in path:
            if "properties" not in node:
                break
            assert key in node["properties"], path
            node = node["properties"][key]


def test_the_crd_is_the_repositorys_and_is_kept():
    assert (CHART / "files" / "virtualip.yaml").read_text() == (REPOSITORY / "crds" / "virtualip.yaml").read_text()
    crd = one(render(), "CustomResourceDefinition")
    assert crd["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    original = yaml.safe_load((REPOSITORY / "crds" / "virtualip.yaml").read_text())
    assert crd["spec"] == original["spec"]


def test_the_router_has_two_capabilities_and_no_token():
    pod = daemon_set(render())["spec"]["template"]["spec"]
    router, agent = pod["containers"]
    assert router["securityContext"]["capabilities"] == {"drop": ["ALL"], "add": ["NET_ADMIN", "NET_RAW"]}
    assert router["securityContext"]["runAsUser"] == 0
    assert agent["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert agent["securityContext"]["runAsNonRoot"] is True
    for container in (router, agent):
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert "cpu" not in container["resources"]["limits"]
        assert "livenessProbe" not in container
    assert pod["automountServiceAccountToken"] is False
    assert "token" not in [m["name"] for m in router["volumeMounts"]]
    assert "token" in [m["name"] for m in agent["volumeMounts"]]
    (token,) = [v["projected"]["sources"][0] for v in pod["volumes"] if v["name"] == "token"]
    # 3607 s is what the API server takes for an old client's wish and extends to a year
    assert token["serviceAccountToken"]["expirationSeconds"] == 3600
    assert not any(p.get("hostPID") or p.get("hostIPC") for p in (pod,))
    assert pod["hostNetwork"] is True
    assert pod["priorityClassName"] == "system-node-critical"
    assert pod["tolerations"] == [{"operator": "Exists"}]
    assert {v["name"]: v["emptyDir"]["medium"] for v in pod["volumes"] if "emptyDir" in v} == {
        "desired": "Memory", "state": "Memory",
    }  # fmt: skip
    assert daemon_set(render())["spec"]["updateStrategy"] == {"type": "OnDelete"}


def mounts(container: dict[str, Any]) -> dict[str, tuple[str, bool]]:
    """Volume to where it is and whether it can be written."""
    return {m["name"]: (m["mountPath"], not m.get("readOnly")) for m in container["volumeMounts"]}


def test_nothing_of_the_node_is_seen_unless_it_is_asked_for():
    pod = daemon_set(render())["spec"]["template"]["spec"]
    assert "hostPID" not in pod
    assert [c["name"] for c in pod["containers"]] == ["router", "agent"]
    assert not [v for v in pod["volumes"] if "hostPath" in v]
    router = pod["containers"][0]
    assert "--files-root=/host" in router["args"]  # else files of the container itself would be looked at
    assert not [a for a in router["args"] if a.startswith(("--files-dir", "--checks-socket", "--scripts-dir"))]


def test_scripts_run_in_a_container_without_any_right():
    pod = daemon_set(render(**VALUES["checks"]))["spec"]["template"]["spec"]
    router, agent, checks = pod["containers"]
    assert checks["name"] == "checks"
    assert checks["image"] == router["image"]
    assert checks["command"] == ["vip-speaker", "checks"]
    context = checks["securityContext"]
    assert context["capabilities"] == {"drop": ["ALL"]}
    assert context["runAsNonRoot"] is True
    assert context["readOnlyRootFilesystem"] is True
    assert context["allowPrivilegeEscalation"] is False
    assert context["runAsUser"] not in (0, agent["securityContext"]["runAsUser"])
    assert "memory" in checks["resources"]["limits"]
    assert mounts(checks) == {"checks": ("/run/kube-vrrp/checks", True), "scripts": ("/scripts", False)}
    assert mounts(router)["checks"] == ("/run/kube-vrrp/checks", False)
    assert "checks" not in mounts(agent)
    assert "--checks-socket=/run/kube-vrrp/checks/sock" in router["args"]
    assert checks["args"] == ["--socket=/run/kube-vrrp/checks/sock", "--scripts-dir=/scripts"]
    volumes = {v["name"]: v for v in pod["volumes"]}
    assert volumes["scripts"]["hostPath"] == {"path": "/opt/checks", "type": "DirectoryOrCreate"}
    assert volumes["checks"]["emptyDir"]["medium"] == "Memory"


def test_scripts_of_a_configmap_are_readable_and_none_is_waited_for():
    pod = daemon_set(render(**VALUES["scripts of a ConfigMap"]))["spec"]["template"]["spec"]
    (volume,) = [v for v in pod["volumes"] if v["name"] == "scripts"]
    assert volume == {"name": "scripts", "configMap": {"name": "mine", "defaultMode": 0o555, "optional": True}}


def test_files_of_the_node_are_mounted_read_only_where_the_router_looks_for_them():
    pod = daemon_set(render(**VALUES["checks"]))["spec"]["template"]["spec"]
    router, *others = pod["containers"]
    found = {v["name"]: v["hostPath"]["path"] for v in pod["volumes"] if v["name"].startswith("host-")}
    assert sorted(found.values()) == ["/run/web", "/srv/app.d"]
    for name, path in found.items():
        assert mounts(router)[name] == (f"/host{path}", False)
        assert f"--files-dir={path}" in router["args"]
        assert not [c for c in others if name in mounts(c)]


def test_status_in_the_routers_container_needs_no_option(monkeypatch):
    router = daemon_set(render())["spec"]["template"]["spec"]["containers"][0]
    for variable in router["env"]:
        if "value" in variable:
            monkeypatch.setenv(variable["name"], variable["value"])
    runs = cli.parser().parse_args([*router["command"][1:], *router["args"]])
    assert cli.parser().parse_args(["status"]).state_dir == runs.state_dir


def test_the_programs_take_the_arguments_of_the_chart():
    router, _, checks = daemon_set(render(**VALUES["checks"]))["spec"]["template"]["spec"]["containers"]
    given = cli.parser().parse_args([*router["command"][1:], *router["args"]])
    assert [str(d) for d in given.files_dir] == ["/run/web", "/srv/app.d"]
    cli.parser().parse_args([*checks["command"][1:], *checks["args"]])


def test_the_operator_reads_off_the_template_what_speakers_are_able_to():
    def able(values):
        return abilities(Template(config_map="", config_map_uid="", manifest=daemon_set(render(**values))))

    assert able({}) == Abilities(processes=False, scripts=False, directories=())
    everything = (PurePosixPath("/run/web"), PurePosixPath("/srv/app.d"))
    assert able(VALUES["checks"]) == Abilities(processes=True, scripts=True, directories=everything)


def test_the_host_s_processes_are_seen_when_asked_for():
    assert daemon_set(render(speaker={"hostPID": True}))["spec"]["template"]["spec"]["hostPID"] is True


def test_realtime_adds_two_capabilities():
    router = daemon_set(render(speaker={"realtime": True}))["spec"]["template"]["spec"]["containers"][0]
    assert router["securityContext"]["capabilities"]["add"] == ["NET_ADMIN", "NET_RAW", "SYS_NICE", "IPC_LOCK"]


def test_the_operator_and_the_jobs_pass_the_restricted_profile():
    objects = render(vips=VALUES["full"]["vips"])
    pods = [o["spec"]["template"]["spec"] for o in objects if o["kind"] in ("Deployment", "Job")]
    pods += [o["spec"] for o in objects if o["kind"] == "Pod"]
    assert len(pods) == 4
    for pod in pods:
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not pod.get("hostNetwork")
        for container in pod["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_no_hook_leaves_its_pod_behind_for_good():
    objects = render(vips=[{"name": "a", "spec": {"addresses": ["10.0.0.1"]}}])
    hooks = [o for o in objects if "helm.sh/hook" in o["metadata"].get("annotations", {})]
    assert sorted(o["kind"] for o in hooks) == ["Job", "Job", "Pod"]
    for hook in hooks:
        policies = hook["metadata"]["annotations"]["helm.sh/hook-delete-policy"].split(",")
        assert {"before-hook-creation", "hook-succeeded"} <= set(policies)
        assert "hook-failed" in policies or hook["spec"]["ttlSecondsAfterFinished"] <= 3600
        if hook["kind"] == "Pod":  # nothing else is left of what it said
            assert hook["metadata"]["annotations"]["helm.sh/hook-output-log-policy"] == "hook-failed"


def test_the_operator_may_read_the_owner_of_its_lease():
    role = one(render(), "Role", "rel-kube-vrrp-operator")
    assert [r for r in role["rules"] if "configmaps" in r["resources"] and "get" in r["verbs"]]
    (container,) = one(render(), "Deployment")["spec"]["template"]["spec"]["containers"]
    assert "--speaker-template=rel-kube-vrrp-speaker" in container["args"]
    one(render(), "ConfigMap", "rel-kube-vrrp-speaker")


def tolerates(toleration: dict[str, Any], key: str, effect: str) -> bool:
    return toleration.get("key", key) == key and toleration.get("effect", effect) == effect


def test_the_release_job_goes_to_a_cordoned_node_and_to_no_dead_one():
    mine = {"key": "dedicated", "operator": "Exists"}
    pod = one(render(operator={"tolerations": [mine]}), "Job", "rel-kube-vrrp-release")["spec"]["template"]["spec"]

    def place(key: str, effect: str = "NoSchedule") -> bool:
        return any(tolerates(t, key, effect) for t in pod["tolerations"])

    for key in ("node.kubernetes.io/unschedulable", "node-role.kubernetes.io/control-plane", "dedicated"):
        assert place(key), key
    for key in ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable", "node.kubernetes.io/out-of-service"):
        for effect in ("NoSchedule", "NoExecute"):
            assert not place(key, effect), key
    assert "nodeSelector" not in pod
    (term,) = pod["affinity"]["podAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    labels = one(render(), "Deployment")["spec"]["template"]["metadata"]["labels"]
    assert term["podAffinityTerm"]["labelSelector"]["matchLabels"].items() <= labels.items()


def test_the_release_job_has_time_to_start_beside_its_own_limit():
    job = one(render(), "Job", "rel-kube-vrrp-release")["spec"]
    (limit,) = [int(a.partition("=")[2]) for a in job["template"]["spec"]["containers"][0]["args"] if "timeout" in a]
    assert job["activeDeadlineSeconds"] >= limit + 60


def rules(objects: list[dict[str, Any]], kind: str, name: str) -> dict[tuple[str, str], set[str]]:
    """(API group, resource) to verbs; resources with names are marked so."""
    result: dict[tuple[str, str], set[str]] = {}
    for rule in one(objects, kind, name)["rules"]:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                key = (group, resource + (" by name" if "resourceNames" in rule else ""))
                result.setdefault(key, set()).update(rule["verbs"])
    return result


def test_rights_are_these_and_no_more():
    objects = render()
    assert rules(objects, "ClusterRole", "rel-kube-vrrp-operator") == {
        ("kube-vrrp.io", "virtualips"): {"get", "list", "watch"},
        ("kube-vrrp.io", "virtualips/status"): {"patch"},
        ("", "nodes"): {"get", "list", "watch"},
        ("", "namespaces by name"): {"get"},
    }
    assert rules(objects, "ClusterRole", "rel-kube-vrrp-speaker") == {
        ("kube-vrrp.io", "virtualips"): {"get", "list", "watch"},
        ("kube-vrrp.io", "virtualips/status"): {"patch"},
    }
    assert rules(objects, "Role", "rel-kube-vrrp-operator-events") == {
        ("", "events"): {"create"},
        ("discovery.k8s.io", "endpointslices by name"): {"get"},
    }
    assert rules(objects, "Role", "rel-kube-vrrp-speaker") == {("", "secrets"): {"get"}}
    operator = rules(objects, "Role", "rel-kube-vrrp-operator")
    assert not [key for key in operator if "secrets" in key[1]]
    assert operator["apps", "daemonsets by name"] == {"patch"}
    for cluster_role in [o for o in objects if o["kind"] == "ClusterRole"]:
        assert not any("aggregate-to" in label for label in cluster_role["metadata"]["labels"])


def test_the_policy_names_the_charts_account():
    policy = one(render(), "ValidatingAdmissionPolicy")
    (condition,) = policy["spec"]["matchConditions"]
    assert condition["expression"] == "request.userInfo.username == 'system:serviceaccount:vrrp:rel-kube-vrrp-speaker'"
    assert policy["spec"]["failurePolicy"] == "Fail"
    named = one(render(speaker={"serviceAccount": {"name": "mine"}}), "ValidatingAdmissionPolicy")
    assert "serviceaccount:vrrp:mine'" in named["spec"]["matchConditions"][0]["expression"]
    binding = one(render(), "ValidatingAdmissionPolicyBinding")
    assert binding["spec"] == {"policyName": policy["metadata"]["name"], "validationActions": ["Deny"]}


def test_vips_come_by_a_job_that_never_deletes_them():
    objects = render(
        vips=[{"name": "a", "spec": {"addresses": ["10.0.0.1"]}}, {"name": "b", "spec": {"addresses": ["::1"]}}]
    )
    (text,) = [o["data"]["vips.yaml"] for o in objects if "vips.yaml" in (o.get("data") or {})]
    documents = [d for d in yaml.safe_load_all(text) if d]
    assert [d["metadata"]["name"] for d in documents] == ["a", "b"]
    assert documents[0]["spec"] == {"addresses": ["10.0.0.1"]}
    job = one(objects, "Job", "rel-kube-vrrp-vips")
    annotations = job["metadata"]["annotations"]
    assert annotations["helm.sh/hook"] == "post-install,post-upgrade,post-rollback", "or the specs of a bad one stay"
    # what was refused is printed by Helm, and stays to be seen by those who do not see what Helm prints
    assert annotations["helm.sh/hook-output-log-policy"] == "hook-failed"
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["terminationMessagePolicy"] == "FallbackToLogsOnError"
    assert not [o for o in objects if o["kind"] == "VirtualIP"]


def test_operator_and_speaker_have_accounts_of_their_own():
    """The policy for speakers would forbid the operator everything."""
    nobody = {"serviceAccount": {"create": False}}
    said = run("template", "rel", str(CHART), values={"operator": nobody, "speaker": nobody}, ok=False)
    assert "need service accounts of their own" in said


def test_names_that_look_like_numbers_stay_text():
    objects = render(vips=[{"name": "137", "spec": {"addresses": ["10.0.0.1"]}}], speaker={"priorityClassName": "123"})
    (text,) = [o["data"]["vips.yaml"] for o in objects if "vips.yaml" in (o.get("data") or {})]
    assert next(d for d in yaml.safe_load_all(text) if d)["metadata"]["name"] == "137"
    assert daemon_set(objects)["spec"]["template"]["spec"]["priorityClassName"] == "123"


def test_images_have_the_charts_version_unless_told():
    objects = render()
    image = one(objects, "Deployment")["spec"]["template"]["spec"]["containers"][0]["image"]
    assert image == f"kube-vrrp-operator:{APP_VERSION}"
    full = daemon_set(render(**VALUES["full"]))["spec"]["template"]["spec"]["containers"]
    assert [c["image"] for c in full] == ["reg/sp:2", "reg/sp:2", "i"]


def test_an_image_may_be_given_by_its_digest():
    digest = "sha256:" + 64 * "a"
    objects = render(speaker={"image": {"repository": "reg/sp", "tag": "2", "digest": digest}})
    containers = daemon_set(objects)["spec"]["template"]["spec"]["containers"]
    assert {c["image"] for c in containers} == {f"reg/sp@{digest}"}
    assert one(objects, "Deployment")["spec"]["template"]["spec"]["containers"][0]["image"].endswith(f":{APP_VERSION}")


def test_pods_are_not_monitored_twice():
    both = {"prometheus": {"podMonitor": {"enabled": True}, "serviceMonitor": {"enabled": True}}}
    assert "only one of the two" in run("template", "rel", str(CHART), values=both, ok=False)


@pytest.mark.parametrize("values", ["full", "pod monitors"])
def test_monitors_find_their_pods_by_label_and_port(values):
    objects = render(**VALUES[values])
    pods = {
        "operator": one(objects, "Deployment")["spec"]["template"],
        "speaker": daemon_set(objects)["spec"]["template"],
    }
    monitors = [o for o in objects if o["kind"] in ("PodMonitor", "ServiceMonitor")]
    assert len(monitors) == 2
    for monitor in monitors:
        selector = monitor["spec"]["selector"]["matchLabels"]
        pod = pods[selector["app.kubernetes.io/component"]]
        assert selector.items() <= pod["metadata"]["labels"].items()
        (endpoint,) = monitor["spec"].get("podMetricsEndpoints") or monitor["spec"]["endpoints"]
        ports = [p["name"] for c in pod["spec"]["containers"] for p in c.get("ports", ())]
        assert endpoint["port"] in ports


def test_alerts_use_metrics_that_exist():
    (group,) = one(render(**VALUES["full"]), "PrometheusRule")["spec"]["groups"]
    modules = [*(REPOSITORY / "speaker" / "vip_speaker" / "agent").glob("*.py")]
    modules.append(REPOSITORY / "operator" / "vip_operator" / "metrics.py")
    source = "".join(path.read_text() for path in modules)
    for rule in group["rules"]:
        for word in rule["expr"].replace("{", " ").replace("(", " ").replace(")", " ").split():
            if word.startswith("kube_vrrp_"):
                assert f'"{word}"' in source, word


def notes(folder: Path, *options: str) -> str:
    """As Helm prints them. It renders them only for a cluster, so a copy of the chart has them in a ConfigMap."""
    copy = folder / "kube-vrrp"
    shutil.copytree(CHART, copy)
    text = (copy / "templates" / "NOTES.txt").read_text()
    (copy / "templates" / "_notes.tpl").write_text('{{- define "notes" }}' + text + "{{- end }}")
    (copy / "templates" / "notes.yaml").write_text(
        'kind: ConfigMap\nmetadata: {name: notes}\ndata: {notes: {{ include "notes" . | toJson }}}\n'
    )
    options = ("-n", "vrrp", "--show-only", "templates/notes.yaml", *options)
    rendered: str = yaml.safe_load(run("template", "rel", str(copy), *options))["data"]["notes"]
    return rendered


def commands(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.startswith("  kubectl ")]


def test_notes_say_the_next_two_commands(tmp_path):
    text = notes(tmp_path)
    assert text.startswith(f"kube-vrrp {APP_VERSION} is installed.")
    assert [command.split()[1] for command in commands(text)] == ["-n", "apply", "label"]
    assert "kubectl -n vrrp rollout status deployment/rel-kube-vrrp-operator" in commands(text)
    assert "kubectl label namespace vrrp pod-security.kubernetes.io/enforce=privileged" in commands(text)
    (page,) = re.findall(r"docs/\S+\.md", text)
    assert (REPOSITORY / page).is_file()


def test_notes_of_an_upgrade_say_that_the_speakers_are_being_replaced(tmp_path):
    text = notes(tmp_path, "--is-upgrade")
    assert text.startswith(f"kube-vrrp {APP_VERSION}: the upgrade is applied.")
    assert "is installed" not in text
    assert "one node at a time" in text
    assert [command for command in commands(text) if "component=speaker" in command]


def test_the_name_of_a_vip_is_what_the_definition_takes():
    pattern = json.loads((CHART / "values.schema.json").read_text())["properties"]["vips"]["items"]["properties"][
        "name"
    ]
    for name in ("a", "web-1", "a.b", "-a", "a-", "A", "a" * 63, "a" * 64, "", "1"):
        taken = bool(re.search(pattern["pattern"], name)) and len(name) <= pattern["maxLength"]
        assert taken == (NAME_RULE.broken(name) is None), name


def test_the_operator_reads_the_progress_deadline_where_the_chart_writes_it():
    for values, seconds in (({}, 120), ({"progressDeadlineSeconds": 600}, 600)):
        objects = [o for o in render(speaker=values) if "daemonset.yaml" in (o.get("data") or {})]
        (config_map,) = objects
        config_map["metadata"] |= {"uid": "u", "resourceVersion": "1"}
        store = Store(config_map=config_map["metadata"]["name"])
        store.put(CONFIG_MAPS, config_map)
        template = store.world(cluster_uid="c", extra=Extra()).template
        assert template is not None
        assert template.progress_deadline.total_seconds() == seconds


def test_the_operators_of_an_upgrade_keep_away_from_each_other_not_from_those_before():
    """On two nodes each of the new ones would else go where there is room, perhaps both to one."""
    pod = one(render(), "Deployment")["spec"]["template"]["spec"]
    (preferred,) = pod["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    assert preferred["podAffinityTerm"]["matchLabelKeys"] == ["pod-template-hash"]
