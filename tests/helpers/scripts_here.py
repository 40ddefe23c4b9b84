"""Run a shell script whose `echoreel` commands are done by this process, which has imported everything.

Elsewhere each command imports torch and diffusers anew, some five seconds each.
"""

import contextlib
import io
import json
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import echoreel.cli

ASK = """#!{python} -SE
import json, os, socket, sys
asked = socket.socket(socket.AF_UNIX)
asked.connect({address!r})
asked.sendall(json.dumps([os.getcwd(), sys.argv]).encode())
asked.shutdown(socket.SHUT_WR)
code, told = json.loads(asked.makefile().read())
sys.stderr.write(told)
sys.exit(code)
"""


def run_script(
    command: list[str], environment: dict[str, str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[int, str]:
    """Exit code and all that was told. `folder` is made for the socket and the command `echoreel`."""
    folder.mkdir()
    address = folder / "socket"
    (folder / "echoreel").write_text(ASK.format(python=sys.executable, address=str(address)))
    (folder / "echoreel").chmod(stat.S_IRWXU)
    path = os.pathsep.join([str(folder), os.environ["PATH"]])
    with socket.socket(socket.AF_UNIX) as listening, open(folder / "told", "w+") as told:
        listening.bind(str(address))
        listening.listen()
        listening.settimeout(0.1)
        script = subprocess.Popen(
            command, env=os.environ | environment | {"PATH": path}, stdout=told, stderr=told, text=True
        )
        while script.poll() is None:
            with contextlib.suppress(TimeoutError):
                asked, _ = listening.accept()
                with asked:
                    here, arguments = json.loads(asked.makefile().read())
                    monkeypatch.chdir(here)
                    asked.sendall(json.dumps(_done(arguments, monkeypatch)).encode())
        told.seek(0)
        return script.returncode, told.read()


def _done(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> tuple[int, str]:
    monkeypatch.setattr(sys, "argv", arguments)
    told = io.StringIO()
    with contextlib.redirect_stdout(told), contextlib.redirect_stderr(told), pytest.raises(SystemExit) as end:
        echoreel.cli.main()
    return int(end.value.code or 0), told.getvalue()
