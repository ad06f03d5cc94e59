"""Telling endpoints of alerts: signed, in order within a group, until they are taken."""
