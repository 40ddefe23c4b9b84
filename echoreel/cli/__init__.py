"""The command line: parse, check, call one public function, show the result.

Results go to stdout (for people, or as one JSON object with --json), progress and errors to stderr. Exit code
2 for anything the user can mend, 130 after Ctrl-C. Heavy packages are imported inside the commands only. A
command has one parameter per option, however many that are.
"""

from echoreel.cli import (  # noqa: F401 - they add their commands
    doctor,
    generate,
    library,
    measure,
    models,
    page,
    prepare,
    reference,
    training,
)
from echoreel.cli.app import app

__all__ = ["app", "main"]


def main() -> None:
    """The `echoreel` command."""
    app()
