from ipaddress import ip_address

from vip_speaker.router.conflicts import Claim, find_conflicts


def claim(name, *, rank=2, ifindex=2, version=4, vrid=51, addresses=("10.0.0.1",)):
    return Claim(
        name=name,
        rank=rank,
        ifindex=ifindex,
        interface=f"eth{ifindex}",
        version=version,
        vrid=vrid,
        addresses=frozenset(map(ip_address, addresses)),
    )


def test_a_vrid_exists_once_per_link_and_ip_version():
    claims = [
        claim("a"),
        claim("b", addresses=["10.0.0.2"]),
        claim("c", ifindex=3, addresses=["10.0.0.3"]),
        claim("d", version=6, addresses=["fd00::1"]),
    ]
    assert find_conflicts(claims) == {"b": "spec.virtualRouterID: 51 is that of a on eth2"}


def test_an_address_exists_once_on_the_host():
    claims = [claim("a", vrid=1), claim("b", vrid=2, ifindex=3)]
    assert find_conflicts(claims) == {"b": "spec.addresses: 10.0.0.1 is an address of a"}


def test_a_link_local_address_exists_once_on_each_link():
    """Also one that nobody wrote: two IPv6 virtual routers of one VRID on two links are given the same."""
    derived = ["fe80::5e00:233"]
    claims = [claim(name, ifindex=ifindex, version=6, addresses=derived) for name, ifindex in (("a", 2), ("b", 3))]
    assert find_conflicts(claims) == {}
    claims.append(claim("c", vrid=9, ifindex=3, version=6, addresses=derived))
    assert find_conflicts(claims) == {"c": "spec.addresses: fe80::5e00:233 is an address of b"}
    four = [claim(name, vrid=vrid, ifindex=vrid, addresses=["169.254.0.9"]) for name, vrid in (("a", 2), ("b", 3))]
    assert find_conflicts(four).keys() == {"b"}, "IPv4 is one table for the host"


def test_who_is_in_force_wins_and_who_is_leaving_still_holds():
    claims = [claim("a", rank=2), claim("b", rank=1), claim("c", rank=0)]
    assert find_conflicts(claims) == {
        "b": "spec.virtualRouterID: 51 is that of c on eth2",
        "a": "spec.virtualRouterID: 51 is that of c on eth2",
    }


def test_what_a_loser_claims_is_free_for_others():
    claims = [claim("a"), claim("b", addresses=["10.0.0.1", "10.0.0.9"]), claim("c", vrid=9, addresses=["10.0.0.9"])]
    assert set(find_conflicts(claims)) == {"b"}
