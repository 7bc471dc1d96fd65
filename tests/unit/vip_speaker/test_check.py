"""The two commands for a person with a file: what they print and how they exit."""

import io
from pathlib import Path

import pytest
import yaml
from vip_api.parse import load_documents
from vip_speaker.check import run_check, run_convert

from tests.documents import whole


def manifest(name: str = "web", **spec) -> str:
    document = whole({"addresses": ["10.0.0.7"], "virtualRouterID": 51} | spec) | {"metadata": {"name": name}}
    return yaml.safe_dump(document, explicit_start=True)


def check(path: Path) -> tuple[int, str]:
    out = io.StringIO()
    return run_check(path, out), out.getvalue().replace(f"{path}", "PATH")


def test_a_good_file(tmp_path):
    file = tmp_path / "web.yaml"
    file.write_text(manifest())
    assert check(file) == (0, "1 VirtualIP, nothing wrong\n")
    file.write_text(manifest() + manifest("mail", addresses=["10.0.0.8"], virtualRouterID=52))
    assert check(file) == (0, "2 VirtualIPs, nothing wrong\n")


def test_a_warning_is_no_problem(tmp_path):
    file = tmp_path / "web.yaml"
    file.write_text(manifest(priority=255, track=[{"name": "web", "weight": 5, "process": {"name": "httpd"}}]))
    assert check(file) == (
        0,
        "PATH: web: warning: spec.track: web: an owner's priority, 255, never changes: its weight does nothing\n"
        "1 VirtualIP, nothing wrong\n",
    )


def test_every_problem_of_a_file(tmp_path):
    file = tmp_path / "web.yaml"
    file.write_text(
        manifest(addresses=["10.0.0.300"], maxNodes=0) + manifest("mail", virtualRouterID=None) + "---\nkind: Pod\n"
    )
    assert check(file) == (
        1,
        'PATH: web: spec.addresses[0]: "10.0.0.300": must be an IPv4 or IPv6 address, with or without a prefix length, '
        "such as 192.168.137.200, 192.168.137.200/24 or 2001:db8::200 (no zone, no IPv4-mapped address)\n"
        "PATH: web: spec.maxNodes: must be between 1 and 254\n"
        "PATH: mail: spec.virtualRouterID: is required where no operator allocates one\n"
        "PATH:21: apiVersion: is required\n"
        'PATH:21: kind: "Pod": must be VirtualIP\n',
    )


def test_documents_of_one_directory_are_judged_together(tmp_path):
    (tmp_path / "a.yaml").write_text(manifest("a"))
    (tmp_path / "b.json").write_text('{"kind":\n1\n')
    (tmp_path / "c.yml").write_text(manifest("c"))
    (tmp_path / "README").write_text("not a manifest")
    (tmp_path / ".hidden.yaml").write_text("not a manifest")
    status, text = check(tmp_path)
    assert status == 1
    broken, *rest = text.splitlines()
    assert broken.startswith("PATH/b.json: line 3: not YAML: ")
    assert rest == [
        'PATH/c.yml: c: spec.virtualRouterID: VRID 51 is in use by VirtualIP "a"; give it another one, or name '
        "different interfaces where they are on different links",
        'PATH/c.yml: c: spec.addresses[0]: 10.0.0.7 is an address of VirtualIP "a"',
    ]


def test_what_cannot_be_read(tmp_path):
    assert check(tmp_path) == (1, "PATH: there is no .yaml, .yml or .json file in it\n")
    assert check(tmp_path / "none.yaml") == (1, "PATH: No such file or directory\n")
    (tmp_path / "latin.yaml").write_bytes(b"name: caf\xe9\n")
    assert check(tmp_path / "latin.yaml") == (1, "PATH: not UTF-8 (at byte 9)\n")


def convert(path: Path) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    return run_convert(path, out, err), out.getvalue(), err.getvalue().replace(f"{path}", "PATH")


def test_convert_says_where_it_prints_more_than_one_file_may_hold(tmp_path):
    file = tmp_path / "keepalived.conf"
    block = "vrrp_instance v{0} {{\ninterface eth0\nvirtual_router_id {0}\nvirtual_ipaddress {{ 10.0.0.{0} }}\n{1}}}\n"
    file.write_text("".join(block.format(n, "") for n in range(1, 255)))
    status, out, err = convert(file)
    said = "the manifests are more than the 64 KiB of YAML that are read from one file: "
    said += "put them into several, in one directory"
    assert (status, said in err) == (0, len(out.encode()) > 65536)
    many = "track_interface {" + "".join(f"\neth{n}" for n in range(20)) + "\n}\n"
    file.write_text("".join(block.format(n, many) for n in range(1, 255)))
    status, out, err = convert(file)
    assert (status, err.splitlines()) == (0, [f"PATH: {said}"])
    (tmp_path / "all.yaml").write_text(out)
    assert check(tmp_path / "all.yaml")[0] == 1, "as said"
    parts = tmp_path / "parts"
    parts.mkdir()
    for number, part in enumerate(out.split("---\n")):
        (parts / f"{number}.yaml").write_text(part)
    assert check(parts)[0] == 0


def test_convert_prints_what_check_takes(tmp_path):
    file = tmp_path / "keepalived.conf"
    file.write_text(
        "vrrp_instance web {\nstate MASTER\ninterface eth0\nvirtual_router_id 51\npriority 210\n"
        "authentication {\nauth_pass 1111\n}\nvirtual_ipaddress {\n192.168.137.200/32\n}\nsmtp_alert\n}\n"
    )
    status, out, err = convert(file)
    assert status == 0
    assert out == (
        "apiVersion: kube-vrrp.io/v1alpha1\n"
        "kind: VirtualIP\n"
        "metadata:\n"
        "  name: web\n"
        "spec:\n"
        "  addresses:\n"
        "  - 192.168.137.200/32\n"
        "  interfaces:\n"
        "  - eth0\n"
        "  virtualRouterID: 51\n"
        "  version: 2\n"
        "  priority: 210\n"
        "  authentication:\n"
        "    type: PASS\n"
        "    password: '1111'\n"
    )
    assert err == (
        "PATH: line 12: smtp_alert: no mail is sent; "
        "the log and the state directory tell of transitions, in a cluster also Events and metrics\n"
    )
    assert load_documents(out, source="out", lone=True)[0].vip is not None


@pytest.mark.parametrize(("content", "said"), [(None, "No such file"), ("", "there is no vrrp_instance in it")])
def test_convert_without_result(tmp_path, content, said):
    file = tmp_path / "keepalived.conf"
    if content is not None:
        file.write_text(content)
    status, out, err = convert(file)
    assert (status, out) == (1, "")
    assert said in err
