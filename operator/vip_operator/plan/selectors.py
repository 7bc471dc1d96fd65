"""Label selectors, as Kubernetes defines them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vip_api.model import LabelRequirement, LabelSelector


def matches(selector: LabelSelector, labels: Mapping[str, str]) -> bool:
    """Whether a node with `labels` is selected; an empty selector selects every node."""
    return all(labels.get(key) == value for key, value in selector.match_labels) and all(
        _holds(requirement, labels) for requirement in selector.match_expressions
    )


def from_mapping(selector: Any) -> LabelSelector:
    """A selector in the form in which a check holds it: as the document has it, already validated."""
    return LabelSelector(
        match_labels=tuple(sorted((selector.get("matchLabels") or {}).items())),
        match_expressions=tuple(
            LabelRequirement(key=e["key"], operator=e["operator"], values=tuple(e.get("values") or ()))
            for e in selector.get("matchExpressions") or ()
        ),
    )


def as_query(selector: LabelSelector) -> str:
    """For the API's `labelSelector` parameter; an empty selector gives an empty text, which selects all."""
    return ",".join(
        [f"{key}={value}" for key, value in selector.match_labels]
        + [_QUERY_FORMS[e.operator].format(key=e.key, values=",".join(e.values)) for e in selector.match_expressions]
    )


_QUERY_FORMS = {
    "In": "{key} in ({values})",
    "NotIn": "{key} notin ({values})",
    "Exists": "{key}",
    "DoesNotExist": "!{key}",
}


def _holds(requirement: LabelRequirement, labels: Mapping[str, str]) -> bool:
    match requirement.operator:
        case "In":
            return labels.get(requirement.key) in requirement.values
        case "NotIn":
            return labels.get(requirement.key) not in requirement.values
        case "Exists":
            return requirement.key in labels
        case "DoesNotExist":
            return requirement.key not in labels
    return False
