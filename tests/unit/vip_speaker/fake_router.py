"""A router that does nothing but what the guard can see. Run as a program by the guard's tests.

`fake_router.py PACKAGES DIRECTORY BEHAVIOUR…`: it appends to DIRECTORY/log and writes its pid to DIRECTORY/pid.
Behaviours: `exit=N` at once, `deaf` to SIGTERM, `slow` to start, `silent` (no heartbeat), `will=FILE` (its last will,
encoded). While DIRECTORY/fail exists, it is `exit=1`.
"""

import os
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, sys.argv[1])
from vip_speaker.will import Will, decode

directory = Path(sys.argv[2])
behaviours = dict(item.partition("=")[::2] for item in sys.argv[3:])
done = False


def log(text: str) -> None:
    with (directory / "log").open("a") as file:
        file.write(text + "\n")


def on_signal(number: int, _frame: object) -> None:
    global done  # noqa: PLW0603
    log(f"{signal.Signals(number).name}")
    if number == signal.SIGTERM and "deaf" not in behaviours:
        done = True


will = Will.from_environment()
assert will is not None
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(number, on_signal)
if (directory / "fail").exists():
    behaviours["exit"] = "1"
if "exit" in behaviours:
    log(f"exit {behaviours['exit']}")
    os._exit(int(behaviours["exit"]))
if "slow" in behaviours:
    time.sleep(1)
assert not will.read(), "a will was left from the router before"
if "will" in behaviours:
    will.write(decode(Path(behaviours["will"]).read_bytes()))
will.fastest_interval_ns = 300_000_000  # 0.6 s until it counts as frozen: tests run on busy machines
will.beat(time.monotonic_ns())
log(f"start {os.getppid()}")
(directory / "pid.new").write_text(f"{os.getpid()}")
(directory / "pid.new").rename(directory / "pid")
while not done:
    if "silent" not in behaviours:
        will.beat(time.monotonic_ns())
    time.sleep(0.01)
will.write(())
log("left")
