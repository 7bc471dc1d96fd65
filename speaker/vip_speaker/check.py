"""`vip-speaker check` and `vip-speaker convert`: manifests for a person, before any router reads them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import yaml
from vip_api.load import MAX_YAML_BYTES
from vip_api.model import VirtualIP
from vip_api.parse import LoadedDocument, check_together, load_documents

from vip_speaker.convert import convert
from vip_speaker.health.advice import weight_warnings
from vip_speaker.router.resolution import missing_vrid

_SUFFIXES = (".yaml", ".yml", ".json")
# More than any manifest can be; what is longer is refused by its reader.
_MAX_FILE_BYTES = 2 * 1024 * 1024


def run_check(path: Path | str, out: TextIO) -> int:
    """Writes every problem of the manifests at `path`, a file or a directory, to `out`: `file: name: field: sentence`.

    0 if there is none, else 1. Warnings are no problems. They are read as by a router without a cluster.
    """
    problems: list[str] = []
    good: list[tuple[str, VirtualIP]] = []
    for file in _files(Path(path), problems):
        text = _text(file, problems)
        for document in [] if text is None else load_documents(text, source=str(file), lone=True):
            who = f"{file}{_place(document)}"
            problems += [f"{who}: {problem}" for problem in document.problems]
            if document.vip is not None:
                good.append((who, document.vip))
                vrid = missing_vrid(document.vip)
                problems += [] if vrid is None else [f"{who}: {vrid}"]
    conflicts = check_together([vip for _, vip in good])
    problems += [f"{good[conflict.index][0]}: {conflict}" for conflict in conflicts]
    out.writelines(f"{problem}\n" for problem in problems)
    out.writelines(f"{who}: warning: {warning}\n" for who, vip in good for warning in weight_warnings(vip))
    if not problems:
        out.write(f"{len(good)} VirtualIP{'' if len(good) == 1 else 's'}, nothing wrong\n")
    return 1 if problems else 0


def run_convert(path: Path | str, out: TextIO, err: TextIO) -> int:
    """Writes the VirtualIPs that the keepalived.conf at `path` stands for to `out`, and what is left out to `err`.

    0 if there is at least one, else 1.
    """
    problems: list[str] = []
    text = _text(Path(path), problems)
    err.writelines(f"{problem}\n" for problem in problems)
    if text is None:
        return 1
    converted = convert(text)
    err.writelines(f"{path}: {note}\n" for note in converted.notes)
    if not converted.documents:
        return 1
    manifests: str = yaml.safe_dump_all(converted.documents, sort_keys=False, allow_unicode=True, width=120)
    out.write(manifests)
    if len(manifests.encode()) > MAX_YAML_BYTES:
        err.write(
            f"{path}: the manifests are more than the {MAX_YAML_BYTES // 1024} KiB of YAML that are read from one "
            "file: put them into several, in one directory\n"
        )
    return 0


def _place(document: LoadedDocument) -> str:
    """What comes behind the file's name: the document's, or its line where no problem names one."""
    if document.name is not None:
        return f": {document.name}"
    return "" if any(problem.path.startswith("line ") for problem in document.problems) else f":{document.line}"


def _files(path: Path, problems: list[str]) -> Iterator[Path]:
    """The file, or a directory's manifests by name, as the router picks them."""
    if not path.is_dir():
        yield path
        return
    found = [file for file in sorted(path.iterdir()) if file.suffix in _SUFFIXES and not file.name.startswith(".")]
    if not found:
        problems.append(f"{path}: there is no .yaml, .yml or .json file in it")
    yield from found


def _text(file: Path, problems: list[str]) -> str | None:
    """What is in the file; None where it cannot be read, which is a problem."""
    try:
        with file.open("rb") as stream:
            return stream.read(_MAX_FILE_BYTES).decode()
    except OSError as error:
        problems.append(f"{file}: {error.strerror}")
    except UnicodeDecodeError as error:
        problems.append(f"{file}: not UTF-8 (at byte {error.start})")
    return None
