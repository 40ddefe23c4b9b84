"""Folders, caption files and catalogues to clips with captions, and those into the library's tables."""
