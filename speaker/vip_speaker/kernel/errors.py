"""What goes wrong between us and the kernel, as sentences."""

from __future__ import annotations

import errno
import os


class KernelError(Exception):
    """The kernel refused something. `code` is the errno (0: none), the text says what was asked and what it
    answered.
    """

    def __init__(self, what: str, code: int = 0, detail: str = "") -> None:
        self.code = code
        name = errno.errorcode.get(code, str(code))
        answer = f": {os.strerror(code)} ({name})" if code else ""
        super().__init__(f"{what}{answer}{f': {detail}' if detail else ''}")
