"""Replaces a file in a directory that somebody else may write to as well. Standard library only."""

from __future__ import annotations

import contextlib
import os
import time


def replace_file(directory: int, name: str, data: bytes, *, temporary: str, mode: int) -> None:
    """Make `name` a regular file with `data`, in one step. OSError if the directory cannot be written.

    Written beside as `temporary`, then renamed: a crash leaves the former file, a reader never sees half of one. What
    others put in the way, a link, a FIFO or a directory with something in it, is replaced and never followed.

    No fsync: such directories are memory-backed, and what is in them is worth nothing after a crash of the machine.
    """
    make_way(directory, temporary)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(temporary, flags, mode, dir_fd=directory)
    with open(fd, "wb") as file:  # noqa: PTH123 a descriptor
        os.fchmod(fd, mode)  # whatever the umask: who reads it is another user
        file.write(data)
    try:
        os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
    except IsADirectoryError:
        make_way(directory, name)
        os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)


def make_way(directory: int, name: str) -> None:
    """Nothing is called `name` any more. A directory is renamed: it may hold more than is good to remove from here."""
    with contextlib.suppress(FileNotFoundError):
        try:
            os.unlink(name, dir_fd=directory)
        except IsADirectoryError:
            aside = f".{name[:200]}.{time.monotonic_ns()}"
            os.rename(name, aside, src_dir_fd=directory, dst_dir_fd=directory)
