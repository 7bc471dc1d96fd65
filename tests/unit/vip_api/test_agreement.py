"""The API server's rules and the parser's agree: one table, judged by both.

The API server's side is its own library (tests/crdcheck, Go), loaded with crds/virtualip.yaml.
"""

import json
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from vip_api.model import VirtualIP
from vip_api.parse import parse_document
from vip_api.schema import crd, crd_yaml

from tests.documents import Bad, Good, bad, good, whole

ROOT = Path(__file__).parents[3]
CRD = ROOT / "crds" / "virtualip.yaml"
SOURCES = [ROOT / "tests" / "crdcheck" / name for name in ("main.go", "go.mod", "go.sum")]

# As the API server writes the path of the object as a whole.
_ROOT_PATHS = {"<nil>", ""}


@pytest.fixture(scope="session")
def crdcheck() -> Path:
    """The judge's program, built when its sources are newer."""
    binary = ROOT / ".cache" / "crdcheck"
    if binary.exists() and binary.stat().st_mtime >= max(source.stat().st_mtime for source in SOURCES):
        return binary
    if shutil.which("go") is None:
        pytest.fail("the API server's rules are tried with a Go program: put go (1.25 or newer) on PATH")
    binary.parent.mkdir(exist_ok=True)
    fresh = binary.with_name(f"crdcheck.{os.getpid()}")
    command = ["go", "build", "-trimpath", "-o", str(fresh), "."]
    subprocess.run(command, cwd=SOURCES[0].parent, check=True, timeout=900)
    fresh.replace(binary)
    return binary


def judge(crdcheck: Path, documents: list[object]) -> dict:
    run = subprocess.run(
        [crdcheck, CRD], input=json.dumps(documents), capture_output=True, text=True, timeout=120, check=True
    )
    return json.loads(run.stdout)


@pytest.fixture(scope="session")
def verdicts(crdcheck: Path) -> dict[str, dict]:
    table = [*good(), *bad()]
    answer = judge(crdcheck, [entry.document for entry in table])
    assert answer["definition"] == []
    named = zip(table, answer["documents"], strict=True)
    return {f"{type(entry).__name__} {entry.name}": found for entry, found in named}


def test_the_committed_definition_is_what_the_schema_says():
    assert CRD.read_text() == crd_yaml(), "run `make generate`"


def test_kubectl_takes_the_short_names():
    assert crd()["spec"]["names"]["shortNames"] == ["vip", "vips"]


def test_the_definition_is_printed(capsys, monkeypatch):
    monkeypatch.delitem(sys.modules, "vip_api.schema")
    runpy.run_module("vip_api.schema", run_name="__main__")
    assert capsys.readouterr().out == CRD.read_text()


def test_the_api_server_takes_the_definition(crdcheck):
    answer = judge(crdcheck, [])
    assert answer["definition"] == []
    assert answer["columns"][:7] == ["Name", "Address", "VRID", "Master", "Priority", "Ready", "Age"]
    assert answer["columns"][7:] == ["Addresses", "Version", "Interface", "Backups", "Since"]


@pytest.mark.parametrize("entry", good(), ids=lambda entry: entry.name)
def test_both_take(entry: Good, verdicts):
    assert isinstance(parse_document(entry.document), VirtualIP)
    assert verdicts[f"Good {entry.name}"]["problems"] == []


@pytest.mark.parametrize("entry", bad(), ids=lambda entry: entry.name)
def test_both_refuse_with_one_message(entry: Bad, verdicts):
    found = parse_document(entry.document)
    assert isinstance(found, list)
    assert len(found) == entry.problems, found
    assert found[0].path == entry.path
    assert entry.message in found[0].message
    problems = verdicts[f"Bad {entry.name}"]["problems"]
    assert len(problems) == 1, problems
    assert entry.crd in problems[0]["message"]
    assert _is_about(problems[0]["path"], entry.path)


def _is_about(place: str, path: str) -> bool:
    """Whether the API server's place is the parser's, or holds it: CEL rules of a list cannot name an item of it."""
    return place in _ROOT_PATHS or place == path or path.startswith((f"{place}.", f"{place}["))


def test_the_names_in_the_table_are_unique():
    for table in (good(), bad()):
        names = [entry.name for entry in table]
        assert sorted(names) == sorted(set(names))


def test_a_table_as_kubectl_prints_it(verdicts):
    cells = verdicts["Good with status"]["cells"]
    assert cells[:6] == ["web", "10.0.0.7", 51, "node1", 244, "True"]
    assert cells[7:11] == ["10.0.0.7, 10.0.0.8", 3, "eth0", "node2,node3"]


def test_the_largest_document_stays_within_the_cost_budget(crdcheck):
    expressions = [{"key": "k" * 63, "operator": "In", "values": ["v" * 63] * 16}] * 16
    selector = {"matchLabels": {f"label-{n}": "v" * 63 for n in range(16)}, "matchExpressions": expressions}
    url = f"http://{'a' * 60}.example.com:8080/{'x' * 400}"
    spec = {
        "addresses": [f"2001:db8:1111:2222:3333:4444:5555:{n:x}/64" for n in range(1, 65)],
        "interfaces": ["*" * 64] * 16,
        "nodeSelector": selector,
        "priorities": [{"nodeSelector": selector, "priority": 1}] * 64,
        "track": [{"name": f"check-{n}", "http": {"url": url}} for n in range(64)],
    }
    assert isinstance(parse_document(whole(spec)), VirtualIP)
    assert judge(crdcheck, [whole(spec)])["documents"][0]["problems"] == []


_PIECES = st.sampled_from(
    [
        "10.0.0.7",
        "2001:db8::7",
        "::",
        ":",
        ".",
        "0",
        "7",
        "255",
        "256",
        "1",
        "/",
        "/24",
        "/30",
        "/64",
        "/0",
        "/032",
        "%eth0",
        "fe80",
        "ffff",
        "::ffff:",
        "f",
        "G",
        "1.2.3.4",
        "٣",
        "ｆ",
        "+",
        "-",
        "x",
        "127.",
        "224.",
        " ",
        "\n",
    ]
)
_ADDRESSES = st.lists(_PIECES, max_size=4).map("".join)
_INTERVALS = st.lists(st.sampled_from([*"0123456789", ".", "s", "ms", "m", "-", "e1", " ", "\n", "٣"]), max_size=6)
_DURATIONS = _INTERVALS.map("".join) | st.integers(0, 50000).map("{}ms".format) | st.integers(0, 300).map("{}s".format)
_HOSTS = st.lists(st.sampled_from([*"a.-1[]:%", "127.0.0.1", "localhost", "::1", "10.0.0.1", "é"]), max_size=4)
_SPECS = st.fixed_dictionaries(
    {"addresses": st.lists(_ADDRESSES, min_size=1, max_size=2)},
    optional={
        "version": st.sampled_from([2, 3]),
        "advertisementInterval": _DURATIONS,
        "preemptDelay": _DURATIONS,
        "interfaces": st.lists(st.text(max_size=17), max_size=1),
        "authentication": st.fixed_dictionaries({"password": st.text(max_size=9)}),
        "track": st.lists(
            st.one_of(
                _HOSTS.map(lambda host: {"tcp": {"host": "".join(host), "port": 1}}),
                _HOSTS.map(lambda host: {"http": {"url": f"http://{''.join(host)}/"}}),
                st.text(max_size=4).map(lambda text: {"file": {"path": f"/{text}"}}),
                st.text(max_size=4).map(lambda text: {"script": {"name": text}}),
            ),
            max_size=1,
        ).map(lambda entries: [{"name": "a"} | entry for entry in entries]),
    },
)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(specs=st.lists(_SPECS, min_size=50, max_size=200))
def test_both_agree_on_whatever_comes(crdcheck, specs):
    documents = [whole(spec) for spec in specs]
    for document, found in zip(documents, judge(crdcheck, documents)["documents"], strict=True):
        ours = isinstance(parse_document(document), VirtualIP)
        assert ours == (not found["problems"]), (document["spec"], found["problems"])
