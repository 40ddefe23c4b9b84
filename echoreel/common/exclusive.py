"""One user at a time: what keeps state between its calls is refused to a second thread, never shared."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import ParamSpec, TypeVar
from weakref import WeakKeyDictionary

from echoreel.common.errors import InUse

_USERS: WeakKeyDictionary[object, threading.Thread] = WeakKeyDictionary()
_CHANGING = threading.Lock()
_LOADING = threading.RLock()
P = ParamSpec("P")
T = TypeVar("T")


def one_at_a_time(load: Callable[P, T]) -> Callable[P, T]:
    """What loads a model waits for another thread that does: while diffusers and transformers load, all
    threads get layers without data."""

    @wraps(load)
    def waiting(*args: P.args, **kwargs: P.kwargs) -> T:
        with _LOADING:
            return load(*args, **kwargs)

    return waiting


@contextmanager
def used_alone(*things: object) -> Iterator[None]:
    """Within, these belong to this thread, which may ask again. Raises InUse when another thread has one."""
    me = threading.current_thread()
    with _CHANGING:
        for thing in things:
            check_mine(thing)
        taken = [thing for thing in things if _USERS.get(thing) is not me]
        for thing in taken:
            _USERS[thing] = me
    try:
        yield
    finally:
        with _CHANGING:
            for thing in taken:
                _USERS.pop(thing, None)


def take(thing: object) -> bool:
    """Whether this thread has it from now on, until `give_back`; not where it had it before.

    Raises InUse when another thread has it.
    """
    with _CHANGING:
        check_mine(thing)
        new = _USERS.get(thing) is not threading.current_thread()
        _USERS[thing] = threading.current_thread()
    return new


def give_back(thing: object) -> None:
    """What `take` took."""
    with _CHANGING:
        _USERS.pop(thing, None)


def check_mine(thing: object) -> None:
    """Raises InUse when another thread has it."""
    user, me = _USERS.get(thing), threading.current_thread()
    if user is not None and user is not me and user.is_alive():
        raise InUse(
            f"{me.name} cannot use this {type(thing).__name__} while thread {user.name} generates with "
            "it; wait, or load a pipeline and an adapter for each thread"
        )
