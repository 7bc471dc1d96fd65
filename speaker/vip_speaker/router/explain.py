"""A transition as the sentence that log and `reason` give: what happened, who did it, how long it took."""

from __future__ import annotations

from vip_speaker.vrrp.types import SECOND, Cause, Transition


def explain(transition: Transition) -> str:
    """Why the role changed, as one clause."""
    source = transition.source
    match transition.cause:
        case Cause.MASTER_DOWN:
            silent = f" for {transition.silent_for_ns / SECOND:.3f} s" if transition.silent_for_ns is not None else ""
            return f"nothing heard from {source or 'any master'}{silent}"
        case Cause.MASTER_RELEASED if source:
            return f"{source} gave up"
        case Cause.PREEMPTED if source:
            return f"took over from {source}, whose priority is lower"
        case Cause.HIGHER_PRIORITY if source:
            return f"{source} has a higher priority"
        case Cause.HIGHER_ADDRESS if source:
            return f"{source} has the same priority and a higher address"
        case Cause.SUCCEEDED if source:
            return f"{source} took over"
        case _:
            return transition.detail or str(transition.cause)
