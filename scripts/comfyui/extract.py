"""Write a commit's files from a bare git directory, without those that are not stored there.

python extract.py GIT_DIR OUT [COMMIT]: `git archive` ends at the first object that a partial copy lacks.
"""

import os
import subprocess
import sys
from pathlib import Path

git, out, commit = sys.argv[1], Path(sys.argv[2]), (sys.argv[3:] or ["HEAD"])[0]
env = dict(os.environ, GIT_NO_LAZY_FETCH="1")
listed = subprocess.run(
    ["git", "--git-dir", git, "ls-tree", "-r", "-z", commit], capture_output=True, check=True, env=env
)
with subprocess.Popen(
    ["git", "--git-dir", git, "cat-file", "--batch"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env
) as objects:
    assert objects.stdin
    assert objects.stdout
    missing = []
    for row in filter(None, listed.stdout.split(b"\0")):
        told, name = row.split(b"\t", 1)
        mode, kind, sha = told.split()
        if kind != b"blob":
            continue
        objects.stdin.write(sha + b"\n")
        objects.stdin.flush()
        head = objects.stdout.readline().split()
        if head[1] == b"missing":
            missing.append(name.decode())
            continue
        data = objects.stdout.read(int(head[2]))
        objects.stdout.read(1)
        path = out / name.decode()
        path.parent.mkdir(parents=True, exist_ok=True)
        if mode == b"120000":
            path.symlink_to(data.decode())
        else:
            path.write_bytes(data)
    objects.stdin.close()
print(f"{out}: all but {len(missing)} files {missing}")
