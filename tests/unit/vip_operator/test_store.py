"""The store: newest version of each object, whatever order they come in; and the world made from it."""

import pytest
import yaml
from vip_operator.plan.virtualip import Vip
from vip_operator.store import CONFIG_MAPS, DAEMON_SETS, NODES, PODS, VIPS, Extra, Store

from tests.operator_world import manifest


def thing(name="a", version=1, uid="u", **fields):
    return {"metadata": {"name": name, "uid": uid, "resourceVersion": str(version)}, **fields}


def test_an_older_version_changes_nothing():
    store = Store(config_map="cm")
    assert store.put(NODES, thing(version=5))
    assert not store.put(NODES, thing(version=5))
    assert not store.put(NODES, thing(version=4))
    assert store.put(NODES, thing(version=10))
    assert store.get(NODES, "a")["metadata"]["resourceVersion"] == "10"


def test_another_object_of_the_same_name_is_another_object():
    store = Store(config_map="cm")
    store.put(NODES, thing(version=5, uid="one"))
    assert store.put(NODES, thing(version=2, uid="two"))
    assert not store.remove(NODES, thing(uid="one"))
    assert store.remove(NODES, thing(uid="two"))
    assert not store.remove(NODES, thing(uid="two"))


def test_a_list_is_right_also_where_a_restored_backup_gave_an_object_a_lower_version():
    store = Store(config_map="cm")
    store.put(NODES, thing(version=9))
    assert not store.replace(NODES, [thing(version=4)], version=7)  # made before that event
    assert store.get(NODES, "a")["metadata"]["resourceVersion"] == "9"
    assert store.replace(NODES, [thing(version=4)], version=12)
    assert store.get(NODES, "a")["metadata"]["resourceVersion"] == "4"
    assert store.newest(NODES) == 12


def test_a_deletion_is_not_undone_by_what_was_on_its_way():
    """A list, or the answer to a write, that the API server made before; another object of the name is another one."""
    store = Store(config_map="cm")
    store.put(VIPS, thing(version=5))
    assert store.remove(VIPS, thing(version=8))
    assert not store.replace(VIPS, [thing(version=5)], version=7)
    store.put_answer(VIPS, thing(version=6), before=thing(version=5))
    assert store.get(VIPS, "a") is None
    assert store.put(VIPS, thing(version=9, uid="another"))
    store.forget()
    assert store.put(VIPS, thing(version=6)), "the store of the API server may have been set back"


def test_a_deletion_that_a_backup_undid():
    store = Store(config_map="cm")
    store.put(VIPS, thing(version=5))
    store.remove(VIPS, thing(version=8))
    assert store.replace(VIPS, [thing(version=5)], version=20)
    assert store.get(VIPS, "a") is not None


def test_what_is_forgotten_has_no_say_about_versions():
    store = Store(config_map="cm")
    body = {"apiVersion": "kube-vrrp.io/v1alpha1", "kind": "VirtualIP"}
    store.put(VIPS, thing(version=9, **body, spec={"addresses": ["10.0.0.1"]}))
    store.world(cluster_uid="c", extra=Extra())
    store.forget()
    assert store.newest(VIPS) == 0
    assert store.get(VIPS, "a") is None
    assert store.put(VIPS, thing(version=9, **body, spec={"addresses": ["10.0.0.2"]}))
    (vip,) = store.world(cluster_uid="c", extra=Extra()).vips
    assert vip.spec is not None
    assert [str(each.ip) for each in vip.spec.addresses] == ["10.0.0.2"]


def test_a_list_removes_what_is_gone_but_not_what_came_since():
    store = Store(config_map="cm")
    store.put(NODES, thing("old", version=3))
    store.put(NODES, thing("new", version=9))
    assert store.replace(NODES, [thing("listed", version=4)], version=7)
    assert store.get(NODES, "old") is None
    assert store.get(NODES, "new") is not None
    assert store.get(NODES, "listed") is not None
    assert not store.replace(NODES, [thing("listed", version=4)], version=7)


def test_the_world_has_only_the_pods_of_our_daemon_set():
    store = Store(config_map="cm")
    store.put(CONFIG_MAPS, thing("cm", uid="cm-uid", data={"daemonset.yaml": yaml.safe_dump(manifest())}))
    store.put(CONFIG_MAPS, thing("other", uid="x", data={"daemonset.yaml": "nonsense: true"}))
    store.put(DAEMON_SETS, thing("kube-vrrp-speaker", uid="ds"))
    store.put(DAEMON_SETS, thing("foreign", uid="foreign"))
    for name, owner, node in (("ours", "ds", "node1"), ("theirs", "foreign", "node1"), ("waiting", "ds", None)):
        pod = thing(name, uid=name, spec={"nodeName": node} if node else {})
        pod["metadata"]["ownerReferences"] = [{"uid": owner}]
        store.put(PODS, pod)
    world = store.world(cluster_uid="c", extra=Extra(refusal="no"))
    assert [p.name for p in world.pods] == ["ours"]
    assert world.template is not None
    assert world.template.config_map_uid == "cm-uid"
    assert world.daemon_set is not None
    assert world.daemon_set.refusal == "no"
    assert not world.template.releasing


@pytest.mark.parametrize(("text", "seconds"), [("15", 15), ("600", 600), ("", 120), ("soon", 120), (None, 120)])
def test_the_progress_deadline_is_read_from_the_annotation(text, seconds):
    store = Store(config_map="cm")
    for version, value in ((1, "77"), (2, text)):  # a change of it alone is seen
        body = thing("cm", version=version, data={"daemonset.yaml": yaml.safe_dump(manifest())})
        body["metadata"]["annotations"] = {} if value is None else {"kube-vrrp.io/progress-deadline-seconds": value}
        store.put(CONFIG_MAPS, body)
        template = store.world(cluster_uid="c", extra=Extra()).template
        assert template is not None
    assert template.progress_deadline.total_seconds() == seconds


def test_release_is_read_from_the_annotation():
    store = Store(config_map="cm")
    body = thing("cm", data={"daemonset.yaml": yaml.safe_dump(manifest())})
    body["metadata"]["annotations"] = {"kube-vrrp.io/release": "true"}
    store.put(CONFIG_MAPS, body)
    world = store.world(cluster_uid="c", extra=Extra())
    assert world.template is not None
    assert world.template.releasing


def test_a_virtual_ip_is_parsed_once_per_version(monkeypatch):
    parsed = []
    real = Vip.from_object
    monkeypatch.setattr(Vip, "from_object", lambda body: parsed.append(body["metadata"]["name"]) or real(body))
    store = Store(config_map="cm")
    body = {"apiVersion": "kube-vrrp.io/v1alpha1", "kind": "VirtualIP", "spec": {"addresses": ["10.0.0.1"]}}
    store.put(VIPS, thing(**body))
    for _ in range(3):
        assert len(store.world(cluster_uid="c", extra=Extra()).vips) == 1
    store.put(VIPS, thing(version=2, **body))
    store.world(cluster_uid="c", extra=Extra())
    assert parsed == ["a", "a"]


def test_pods_that_are_missing_are_noticed():
    store = Store(config_map="cm")
    short = {"desiredNumberScheduled": 3, "currentNumberScheduled": 0}
    store.put(DAEMON_SETS, thing("kube-vrrp-speaker", status=short))
    store.put(DAEMON_SETS, thing("another", status=short))
    assert store.short_of_pods() is None
    store.put(CONFIG_MAPS, thing("cm", data={"daemonset.yaml": yaml.safe_dump(manifest())}))
    assert store.short_of_pods() == "kube-vrrp-speaker"
    store.put(DAEMON_SETS, thing("kube-vrrp-speaker", version=2, status={**short, "currentNumberScheduled": 3}))
    assert store.short_of_pods() is None


@pytest.mark.parametrize(
    "text", ["a: [", "", "text", "[1]", "metadata: {name: x}\nspec: {}\n", "metadata: {name: !!int x}"]
)
def test_a_template_that_somebody_has_spoilt_leaves_the_last_good_one(text):
    store = Store(config_map="cm")
    store.put(CONFIG_MAPS, thing("cm", data={"daemonset.yaml": text}))
    assert store.world(cluster_uid="c", extra=Extra()).template is None
    store.put(CONFIG_MAPS, thing("cm", version=2, data={"daemonset.yaml": yaml.safe_dump(manifest())}))
    good = store.world(cluster_uid="c", extra=Extra()).template
    assert good is not None
    store.put(CONFIG_MAPS, thing("cm", version=3, data={"daemonset.yaml": text}))
    assert store.world(cluster_uid="c", extra=Extra()).template == good
