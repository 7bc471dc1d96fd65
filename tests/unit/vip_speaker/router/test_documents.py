"""When documents are looked at, with the kernel's own watch and where it gives out none."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.netns

CHANGE_SEEN = """
import asyncio, json, logging, sys, time
from pathlib import Path
from vip_speaker.router.documents import Documents
from vip_speaker.router.loop import Loop

logging.basicConfig(format="%(message)s", stream=sys.stdout)
directory, instances = Path(sys.argv[1]), Path("/proc/sys/user/max_inotify_instances")

async def seen_after(documents, name):
    spec = {"addresses": ["192.0.2.1"], "virtualRouterID": 51, "priority": 100}
    head = {"apiVersion": "kube-vrrp.io/v1alpha1", "kind": "VirtualIP", "metadata": {"name": name}}
    (directory / f"{name}.yaml").write_text(json.dumps({**head, "spec": spec}))
    began = time.monotonic()
    while name not in documents.snapshot.manifests:
        await asyncio.sleep(0.01)
    return time.monotonic() - began

async def main():
    instances.write_text("0")
    loop = Loop()
    documents = Documents(loop, directory, lambda _new: None)
    documents.start()
    loop.rearm()
    print("blind", await seen_after(documents, "a"))
    instances.write_text("10")
    await asyncio.sleep(1.2)
    print("watching", await seen_after(documents, "b"))
    documents.close()
    loop.close()

logging.getLogger("vip_speaker.router.documents").setLevel("WARNING")
asyncio.run(main())
"""


def test_without_an_inotify_instance_documents_are_looked_at_every_second_until_there_is_one(tmp_path):
    """In a user namespace of its own, whose limit is its own too."""
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", sys.executable, "-c", CHANGE_SEEN, str(tmp_path)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    problem, *lines = done.stdout.splitlines()
    assert problem.startswith("documents are looked at every second only: Too many open files")
    took = {word: float(seconds) for word, seconds in (line.split() for line in lines if line[0] in "bw")}
    assert took["blind"] < 3, "its turn every second"
    assert took["watching"] < 0.9, "not its turn: an event"
