"""The action that a prompt or caption tells, and which known actions are near it. May import common."""
