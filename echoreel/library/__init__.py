"""Finds reference videos for a prompt by its action. May import generation, media and common."""
