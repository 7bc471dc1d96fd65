"""What should change, given the world as it is: pure functions over frozen values.

`plan(world)` is the whole operator without its input and output. It imports neither kopf nor kubernetes,
reads no clock and draws no random number (import-linter holds that), so every decision can be tested with a
hand-written world, and planning the world that the changes lead to gives no further change.
"""

from vip_operator.plan.changes import Plan
from vip_operator.plan.reconcile import plan
from vip_operator.plan.world import World

__all__ = ["Plan", "World", "plan"]
