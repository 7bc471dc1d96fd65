"""Programs run to their end, with what they said in the error when they fail; one process at a time; progress."""

import contextlib
import fcntl
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]
CACHE = REPOSITORY / ".cache"


class CommandFailedError(RuntimeError):
    """A program ended with another status than 0; the text holds its arguments and what it printed."""

    def __init__(self, argv: tuple[str, ...], status: int, output: str) -> None:
        super().__init__(f"{' '.join(argv)}\nended with {status}: {output.strip()}")
        self.status = status
        self.output = output


def run(
    *argv: str,
    stdin: str | Path = "",
    env: Mapping[str, str] | None = None,
    timeout_s: float = 300,
) -> str:
    """What the program printed on its standard output; `stdin` is text, or the file to read from.

    Raises CommandFailedError when it fails.
    """
    with contextlib.ExitStack() as stack:
        source = {"stdin": stack.enter_context(stdin.open("rb"))} if isinstance(stdin, Path) else {"input": stdin}
        done = subprocess.run(argv, **source, env=env, timeout=timeout_s, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise CommandFailedError(argv, done.returncode, done.stderr + done.stdout)
    return done.stdout


def succeeds(*argv: str) -> bool:
    """Whether the program ends with status 0."""
    return subprocess.run(argv, capture_output=True, check=False).returncode == 0


@contextlib.contextmanager
def locked(name: str) -> Iterator[None]:
    """Only one process at a time works on what `name` stands for; others wait."""
    CACHE.mkdir(exist_ok=True)
    with (CACHE / f"{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def say(text: str) -> None:
    """One line of progress."""
    print(f"\033[1mcluster:\033[0m {text}", flush=True)
