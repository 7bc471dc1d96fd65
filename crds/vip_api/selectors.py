"""Label selectors, as in every Kubernetes object, but with their rules checked when they are applied."""

from __future__ import annotations

from typing import Any

from .fields import Reader, Record, Rule, Sequence, Table, Text
from .values import LABEL_KEY, LABEL_VALUE, cel_matches, form, matches

_KEY_MESSAGE = "must be a label key such as app or example.com/role"
_VALUE_MESSAGE = "must be a label value: at most 63 letters, digits, dashes, dots and underscores"
_WITH_VALUES = ("In", "NotIn")


def _first_bad_label(labels: dict[str, str]) -> str | None:
    good = all(matches(LABEL_KEY, key) and matches(LABEL_VALUE, value) for key, value in labels.items())
    return None if good else ""


def _values_fit(requirement: dict[str, Any]) -> str | None:
    wanted = requirement["operator"] in _WITH_VALUES
    return None if wanted == bool(requirement.get("values")) else ""


def selector(description: str, *, only: Reader | None = None) -> Record:
    """A label selector; empty, it matches everything."""
    labels = Table(
        description="Labels that must all be there with these values.",
        max_entries=16,
        values=Text(description="", max_length=63),
        rules=(
            Rule(
                message="must hold label keys such as app or example.com/role, and values of at most 63 "
                "letters, "
                "digits, dashes, dots and underscores",
                cel=f"self.all(k, size(k) <= 317 && {cel_matches('k', LABEL_KEY)}"
                f" && {cel_matches('self[k]', LABEL_VALUE)})",
                broken=_first_bad_label,
            ),
        ),
    )
    requirement = Record(
        description="One condition on a label.",
        required=("key", "operator"),
        fields={
            "key": Text(description="The label's key.", max_length=317, rules=(form(LABEL_KEY, _KEY_MESSAGE),)),
            "operator": Text(
                description="How the label's value relates to `values`.",
                max_length=12,
                choices=(*_WITH_VALUES, "Exists", "DoesNotExist"),
            ),
            "values": Sequence(
                description="The values that In and NotIn compare with; absent for Exists and DoesNotExist.",
                max_items=16,
                items=Text(description="", max_length=63, rules=(form(LABEL_VALUE, _VALUE_MESSAGE),)),
            ),
        },
        rules=(
            Rule(
                message="In and NotIn need values; Exists and DoesNotExist take none",
                cel="!(self.operator in ['In', 'NotIn', 'Exists', 'DoesNotExist']) || "
                "(self.operator in ['In', 'NotIn']) == (has(self.values) && size(self.values) > 0)",
                broken=_values_fit,
                reads=("operator", "values"),
            ),
        ),
    )
    return Record(
        description=description,
        only=only,
        fields={
            "matchLabels": labels,
            "matchExpressions": Sequence(description="Conditions that must all hold.", max_items=16, items=requirement),
        },
    )
