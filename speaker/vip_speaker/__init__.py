"""The speaker: the VRRP router of one node, its guard and its agent. Imports nothing, so that the guard stays small."""
