"""The benchmark on rendered actors: cases, filming, the judge, tables."""
