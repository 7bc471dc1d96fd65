"""keepalived.conf to VirtualIPs: the walk-through word for word, each keyword, and what is said about the rest."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vip_api.model import VirtualIP
from vip_api.parse import parse_document
from vip_speaker.convert import MAX_TEXT_BYTES, convert

WALKTHROUGH = """\
! Configuration File for keepalived
vrrp_track_process track_httpd {{
      process httpd
      weight 10
}}
vrrp_track_file file1 {{
      file "/var/run/my_app/vrrp_track_file"
}}
vrrp_script check_web {{
      script "/usr/local/bin/check_web.sh"
      interval 5                    # every 5 seconds
      timeout 5
      fall 3
      rise 2
}}
vrrp_instance VI_1 {{
        state {state}
        interface eth0
        virtual_router_id 51
        priority {priority}
        advert_int 1
        authentication {{
              auth_type PASS
              auth_pass 1111
        }}
        virtual_ipaddress {{
              192.168.137.200/32
        }}
        track_process {{
              track_httpd
        }}
        track_file {{
              file1 weight 1
        }}
        track_interface {{
              ens9 weight 5
        }}
        track_script {{
              check_web
        }}
}}
"""


def instance(*lines: str, before: str = "", addresses: str = "10.0.0.7") -> str:
    """A file with one short instance and these lines in it, the first of which is line 6 (or later by `before`)."""
    body = "\n".join(lines)
    return (
        f"{before}vrrp_instance web {{\ninterface eth0\nvirtual_router_id 51\n"
        f"virtual_ipaddress {{ {addresses} }}\n\n{body}\n}}\n"
    )


def spec_of(text: str) -> tuple[dict[str, Any], list[str]]:
    """The one document's spec, which the parser has to take, and the notes."""
    converted = convert(text)
    (document,) = converted.documents
    assert isinstance(parse_document(document, lone=True), VirtualIP)
    return document["spec"], converted.notes


@pytest.mark.parametrize(("state", "priority"), [("MASTER", 210), ("BACKUP", 200)])
def test_the_walk_through(state, priority):
    converted = convert(WALKTHROUGH.format(state=state, priority=priority))
    assert converted.documents == [
        {
            "apiVersion": "kube-vrrp.io/v1alpha1",
            "kind": "VirtualIP",
            "metadata": {"name": "vi-1"},
            "spec": {
                "addresses": ["192.168.137.200/32"],
                "interfaces": ["eth0"],
                "virtualRouterID": 51,
                "version": 2,
                "advertisementInterval": "1s",
                "priority": priority,
                "authentication": {"type": "PASS", "password": "1111"},
                "track": [
                    {"name": "track-httpd", "weight": 10, "process": {"name": "httpd"}},
                    {"name": "file1", "weight": 1, "file": {"path": "/var/run/my_app/vrrp_track_file"}},
                    {"name": "ens9", "weight": 5, "interface": {"name": "ens9"}},
                    {
                        "name": "check-web",
                        "weight": 0,
                        "script": {"name": "check_web.sh", "interval": "5s", "timeout": "5s", "rise": 2, "fall": 3},
                    },
                ],
            },
        }
    ]
    (note,) = converted.notes
    assert note.startswith("line 10: script /usr/local/bin/check_web.sh: put it as check_web.sh into the scripts")
    assert isinstance(parse_document(converted.documents[0], lone=True), VirtualIP)


def test_what_keepalived_takes_for_granted():
    spec, notes = spec_of(instance())
    assert spec == {
        "addresses": ["10.0.0.7"],
        "interfaces": ["eth0"],
        "virtualRouterID": 51,
        "version": 2,
        "priority": 100,
    }
    assert notes == []


FIELDS = [
    (["priority 255"], {"priority": 255}),
    (["version 3"], {"version": 3}),
    (["version 3", "advert_int 0.1"], {"version": 3, "advertisementInterval": "100ms"}),
    (["version 3", "advert_int 1.25"], {"version": 3, "advertisementInterval": "1250ms"}),
    (["advert_int 5"], {"advertisementInterval": "5s"}),
    (["state BACKUP", "nopreempt"], {"preempt": False}),
    (["state BACKUP", "preempt_delay 300"], {"preemptDelay": "300s"}),
    (["preempt_delay 4.12"], {"preemptDelay": "4.12s"}),
    (
        ["unicast_peer {", "10.0.0.2", "10.0.0.3", "}"],
        {"unicastPeers": ["10.0.0.2", "10.0.0.3"], "transport": "Unicast"},
    ),
    (["use_vmac"], {"virtualMAC": True}),
    (
        ["garp_master_repeat 1", "garp_master_delay 10", "garp_master_refresh 60"],
        {"announcements": {"repeat": 1, "delay": "10s", "refresh": "60s"}},
    ),
    (["authentication {", "auth_pass secret", "}"], {"authentication": {"type": "PASS", "password": "secret"}}),
    (['authentication { auth_pass "a #!{} b" }'], {"authentication": {"type": "PASS", "password": "a #!{} b"}}),
    (["virtual_ipaddress_excluded {", "}"], {}),
    (["accept", "state BACKUP", "check_unicast_src"], {}),
    (
        ["track_interface {", "eth1", "eth2 weight -5 reverse", "}"],
        {
            "track": [
                {"name": "eth1", "weight": 0, "interface": {"name": "eth1"}},
                {"name": "eth2", "weight": -5, "reverse": True, "interface": {"name": "eth2"}},
            ]
        },
    ),
    (["virtual_ipaddress {", "10.0.0.8/24 dev eth0", "}"], {"addresses": ["10.0.0.7", "10.0.0.8/24"]}),
]


@pytest.mark.parametrize(("lines", "fields"), FIELDS, ids=lambda value: str(value)[:40])
def test_fields(lines, fields):
    spec, notes = spec_of(instance(*lines))
    assert notes == []
    plain, _ = spec_of(instance())
    assert spec == plain | fields


NOTES = [
    (["nopreempt", "state MASTER"], "nopreempt: keepalived ignores this together with `state MASTER`"),
    (["preempt_delay 5", "state MASTER"], "preempt_delay 5: keepalived ignores this together with `state MASTER`"),
    (["preempt_delay 5", "nopreempt"], "preempt_delay 5: has no effect with nopreempt"),
    (["preempt_delay soon"], 'preempt_delay soon: "soons": must be a duration'),
    (["priority high"], "priority high: not a whole number"),
    (["priority 256"], "priority 256: must be between 1 and 255"),
    (["virtual_router_id 256"], "virtual_router_id 256: must be between 1 and 255"),
    (["interface a/b"], 'interface a/b: "a/b": must be the name of an interface'),
    (["advert_int 0.5"], "advert_int 0.5: VRRPv2 advertises every 1s to 255s, in whole seconds; left out"),
    (["advert_int often"], "advert_int often: not a number of seconds"),
    (["version 4"], "version 4: there are versions 2 and 3 only"),
    (["authentication { auth_type AH }"], "auth_type AH: only PASS is offered"),
    (["authentication {", "}"], "authentication: has no auth_pass"),
    (["notify_master /a"], "notify_master /a: no script is run on transitions"),
    (["smtp_alert"], "smtp_alert: no mail is sent"),
    (["unicast_src_ip 10.0.0.1"], "unicast_src_ip 10.0.0.1: advertisements are sent from the interface's primary"),
    (["frobnicate 5"], "frobnicate 5: there is no such setting"),
    (["unicast_peer { host }"], "host: is not an address"),
    (["unicast_peer {", "}"], "unicast_peer: names no peer"),
    (["unicast_peer { 10.0.0.2 min_ttl 3 }"], "10.0.0.2 min_ttl 3: packets with a TTL below 255 are discarded"),
    (["use_vmac vrrp.51"], "use_vmac vrrp.51: the interface's name and MAC address cannot be chosen"),
    (["garp_master_repeat 0"], "garp_master_repeat 0: must be between 1 and 60"),
    (["garp_master_repeat x"], "garp_master_repeat x: must be a whole number"),
    (["virtual_ipaddress { 10.0.0.300 }"], '10.0.0.300: "10.0.0.300": must be an IPv4'),
    (
        ["virtual_ipaddress { 10.0.0.8 dev eth1 }"],
        "10.0.0.8 dev eth1: all addresses are on the interface of the instance, eth0",
    ),
    (
        ["virtual_ipaddress { 10.0.0.8 label eth0:1 }"],
        "10.0.0.8 label eth0:1: label is not carried over; the address itself is",
    ),
    (["virtual_ipaddress { 10.0.0.8 dev eth0 -nodad }"], "10.0.0.8 dev eth0 -nodad: -nodad is not carried over"),
    (["virtual_ipaddress { 10.0.0.7/24 }"], "10.0.0.7/24: the address is there twice"),
    (
        ["virtual_ipaddress_excluded { 10.0.0.8 }"],
        "virtual_ipaddress_excluded: addresses of the first one's family are advertised",
    ),
    (["virtual_ipaddress_excluded { fe80::8 }"], "fe80::8: VRRPv2 carries IPv4 only"),
    (["track_script { nobody }"], "track_script: nobody is not defined in this file"),
    (["track_interface { a/b }"], 'a/b: interface.name: "a/b": must be the name'),
    (["track_interface { eth1 weight 254 }"], "eth1 weight 254: written as 253"),
    (["track_interface { eth1 weight }"], "eth1 weight: weight without a number, taken as 0"),
    (["include more.conf"], "include more.conf: other files are not read"),
    (["priority $PRIORITY"], "priority $PRIORITY: definitions ($NAME) are not carried over"),
    (["authentication { auth_pass a${_HASH}b }"], "auth_pass a${_HASH}b: definitions"),
    (["@main priority 200"], "@main priority 200: conditional lines are not carried over"),
    (["~SEQ(a, 1, 2) track_src_ip"], "~SEQ(a, 1, 2) track_src_ip: sequences are not carried over"),
    (['notify "/a'], "a quote is never closed"),
]


@pytest.mark.parametrize(("lines", "note"), NOTES, ids=lambda value: str(value)[:40])
def test_notes(lines, note):
    _, notes = spec_of(instance(*lines))
    assert any(f"line 6: {note}" in found for found in notes), notes


def test_a_long_password_is_cut_as_keepalived_cuts_it():
    spec, notes = spec_of(instance("authentication {", "auth_type PASS", "auth_pass 1234567890", "}"))
    assert spec["authentication"]["password"] == "12345678"
    assert notes == ["line 8: auth_pass: keepalived uses the first 8 characters; so are these"]


def test_a_password_with_version_3_is_left_out():
    spec, notes = spec_of(instance("version 3", "authentication { auth_pass 1111 }"))
    assert "authentication" not in spec
    assert notes == ["line 7: authentication: VRRPv3 has no authentication; keepalived does not use it there either"]


def test_ipv6_is_version_3_by_itself():
    spec, notes = spec_of(instance("virtual_ipaddress_excluded { 10.0.0.7 }", addresses="2001:db8::7/64"))
    assert (spec["version"], spec["addresses"], notes) == (3, ["2001:db8::7/64", "10.0.0.7"], [])


def test_global_defaults():
    garp = "vrrp_garp_master_repeat 2\nvrrp_garp_master_delay x\n"
    before = f"global_defs {{\nvrrp_version 3\n{garp}router_id a\nsmtp_server b\n}}\n"
    spec, notes = spec_of(instance("garp_master_refresh 90", before=before))
    assert spec["version"] == 3
    assert spec["announcements"] == {"repeat": 2, "refresh": "90s"}
    assert [note.split(":")[0] for note in notes] == ["line 4", "line 5", "line 6"]


def test_the_interface_is_the_addresses_or_the_default():
    body = "vrrp_instance a {{\nvirtual_router_id 1\nvirtual_ipaddress {{\n10.0.0.7 {}\n}}\n}}\n"
    assert spec_of(body.format("dev eth1"))[0]["interfaces"] == ["eth1"]
    assert spec_of("global_defs {\ndefault_interface eth2\n}\n" + body.format(""))[0]["interfaces"] == ["eth2"]
    assert "interfaces" not in spec_of(body.format(""))[0]


def test_braces_on_lines_of_their_own():
    spec, notes = spec_of("vrrp_instance a\n{\nvirtual_router_id 1\nvirtual_ipaddress\n{\n10.0.0.7\n}\n}\n")
    assert (spec["addresses"], notes) == (["10.0.0.7"], [])


def test_names_become_labels_that_differ():
    text = "".join(
        instance(addresses=f"10.0.0.{n}").replace("web", name) for n, name in enumerate(["VI_1", "vi.1", "_"], 1)
    )
    assert [document["metadata"]["name"] for document in convert(text).documents] == ["vi-1", "vi-1-2", "unnamed"]


def checks_of(definition: str, reference: str) -> tuple[list[dict[str, Any]], list[str]]:
    spec, notes = spec_of(instance(reference, before=definition))
    return spec.get("track", []), notes


@pytest.mark.parametrize(
    ("definition", "reference", "entry", "notes"),
    [
        (
            "vrrp_script a {\nscript /s/a.sh x y\nweight -2 reverse\ninit_fail\n}\n",
            "track_script { a }",
            {"weight": -2, "reverse": True, "script": {"name": "a.sh", "args": ["x", "y"], "initFail": True}},
            ["put it as a.sh"],
        ),
        (
            "vrrp_script a {\nscript \"/s/a.sh 'x y'\"\nweight 5\n}\n",
            "track_script { a weight 7 }",
            {"weight": 7, "script": {"name": "a.sh", "args": ["x y"]}},
            ["put it as a.sh"],
        ),
        (
            "vrrp_script a {\nscript /s/a\ninterval 2\ntimeout 9\nuser nobody\n}\n",
            "track_script { a }",
            {"weight": 0, "script": {"name": "a", "interval": "2s", "timeout": "2s"}},
            ["put it as a", "written as 2s", "unprivileged user"],
        ),
        (
            "vrrp_script a {\nscript /s/a\nfall 3\nrise\n}\n",
            "track_script { a }",
            {"weight": 0, "script": {"name": "a", "fall": 3}},
            ["put it as a", "rise: not a whole number"],
        ),
        (
            "vrrp_script a {\nscript /s/a\nweight 10 reverse\n}\n",
            "track_script { a weight 20 }",
            {"weight": 20, "reverse": True, "script": {"name": "a"}},
            ["put it as a"],
        ),
        (
            "vrrp_script a {\nscript /s/a\nweight 10 reverse\n}\n",
            "track_script { a weight 20 noreverse }",
            {"weight": 20, "script": {"name": "a"}},
            ["put it as a"],
        ),
        (
            "vrrp_script a {\nscript /s/a\nweight 10 reverse\n}\n",
            "track_script { a weight 20 no_reverse }",
            {"weight": 20, "script": {"name": "a"}},
            ["put it as a"],
        ),
        (
            "vrrp_track_process a {\nprocess httpd\ndelay 5\nterminate_delay 1\nfork_delay 2\n}\n",
            "track_process { a }",
            {"weight": 1, "process": {"name": "httpd"}},
            ["delay 5: what starts or ends counts", "terminate_delay 1: what ends counts", "fork_delay 2: what starts"],
        ),
        (
            'vrrp_script a {\nscript "killall -0 httpd"\n}\n',
            "track_script { a }",
            {"weight": 0, "script": {"name": "killall", "args": ["-0", "httpd"]}},
            ["does this without a script"],
        ),
        (
            "track_file a {\nfile /a\nweight 2 reverse\ninit_file 0\n}\n",
            "track_file { a }",
            {"weight": 2, "reverse": True, "file": {"path": "/a"}},
            ["never writes"],
        ),
        (
            "vrrp_track_process a {\nprocess /usr/sbin/httpd\nquorum 2\nquorum_max 3\n}\n",
            "track_process { a }",
            {"weight": 1, "process": {"name": "httpd", "quorum": 2}},
            ["only a lower bound"],
        ),
        (
            "vrrp_track_process a {\nprocess httpd -k start\n}\n",
            "track_process { a weight 0 }",
            {"weight": 0, "process": {"commandLine": "httpd -k start"}},
            [],
        ),
        (
            "vrrp_track_process a {\nprocess httpd\nfull_command\n}\n",
            "track_process { a weight -3 }",
            {"weight": -3, "process": {"commandLine": "httpd"}},
            [],
        ),
    ],
)
def test_checks(definition, reference, entry, notes):
    track, found = checks_of(definition, reference)
    assert track == [{"name": "a"} | entry]
    assert len(found) == len(notes)
    for said in notes:
        assert any(said in note for note in found), found


@pytest.mark.parametrize(
    ("definition", "reference", "note"),
    [
        ("vrrp_script a {\n}\n", "track_script { a }", "vrrp_script a: names no script"),
        ('vrrp_script a {\nscript "it\'s"\n}\n', "track_script { a }", "vrrp_script a: names no script"),
        ('vrrp_script a {\nscript "a | b"\n}\n', "track_script { a }", "this needs a shell"),
        ("vrrp_script a {\nscript /s/.a\n}\n", "track_script { a }", "never given as a path"),
        ("vrrp_script a {\nscript /s/a\nrise 0\n}\n", "track_script { a }", "script.rise: must be between 1 and 255"),
        ("track_file a {\n}\n", "track_file { a }", "track_file a: names no file"),
        ("track_file a {\nfile a\n}\n", "track_file { a }", "must be the absolute path"),
        ("vrrp_track_process a {\n}\n", "track_process { a }", "vrrp_track_process a: names no process"),
    ],
)
def test_checks_that_are_left_out(definition, reference, note):
    track, found = checks_of(definition, reference)
    assert track == []
    assert any(note in said for said in found), found


def test_a_check_that_is_named_twice_counts_once():
    track, notes = checks_of(
        "vrrp_script a {\nscript /s/a\n}\n", "track_script {\na weight 7\na weight 9\n}\ntrack_script { a }"
    )
    assert [(entry["name"], entry["weight"]) for entry in track] == [("a", 7)]
    assert notes[1:] == [
        "line 11: a weight 9: named twice, and counts once, as in keepalived; left out",
        "line 13: a: named twice, and counts once, as in keepalived; left out",
    ]


def test_a_master_without_priority_is_no_owner():
    spec, notes = spec_of(instance("state MASTER"))
    assert spec["priority"] == 100
    assert notes == [
        "line 6: state MASTER: keepalived takes this without a priority for 255, the owner of the addresses; "
        "the VirtualIP says 100, give it the one that is meant"
    ]


GROUP = "vrrp_script a {{\nscript /s/a\nweight {}\n}}\nvrrp_sync_group g {{\ngroup {{ web }}\n{}}}\n"


@pytest.mark.parametrize(
    ("weight", "more", "said"),
    [(5, "", True), (0, "", False), (5, "sync_group_tracking_weight\n", False)],
)
def test_a_weighted_script_of_an_instance_in_a_sync_group_counts_here(weight, more, said):
    spec, notes = spec_of(instance("track_script { a }", before=GROUP.format(weight, more)))
    assert spec["track"][0]["weight"] == weight
    note = (
        "line 5: vrrp_sync_group g: without sync_group_tracking_weight keepalived ignores the weighted scripts of "
        "its instances (web); here they count"
    )
    assert (note in notes) == said


def test_other_blocks():
    lvs = "virtual_server 10.0.0.1 80 {\nreal_server 10.0.0.2 80 {\nweight 1\n}\n}\n"
    text = lvs + "vrrp_sync_group g {\ngroup {\nweb\n}\n}\nfoo\n"
    _, notes = spec_of(instance(before=text))
    assert [note.split(":")[0] for note in notes] == ["line 1", "line 6", "line 11"]
    assert "do not move together" in notes[1]


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("", "there is no vrrp_instance in it"),
        ("vrrp_instance a {\n", "line 1: vrrp_instance a: the brace is never closed"),
        ("}\n", "line 1: a closing brace without an opening one"),
        ("vrrp_instance a {\n}\n", "line 1: vrrp_instance a: no address is left"),
        (
            instance("unicast_peer {", *["10.0.0.1"] * 255, "}"),
            "line 1: vrrp_instance web: no VirtualIP is made of it: spec.unicastPeers: is required",
        ),
        ("{\n" * 9, "line 9: braces nested too deeply; the rest was not read"),
        ("#" * (MAX_TEXT_BYTES + 1), "the file is larger than 1024 KiB"),
        (
            "include a\n",
            "line 1: include a: other files are not read; convert that file by itself, or paste it in here",
        ),
    ],
)
def test_nothing_to_convert(text, note):
    converted = convert(text)
    assert converted.documents == []
    assert any(found.startswith(note) for found in converted.notes), converted.notes


def test_no_vrid():
    spec, notes = spec_of("vrrp_instance a {\nvirtual_ipaddress { 10.0.0.7 }\n}\n")
    assert "virtualRouterID" not in spec
    assert notes == ["line 1: vrrp_instance a: has no virtual_router_id; a router without a cluster needs one"]


def test_more_addresses_than_fit():
    lines = [f"10.0.1.{n}" for n in range(1, 70)]
    spec, notes = spec_of(instance("virtual_ipaddress {", *lines, "}"))
    assert len(spec["addresses"]) == 64
    assert len(notes) == 6


_KEYWORDS = """
vrrp_instance vrrp_script track_file vrrp_track_process global_defs virtual_ipaddress track_script track_interface
track_process authentication auth_pass auth_type PASS state MASTER nopreempt preempt_delay priority advert_int version
virtual_router_id interface unicast_peer use_vmac weight reverse dev script interval timeout file process 10.0.0.7
10.0.0.8/24 fe80::1 eth0 a 0 1 3 51 999999 -5 { } { } " ' # ! $A ${ @x include
"""
_WORDS = st.sampled_from([*_KEYWORDS.split(), *["\n"] * 12])


@settings(max_examples=300, deadline=None)
@given(text=st.lists(_WORDS, max_size=60).map(" ".join) | st.text())
def test_whatever_the_text_its_documents_are_right(text):
    for document in convert(text).documents:
        assert isinstance(parse_document(document, lone=True), VirtualIP), document


@settings(max_examples=200, deadline=None)
@given(words=st.lists(_WORDS, max_size=40).map(" ".join))
def test_whatever_an_instance_says_its_document_is_right(words):
    for document in convert(instance(words)).documents:
        assert isinstance(parse_document(document, lone=True), VirtualIP), document
