"""The command line: parse, check, call one public function, show the result.

Results go to stdout (for people, or as one JSON object with --json), progress and errors to stderr. Exit code
2 for anything the user can mend, 1 for a fault of ours, 130 after Ctrl-C, SIGTERM or a closed terminal. Heavy
packages are imported inside the commands only. A command has one parameter per option, however many that are.
"""

import io
import os
import re
import signal
import sys
import warnings

from echoreel.cli import (  # noqa: F401 - they add their commands
    doctor,
    evaluate,
    generate,
    library,
    library_upkeep,
    measure,
    models,
    page,
    prepare,
    publish,
    reference,
    training,
)
from echoreel.cli.app import app
from echoreel.cli.output import plain_warnings, stop
from echoreel.common.versions import UntestedVersion

__all__ = ["app", "main"]

SIDE = re.compile("[1-9][0-9]{1,3}")  # of a terminal, in characters


def main() -> None:
    """The `echoreel` command. What the terminal's encoding lacks is written with escapes.

    Warnings of other libraries are not shown. SIGTERM and a closed terminal stop it as Ctrl-C does: what is
    half written is removed.
    """
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        usual = (signal.SIG_DFL, signal.default_int_handler)
        if number is not None and signal.getsignal(number) in usual:  # nohup has it ignored
            signal.signal(number, stop)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # None where the caller has closed it
            stream.reconfigure(errors="backslashreplace")
    plain_warnings()
    for name in ("COLUMNS", "LINES"):  # rich makes lines of any length of them, or of none
        if not SIDE.fullmatch(os.environ.get(name, "80")):
            del os.environ[name]
    if not sys.warnoptions:  # else the user has asked for them; --verbose shows all
        warnings.filterwarnings("ignore", module=r"(?!echoreel\b)")
        warnings.filterwarnings("default", category=UntestedVersion)
    app()
