import os
from pathlib import Path

import pytest
from vip_speaker.router.manifests import Manifests
from vip_speaker.router.passwords import Passwords, read_password_file

MS = 1_000_000


def document(name="web", *, vrid=51, address="192.168.137.200", **spec):
    extra = "".join(f"  {key}: {value}\n" for key, value in spec.items())
    return (
        "apiVersion: kube-vrrp.io/v1alpha1\nkind: VirtualIP\n"
        f"metadata: {{name: {name}}}\nspec:\n  addresses: [{address}]\n  virtualRouterID: {vrid}\n{extra}"
    )


@pytest.fixture
def manifests(tmp_path):
    return Manifests(tmp_path)


def load(manifests, at_ms=0):
    return manifests.load(at_ms * MS)


def test_every_document_of_every_file_is_there(manifests, tmp_path):
    (tmp_path / "a.yaml").write_text(document("web") + "---\n" + document("db", vrid=52, address="192.168.137.199"))
    (tmp_path / "b.json").write_text(
        '{"apiVersion":"kube-vrrp.io/v1alpha1","kind":"VirtualIP","metadata":{"name":"mq"},'
        '"spec":{"addresses":["10.0.0.9"],"virtualRouterID":7}}'
    )
    snapshot = load(manifests)
    assert sorted(snapshot.manifests) == ["db", "mq", "web"]
    assert all(one.vip is not None and not one.problems for one in snapshot.manifests.values())
    assert snapshot.problems == ()


def test_other_files_and_hidden_ones_are_not_read(manifests, tmp_path):
    for name in ("notes.txt", ".web.yaml", "web.yaml~", ".web.yaml.swp", "4913"):
        (tmp_path / name).write_text(document())
    assert load(manifests).manifests == {}


@pytest.mark.parametrize(
    "bad",
    ["", "\n", "spec: [", "apiVersion: kube-vrrp.io/v1alpha1\nkind: Virt", document().replace("51", "900")],
    ids=["empty", "blank", "cut", "cut in the kind", "refused"],
)
def test_a_bad_file_keeps_its_last_good_document(manifests, tmp_path, bad):
    file = tmp_path / "web.yaml"
    file.write_text(document())
    good = load(manifests).manifests["web"].vip
    file.write_text(bad)
    kept = load(manifests).manifests["web"]
    assert kept.vip == good
    assert kept.problems
    file.write_text(document(vrid=52))
    healed = load(manifests).manifests["web"]
    assert healed.vip.spec.virtual_router_id == 52
    assert healed.problems == ()


def test_a_bad_file_that_was_never_good_is_a_vip_by_the_name_of_the_file(manifests, tmp_path):
    (tmp_path / "web.yaml").write_text("{{{")
    (tmp_path / "db.yaml").write_text(document("db"))
    snapshot = load(manifests)
    assert snapshot.manifests["web"].vip is None
    assert "web.yaml" in snapshot.manifests["web"].problems[0]
    assert snapshot.manifests["db"].vip is not None


def test_a_file_that_is_gone_for_a_moment_is_not_gone(manifests, tmp_path):
    file = tmp_path / "web.yaml"
    file.write_text(document())
    load(manifests)
    file.rename(tmp_path / "web.yaml~")
    assert "web" in load(manifests, 1).manifests
    assert manifests.unsettled
    file.write_text(document(vrid=52))
    snapshot = load(manifests, 51)
    assert snapshot.manifests["web"].vip.spec.virtual_router_id == 52
    assert not manifests.unsettled


def test_a_file_that_stays_away_is_gone(manifests, tmp_path):
    file = tmp_path / "web.yaml"
    file.write_text(document())
    load(manifests)
    file.unlink()
    assert "web" in load(manifests, 1).manifests
    assert "web" in load(manifests, 100).manifests
    assert load(manifests, 152).manifests == {}
    assert not manifests.unsettled


def test_the_same_name_in_two_files_is_a_problem_of_the_second(manifests, tmp_path):
    (tmp_path / "a.yaml").write_text(document(vrid=51))
    (tmp_path / "b.yaml").write_text(document(vrid=52))
    snapshot = load(manifests)
    assert snapshot.manifests["web"].vip.spec.virtual_router_id == 51
    assert snapshot.problems == ("b.yaml: web is defined in another file already",)


def test_a_config_map_that_swaps_its_symlink_is_followed(manifests, tmp_path):
    for version, vrid in (("..1", 51), ("..2", 52)):
        (tmp_path / version).mkdir()
        (tmp_path / version / "web.yaml").write_text(document(vrid=vrid))
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "web.yaml").symlink_to("..data/web.yaml")
    assert load(manifests).manifests["web"].vip.spec.virtual_router_id == 51
    (tmp_path / "..data_tmp").symlink_to("..2")
    (tmp_path / "..data_tmp").rename(tmp_path / "..data")
    assert load(manifests).manifests["web"].vip.spec.virtual_router_id == 52


def test_a_symlink_that_leads_outside_is_not_followed(tmp_path):
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    (outside / "secret.yaml").write_text(document())
    (inside / "web.yaml").symlink_to(outside / "secret.yaml")
    manifest = Manifests(inside).load(0).manifests["web"]
    assert manifest.vip is None
    assert "out of the directory" in manifest.problems[0]


@pytest.mark.parametrize("kind", ["fifo", "directory", "huge", "dangling", "binary"])
def test_a_hostile_entry_stops_nothing(manifests, tmp_path, kind):
    (tmp_path / "db.yaml").write_text(document("db"))
    entry = tmp_path / "web.yaml"
    match kind:
        case "fifo":
            os.mkfifo(entry)
        case "directory":
            entry.mkdir()
        case "huge":
            with entry.open("wb") as sparse:
                sparse.truncate(1 << 30)
        case "dangling":
            entry.symlink_to("nowhere")
        case "binary":
            entry.write_bytes(b"\xff\xfe\x00")
    snapshot = load(manifests)
    assert snapshot.manifests["db"].vip is not None
    assert snapshot.manifests["web"].vip is None
    assert snapshot.manifests["web"].problems


def test_however_many_files_there_are_those_known_stay(manifests, tmp_path):
    """More than are looked at, so that not all that are known are among those seen."""
    names = [f"web{number}" for number in range(100)]
    for number, name in enumerate(names):
        (tmp_path / f"{name}.yaml").write_text(document(name, vrid=number + 1, address=f"10.0.0.{number + 1}"))
    load(manifests)
    for number in range(6000):
        (tmp_path / f"junk{number}").touch()
    for at_ms in (0, 100, 400):
        snapshot = load(manifests, at_ms)
        assert sorted(snapshot.manifests) == sorted(names)
        assert any("too many files" in problem for problem in snapshot.problems)
    (tmp_path / "web7.yaml").unlink()
    load(manifests, 500)
    assert sorted(load(manifests, 1000).manifests) == sorted({*names} - {"web7"})


def test_too_many_files_are_said_and_those_known_stay(manifests, tmp_path):
    (tmp_path / "zz.yaml").write_text(document())
    load(manifests)
    for number in range(1100):
        (tmp_path / f"junk{number}.yaml").touch()
    snapshot = load(manifests)
    assert "web" in snapshot.manifests
    assert any("too many files" in problem for problem in snapshot.problems)


def test_a_single_file(tmp_path):
    file = tmp_path / "vips.yaml"
    file.write_text(document("web"))
    (tmp_path / "other.yaml").write_text(document("other"))
    manifests = Manifests(file)
    assert sorted(manifests.load(0).manifests) == ["web"]
    assert manifests.directory == tmp_path


def test_an_unchanged_file_is_not_read_again(manifests, tmp_path):
    (tmp_path / "web.yaml").write_text(document())
    first = load(manifests).manifests["web"].vip
    assert load(manifests).manifests["web"].vip is first


def test_the_password_is_the_first_line_of_its_file(tmp_path):
    file = tmp_path / "password"
    file.write_text("1111\nanything\n")
    assert read_password_file(str(file)) == "1111"


@pytest.mark.parametrize("content", ["", "\n1111", "longer than eight"])
def test_a_password_file_with_no_password_is_said(tmp_path, content):
    file = tmp_path / "password"
    file.write_text(content)
    with pytest.raises(ValueError, match="1 to 8 bytes"):
        read_password_file(str(file))


def test_what_is_said_of_a_password_file_quotes_nothing_of_it(tmp_path):
    file = tmp_path / "password"
    file.write_bytes(b"hunter\xe9")
    with pytest.raises(ValueError, match=r"^the password must be text$") as raised:
        read_password_file(str(file))
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__


def test_a_password_file_that_is_a_fifo_does_not_stop_us(tmp_path):
    os.mkfifo(tmp_path / "password")
    with pytest.raises(ValueError, match="regular"):
        read_password_file(str(tmp_path / "password"))


def test_a_directory_that_is_gone_is_empty():
    manifests = Manifests(Path("/nonexistent/kube-vrrp"))
    manifests.is_directory = True
    assert manifests.load(0).manifests == {}


def test_a_directory_that_cannot_be_read_keeps_everything(manifests, tmp_path, monkeypatch):
    (tmp_path / "web.yaml").write_text(document())
    load(manifests)

    def refuse(_path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", refuse)
    for at_ms in (1, 500, 5000):
        snapshot = load(manifests, at_ms)
        assert snapshot.manifests["web"].vip is not None
        assert "Permission denied" in snapshot.problems[0]


def test_a_bad_file_whose_name_can_be_no_vip_is_a_problem_of_its_own(manifests, tmp_path):
    (tmp_path / ("x" * 245 + ".yaml")).write_text("{{{")
    (tmp_path / "Not A Name.yaml").write_text("{{{")
    snapshot = load(manifests)
    assert snapshot.manifests == {}
    assert len(snapshot.problems) == 2


def test_a_password_file_that_is_bad_for_a_moment_keeps_the_last_good_password(tmp_path):
    file = tmp_path / "password"
    file.write_text("1111")
    (tmp_path / "conf").mkdir()
    text = document(version=2) + f"  authentication: {{type: PASS, passwordFile: {file}}}\n"
    (tmp_path / "conf" / "web.yaml").write_text(text)
    vip = Manifests(tmp_path / "conf").load(0).manifests["web"].vip
    passwords = Passwords()
    assert passwords.of(vip) == "1111"
    file.write_text("")
    assert passwords.of(vip) == "1111"
    assert "1 to 8 bytes" in passwords.problems["web"]
    file.unlink()
    assert passwords.of(vip) == "1111"
    file.write_text("2222")
    assert passwords.of(vip) == "2222"
    assert passwords.problems == {}


def test_a_password_file_that_was_never_good_is_said(tmp_path):
    (tmp_path / "conf").mkdir()
    text = document(version=2) + f"  authentication: {{type: PASS, passwordFile: {tmp_path}/none}}\n"
    (tmp_path / "conf" / "web.yaml").write_text(text)
    vip = Manifests(tmp_path / "conf").load(0).manifests["web"].vip
    with pytest.raises(ValueError, match=r"spec\.authentication\.passwordFile: .*No such file"):
        Passwords().of(vip)


def test_a_document_that_was_never_good_hides_no_good_one_of_the_same_name(manifests, tmp_path):
    (tmp_path / "a.yaml").write_text(document().replace("51", "900"))
    (tmp_path / "b.yaml").write_text(document(vrid=52))
    snapshot = load(manifests)
    assert snapshot.manifests["web"].vip.spec.virtual_router_id == 52
    assert any("virtualRouterID" in problem for problem in snapshot.problems), "it is said all the same"
    assert "b.yaml: web is defined in another file already" in snapshot.problems
    assert load(manifests, 1).manifests["web"] is snapshot.manifests["web"], "nothing has changed"
