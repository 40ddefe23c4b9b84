"""Conditions in SQL, as the tables of a library take them."""

from collections.abc import Iterable


def sql(value: str | int) -> str:
    """A value inside a condition."""
    return str(value) if isinstance(value, int) else "'" + value.replace("'", "''") + "'"


def one_of(column: str, values: Iterable[str | int]) -> str:
    """The condition that a column has one of the values."""
    return f"{column} IN ({', '.join(map(sql, values))})"
