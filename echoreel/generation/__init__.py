"""Prompt and references to a video. May import method and above."""
