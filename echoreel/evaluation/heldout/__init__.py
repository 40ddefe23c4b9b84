"""A base of your own on held-out pairs: filmed with and without references, measured, in a table."""
