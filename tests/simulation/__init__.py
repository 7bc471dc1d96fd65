"""Routers on a virtual LAN and a virtual clock: the election under faults, reproducible from one seed."""
