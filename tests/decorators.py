"""Decorators that make another kind of function of one: plain of async, async of plain, a list of a generator."""

import asyncio
import functools
from collections.abc import Callable
from typing import Any

__all__ = ["awaited_in_a_thread", "hands_through", "hands_through_later", "listed", "run_by_asyncio"]

Function = Callable[..., Any]


def run_by_asyncio(function: Function) -> Function:
    """Plain, of an `async def`."""

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        return asyncio.run(function(*args, **kwargs))

    return run


def awaited_in_a_thread(function: Function) -> Function:
    """`async def`, of a plain one."""

    @functools.wraps(function)
    async def awaited(*args: Any, **kwargs: Any) -> Any:
        return await asyncio.to_thread(function, *args, **kwargs)

    return awaited


def listed(function: Function) -> Function:
    """Plain, of a generator function."""

    @functools.wraps(function)
    def listed(*args: Any, **kwargs: Any) -> Any:
        return list(function(*args, **kwargs))

    return listed


def hands_through(function: Function) -> Function:
    """Plain, whatever the function is."""

    @functools.wraps(function)
    def through(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return through


def hands_through_later(function: Function) -> Function:
    """`async def`, whatever the function is."""

    @functools.wraps(function)
    async def through(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return through
