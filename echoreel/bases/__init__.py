"""Frozen video pipelines, one file a family: finding, loading, encoding, noise. May import media, common."""
