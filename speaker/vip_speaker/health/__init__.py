"""`spec.track[]`: what may move a VIP besides VRRP itself.

Trackers turn what they watch into facts; `evaluate` turns facts into a contribution to the priority or a FAULT.
Nothing here waits: whatever may take its time (scripts, connections) runs in the `checks` process.
"""

from vip_speaker.health.evaluate import Assessment
from vip_speaker.health.facts import Fact, Verdict

__all__ = ["Assessment", "Fact", "Verdict"]
