"""The election: RFC 9568 (VRRPv3), RFC 3768 (VRRPv2) and our planned moves, as pure functions over frozen values.

Imports no socket, clock, asyncio, logging or random (import-linter holds that). Time is integer nanoseconds of one
monotonic clock, handed in.
"""
