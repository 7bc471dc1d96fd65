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
