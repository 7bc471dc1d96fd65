"""What the answer of a write does to what the watch has said meanwhile."""

import pytest
from vip_speaker.agent.store import Store

from tests.agent_fakes import vip


@pytest.fixture
def store():
    store = Store()
    store.replace([vip()])
    return store


def test_the_answer_of_a_write_does_not_bring_back_what_was_deleted_meanwhile(store):
    written = store.all()["web"]
    store.remove(vip(version=7))
    store.put(vip(version=6), instead_of=written)
    assert store.all() == {}
    assert store.is_deleted("web")


def test_the_answer_of_a_write_does_not_replace_another_object_of_that_name(store):
    written, anew = store.all()["web"], vip(uid="another", version=8)
    store.remove(vip(version=7))
    store.put(anew)
    store.put(vip(version=6), instead_of=written)
    assert store.all() == {"web": anew}


def test_the_answer_of_a_write_counts_though_a_restored_backup_set_the_numbers_back(store):
    written, answer = store.all()["web"], vip(version=3)
    store.put(answer, instead_of=written)
    assert store.all() == {"web": answer}


def test_what_is_deleted_and_held_by_a_finalizer_is_deleted():
    """The operator gives its address and its virtual router ID to others from then on."""
    body, other, ending = vip(), vip("other"), vip(version=9)
    ending["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    store = Store()
    store.replace([body, other])
    store.put(ending)
    assert (store.all().keys(), store.is_deleted("web")) == ({"other"}, True)
    begun = Store()
    begun.replace([ending, other])
    assert (begun.all().keys(), begun.is_deleted("web")) == ({"other"}, True)
