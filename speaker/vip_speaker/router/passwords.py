"""Where the password of a VIP comes from, and what stays in force when its file cannot be read for a moment."""

from __future__ import annotations

import os
import stat

from vip_api.model import VirtualIP

_MAX_BYTES = 256


class Passwords:
    """The passwords of this host's VIPs. A file that is bad keeps the last good password, as a bad manifest does."""

    def __init__(self) -> None:
        self.problems: dict[str, str] = {}
        self._good: dict[str, tuple[str, str]] = {}

    def of(self, vip: VirtualIP) -> str | None:
        """The password in force; None: none (yet). ValueError, a sentence, when its file was never good."""
        authentication = vip.spec.authentication
        self.problems.pop(vip.name, None)
        if authentication is None:
            return None
        if authentication.password is not None:
            return authentication.password
        if authentication.password_file is None:
            return vip.assignment.password if vip.assignment is not None else None
        return self._from_file(vip.name, authentication.password_file)

    def _from_file(self, name: str, path: str) -> str:
        try:
            password = read_password_file(path)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            sentence = f"spec.authentication.passwordFile: {path}: {reason}"
            known = self._good.get(name)
            if known is None or known[0] != path:
                raise ValueError(sentence) from error
            self.problems[name] = sentence
            return known[1]
        self._good[name] = (path, password)
        return password


def read_password_file(path: str) -> str:
    """The first line of the file, 1 to 8 bytes. OSError or ValueError when it cannot be had; never waits."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise ValueError("not a regular file")
        lines = os.read(fd, _MAX_BYTES).decode().splitlines()
    except UnicodeDecodeError:
        raise ValueError("the password must be text") from None  # that error quotes it
    finally:
        os.close(fd)
    password = lines[0] if lines else ""
    if not 1 <= len(password.encode()) <= 8:
        raise ValueError("the password must be 1 to 8 bytes long")
    return password
