"""A skip fails where CI is set, unless it is one of the few that have to be."""

import pytest

SUITE = """
import pytest

def test_a_gpu(): pytest.skip("needs a GPU")
def test_a_package(): pytest.importorskip("no_such_package")
@pytest.mark.xfail(reason="known")
def test_a_known_fault(): assert False
"""


@pytest.mark.parametrize("ci", [False, True])
def test_skips(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, ci: bool) -> None:
    monkeypatch.setenv("CI", "true") if ci else monkeypatch.delenv("CI", raising=False)
    pytester.makepyfile(SUITE)
    done = pytester.runpytest_inprocess("-p", "helpers.skips")
    done.assert_outcomes(skipped=2 - ci, failed=ci, xfailed=1)
    assert ("skipped, which fails where CI is set: could not import" in done.stdout.str()) == ci


def test_a_file_that_is_skipped(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    pytester.makepyfile("import pytest\npytest.importorskip('no_such_package')")
    pytester.runpytest_inprocess("-p", "helpers.skips").assert_outcomes(errors=1)
