"""Gives up every right that this process and what it starts could have. Linux only, irreversible.

No capability, no way to gain one, a user that owns nothing, bounded resources, and the first to go when memory ends.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import pwd
import resource
import struct
import threading
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_CAPBSET_DROP = 24
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 47, 4
_LINUX_CAPABILITY_VERSION_3 = 0x20080522
_SIGKILL = 9

_UNPRIVILEGED_USER = "nobody"
_NICENESS = 10
_OOM_SCORE_ADJUST = "500"
# Processes and threads of the user: a fork bomb ends here. Scripts of 64 checks and their children fit.
MAXIMUM_PROCESSES = 512
_MAXIMUM_FILES = 1024
_MAXIMUM_FILE_BYTES = 16 * 1024 * 1024
_THREAD_STACK_BYTES = 256 * 1024


def confine(*, die_with_parent: bool) -> str | None:
    """Drop everything; why no script may be run here, or None. OSError when a right cannot be given up."""
    libc = ctypes.CDLL(None, use_errno=True)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE_ADJUST)
    os.nice(_NICENESS)
    for capability in range(64):  # past the last one it is EINVAL, without SETPCAP EPERM: then there is little to drop
        libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)
    refused = _change_user()
    libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    _checked(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    header = struct.pack("=Ii", _LINUX_CAPABILITY_VERSION_3, 0)
    _checked(libc.capset(header, bytes(24)), "capset")
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    if die_with_parent:
        libc.prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)  # after the change of user, which clears it
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_NPROC, MAXIMUM_PROCESSES)
    _limit(resource.RLIMIT_NOFILE, _MAXIMUM_FILES)
    _limit(resource.RLIMIT_FSIZE, _MAXIMUM_FILE_BYTES)
    threading.stack_size(_THREAD_STACK_BYTES)
    os.umask(0o077)
    os.chdir("/")
    return refused


def _change_user() -> str | None:
    if os.geteuid() != 0:
        return None
    try:
        user = pwd.getpwnam(_UNPRIVILEGED_USER)
        os.setgroups([])
        os.setgid(user.pw_gid)
        os.setuid(user.pw_uid)
    except (KeyError, PermissionError):
        return "scripts are not run as root, and this process may not become another user"
    return None


def _limit(which: int, most: int) -> None:
    hard = resource.getrlimit(which)[1]
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(which, (most, most))


def _checked(result: int, call: str) -> None:
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), call)
