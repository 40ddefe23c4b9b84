"""Errors, settings, files, randomness, attention: what everything else may use. Imports nothing of ours."""
