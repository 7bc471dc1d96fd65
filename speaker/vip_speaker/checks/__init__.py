"""The checks program: runs what may take its time or go wrong, without privileges, for a router that asks.

A process of its own, so that nothing a script or a server far away does can delay an advertisement.
"""
