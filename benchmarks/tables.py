"""Tables as they are printed."""

from __future__ import annotations

Table = tuple[str, list[str], list[list[str]]]
"""Title, head, rows."""


def show(table: Table) -> None:
    """Print one table, columns aligned."""
    title, head, rows = table
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    print(f"\n{title}")
    for row in (head, ["-" * width for width in widths], *rows):
        print("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip(), flush=True)
