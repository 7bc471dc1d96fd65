"""The form of keepalived.conf: words, lines and braces, without knowing what any of them means."""

from __future__ import annotations

from dataclasses import dataclass, field

# Deeper than any block that keepalived knows.
MAX_DEPTH = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """Something that was not carried over, or not as it stands: the line (0: the file as a whole) and why."""

    line: int
    text: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.text}" if self.line else self.text


@dataclass(slots=True, kw_only=True)
class Statement:
    """A keyword with its words, and in braces behind it further statements."""

    words: list[str]
    line: int
    body: list[Statement] = field(default_factory=list)

    @property
    def keyword(self) -> str:
        """The first word; empty for braces without one."""
        return self.words[0] if self.words else ""

    @property
    def argument(self) -> str:
        """The second word; empty where there is none."""
        return self.words[1] if len(self.words) > 1 else ""

    def __str__(self) -> str:
        text = " ".join(self.words)
        return text if len(text) <= 60 else text[:60] + "…"


def read_config(text: str) -> tuple[list[Statement], list[Note]]:
    """The file's statements, and what is wrong with its braces or quotes."""
    top = Statement(words=[], line=0)
    open_blocks = [top]
    notes: list[Note] = []
    for number, line in enumerate(text.splitlines(), start=1):
        words, problem = _words(line)
        if problem:
            notes.append(Note(line=number, text=problem))
        current: Statement | None = None
        for word, quoted in words:
            block = open_blocks[-1]
            if word == "{" and not quoted:
                opener = current or _last_without_body(block)
                if opener is None:
                    opener = Statement(words=[], line=number)
                    block.body.append(opener)
                if len(open_blocks) > MAX_DEPTH:
                    notes.append(Note(line=number, text="braces nested too deeply; the rest was not read"))
                    return top.body, notes
                open_blocks.append(opener)
                current = None
            elif word == "}" and not quoted:
                if len(open_blocks) == 1:
                    notes.append(Note(line=number, text="a closing brace without an opening one"))
                else:
                    open_blocks.pop()
                current = None
            elif current is None:
                current = Statement(words=[word], line=number)
                block.body.append(current)
            else:
                current.words.append(word)
    if len(open_blocks) > 1:
        notes.append(Note(line=open_blocks[-1].line, text=f"{open_blocks[-1]}: the brace is never closed"))
    return top.body, notes


def _last_without_body(block: Statement) -> Statement | None:
    """What a brace on a line of its own belongs to."""
    return block.body[-1] if block.body and not block.body[-1].body else None


def _words(line: str) -> tuple[list[tuple[str, bool]], str]:
    """The words of a line, each with whether it was quoted; and what is wrong."""
    words: list[tuple[str, bool]] = []
    at = 0
    while at < len(line):
        character = line[at]
        if character in "#!":
            break
        if character.isspace():
            at += 1
        elif character in "{}":
            words.append((character, False))
            at += 1
        elif character in "\"'":
            end = line.find(character, at + 1)
            if end < 0:
                words.append((line[at + 1 :], True))
                return words, "a quote is never closed"
            words.append((line[at + 1 : end], True))
            at = end + 1
        else:
            end = _bare_end(line, at)
            words.append((line[at:end], False))
            at = end
    return words, ""


def _bare_end(line: str, at: int) -> int:
    """Where a word without quotes ends; the braces of ${NAME} belong to it."""
    while at < len(line) and not line[at].isspace() and line[at] not in "#!\"'{}":
        if line.startswith("${", at):
            close = line.find("}", at)
            at = len(line) if close < 0 else close + 1
        else:
            at += 1
    return at
