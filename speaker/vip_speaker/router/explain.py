"""A transition as the sentence that log and `reason` give: what happened, who did it, how long it took."""

from __future__ import annotations

from vip_speaker.vrrp.types import SECOND, Cause, Transition


def explain(transition: Transition) -> str:
    """Why the role changed, as one clause."""
    source = str(transition.source) if transition.source is not None else ""
    match transition.cause:
        case Cause.MASTER_DOWN:
            silent = f" for {transition.silent_for_ns / SECOND:.3f} s" if transition.silent_for_ns is not None else ""
            return f"nothing heard from {source or 'any master'}{silent}"
        case Cause.MASTER_RELEASED:
            return f"{source or 'the master'} gave up"
        case Cause.PREEMPTED:
            return f"took over from {source}, whose priority is lower" if source else str(transition.cause)
        case Cause.HIGHER_PRIORITY | Cause.HIGHER_ADDRESS:
            return f"{source} {transition.cause.removesuffix(' was heard')}".replace("a higher", "has a higher")
        case Cause.SUCCEEDED:
            return f"{source or 'a successor'} took over"
        case Cause.FAILED:
            return transition.detail or str(transition.cause)
        case _:
            return transition.detail or str(transition.cause)
