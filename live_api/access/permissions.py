"""What somebody may do, and the roles that stand for several of those."""

from __future__ import annotations

from enum import StrEnum


class Permission(StrEnum):
    """One thing that somebody may do. The list is closed; every route needs one of these, or none at all."""

    TRACK = "track"
    """Send events."""
    VIEW_NUMBERS = "view_numbers"
    """Live and past numbers, boards, alerts and rules: all of them, or those of the rows that one may see."""
    VIEW_OWN = "view_own"
    """What is known of oneself as a person."""
    VIEW_OTHERS = "view_others"
    """What is known of any one person."""
    VIEW_BEHAVIOUR = "view_behaviour"
    """Analyses of people as tables: sessions, retention, funnels, paths."""
    PREDICTIONS = "predictions"
    """Who is likely to leave, and how good the models are."""
    EXPORT = "export"
    """Points as files: CSV and Arrow."""
    ACKNOWLEDGE = "acknowledge"
    """Answer alerts, and silence rules."""
    VIEW_HEALTH = "view_health"
    """How the parts of the installation stand, and what webhooks were told."""
    ADMINISTER = "administer"
    """Keys, and the audit log."""


class Role(StrEnum):
    """Permissions that go together, for people. Each role has all that the one before it has, but for `operator`, who
    looks after the installation and need not know what people do."""

    VIEWER = "viewer"
    ANALYST = "analyst"
    OPERATOR = "operator"
    ADMIN = "admin"


_VIEWER = frozenset({Permission.VIEW_NUMBERS, Permission.VIEW_OWN})
PERMISSIONS: dict[Role, frozenset[Permission]] = {
    Role.VIEWER: _VIEWER,
    Role.ANALYST: _VIEWER
    | {Permission.VIEW_BEHAVIOUR, Permission.VIEW_OTHERS, Permission.PREDICTIONS, Permission.EXPORT},
    Role.OPERATOR: _VIEWER | {Permission.ACKNOWLEDGE, Permission.VIEW_HEALTH},
    Role.ADMIN: frozenset(Permission),
}
