"""Text to documents: YAML, JSON, what neither is, and the bounds."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vip_api.load import MAX_DOCUMENTS, MAX_JSON_BYTES, MAX_YAML_BYTES
from vip_api.parse import LoadedDocument, load_documents

from tests.documents import whole

YAML = """\
apiVersion: kube-vrrp.io/v1alpha1
kind: VirtualIP
metadata:
  name: web
spec:
  addresses:
  - 192.168.137.200
"""


def load(text: str, **options) -> list[LoadedDocument]:
    return load_documents(text, source="web.yaml", **options)


def only_problem(text: str) -> str:
    (document,) = load(text)
    assert document.vip is None
    (problem,) = document.problems
    return str(problem)


def test_one_document():
    (document,) = load(YAML)
    assert (document.source, document.line, document.name, document.problems) == ("web.yaml", 1, "web", ())
    assert document.vip is not None
    assert document.vip.name == "web"


def test_several_documents_and_empty_ones():
    text = f"# nothing here\n---\n---\n{YAML}---\n{YAML.replace('web', 'mail').replace('137.200', '137.300')}---\n"
    web, mail = load(text)
    assert (web.name, web.line, mail.name, mail.line) == ("web", 4, "mail", 12)
    assert web.problems == ()
    assert mail.vip is None
    assert [problem.path for problem in mail.problems] == ["spec.addresses[0]"]


def test_json_and_flow_yaml():
    spec = whole({"addresses": ["10.0.0.7"]})
    for text in (json.dumps(spec), "\ufeff" + json.dumps(spec, indent=2), json.dumps(spec).replace('"', "")):
        (document,) = load(text)
        assert document.vip is not None, document


def test_lone_is_handed_on():
    text = YAML + "  transport: Unicast\n  unicastPeers: [10.0.0.1]\n"
    assert load(text)[0].problems
    assert not load(text, lone=True)[0].problems


@pytest.mark.parametrize("text", ["", "\n# only a comment\n", "---\n", "null"])
def test_nothing_at_all(text):
    assert only_problem(text) == "there is no document in it"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: 1\nb: [1, 2\nc: 3\n", "line 3: not YAML: "),
        ("a: 1\n\tb: 2\n", "line 2: not YAML: "),
        ("é: ü\nb: \x00\n", "line 2: not YAML: control characters are not allowed"),
        ("a: 1\nb: 2\na: 3\n", 'line 3: the key "a" is there twice'),
        ("{a: 1, a: 2}", 'line 1: the key "a" is there twice'),
        ('{"a": 1, "a": 2}', 'line 1: the key "a" is there twice'),
        ("x: &a [1]\ny: *a\n", "line 2: aliases (*name) are not supported"),
        ("? [1, 2]\n: 3\n", "line 1: a key must be plain text"),
        ("a: 1\nb: !!int two\n", "line 2: tags (tag:yaml.org,2002:int) are not supported"),
        ("a: !!map [1]\n", "line 1: tags (tag:yaml.org,2002:map) are not supported"),
        ("a: !!python/object:os.system x\n", "line 1: tags (tag:yaml.org,2002:python/object:os.system) are not"),
        ("[" * 21 + "]" * 21, "line 1: nested too deeply"),
        ("[" * 5000, "line 1: nested too deeply"),
        ('{"a":' * 5000, "line 1: nested too deeply"),
        ("a: b\n" + "#" * MAX_YAML_BYTES, f"it is not JSON, and as YAML more than {MAX_YAML_BYTES // 1024} KiB"),
        (" " * (MAX_JSON_BYTES + 1), "there is more of it than 1024 KiB"),
        ("a:\n- \ud800", "line 2: holds half of a surrogate pair"),
    ],
)
def test_what_is_not_a_document(text, problem):
    assert only_problem(text).startswith(problem)


def test_too_many_documents():
    assert only_problem("---\na\n" * (MAX_DOCUMENTS + 1)) == f"there are more than {MAX_DOCUMENTS} documents in it"
    assert len(load("---\na\n" * MAX_DOCUMENTS)) == MAX_DOCUMENTS


def test_nan_is_not_json():
    """Read as JSON it would be a number that no API server can send; as YAML it is text."""
    (document,) = load(json.dumps(whole({"addresses": ["10.0.0.7"], "priority": float("nan")})))
    assert [str(problem) for problem in document.problems] == ["spec.priority: must be a whole number, not text"]


def test_half_a_file_gives_nothing():
    (document,) = load(YAML + "---\n{{{")
    assert document.vip is None


def test_plain_values_are_those_of_kubernetes():
    """YAML 1.1 would read these as a date, as base 60 and as octal."""
    text = (
        YAML.replace("192.168.137.200", "1:2:3:4:5:6:7:8")
        + "  preempt: no\n  priority: ~\n  interfaces: [2026-01-01]\n"
    )
    (document,) = load(text)
    assert document.vip is not None, document.problems
    assert str(document.vip.spec.addresses[0]) == "1:2:3:4:5:6:7:8"
    assert document.vip.spec.preempt is False
    assert document.vip.spec.interfaces == ("2026-01-01",)
    (document,) = load(YAML + "  priority: 0100\n")
    assert [problem.path for problem in document.problems] == ["spec.priority"]


def test_a_huge_number_does_not_stop_the_reader():
    (document,) = load(json.dumps(whole({"addresses": ["10.0.0.7"]})).replace('"spec"', f'"x": {"9" * 5000}, "spec"'))
    assert document.vip is None


@settings(max_examples=300, deadline=None)
@given(
    text=st.text(max_size=200)
    | st.lists(
        st.sampled_from(
            [
                "a",
                ":",
                " ",
                "\n",
                "- ",
                "{",
                "}",
                "[",
                "]",
                "&a",
                "*a",
                "!!",
                "'",
                '"',
                "|",
                ">",
                "#",
                "? ",
                "---\n",
                "<<",
                "%",
                "1",
            ]
        )
    ).map("".join)
)
def test_whatever_the_text_there_is_an_answer(text):
    documents = load(text)
    assert documents
    assert all(document.vip is None and document.problems for document in documents)
