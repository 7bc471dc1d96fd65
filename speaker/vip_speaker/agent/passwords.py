"""What a Secret is worth as a VIP's password. Pure; nothing that it says holds a password."""

from __future__ import annotations

from vip_api.fields import Report
from vip_api.spec import PASSWORD

from vip_speaker.agent.api import ApiError, NotTextError

FORBIDDEN = 403
SECRET_MISSING = "SecretMissing"  # noqa: S105 a name
PASSWORD_INVALID = "PasswordInvalid"  # noqa: S105 a name
"""Constants in front of the colon, as in `report`."""


def trouble(name: str, key: str, password: str | None) -> str:
    """What is wrong with the password found at `key` of the Secret `name`; None: there is none."""
    if password is None:
        return f"{SECRET_MISSING}: kube-vrrp's namespace has no Secret {name} with the key {key}"
    report = Report()
    PASSWORD.read(password, "", report)
    if not report.problems:
        return ""
    line = " (it ends with a line break, which counts)" if password.endswith(("\n", "\r")) else ""
    return f"{PASSWORD_INVALID}: the key {key} of the Secret {name} {report.problems[0].message}{line}"


def refusal(name: str, key: str, error: ApiError) -> str:
    """The same where it was not had: nothing while the API server merely does not answer."""
    if error.status == FORBIDDEN:
        return f"{SECRET_MISSING}: the speaker may not read the Secret {name} in kube-vrrp's namespace"
    if isinstance(error, NotTextError):
        return f"{PASSWORD_INVALID}: the key {key} of the Secret {name} is not text"
    return ""
