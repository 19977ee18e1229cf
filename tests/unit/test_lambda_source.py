"""routilux.lambda_source: which lambda it was, and what it says."""

import inspect
import linecache
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from routilux.callables import restore_callable
from routilux.errors import CallableError
from routilux.lambda_source import describe_function, expression_of

LIMIT = 5


def module_of(text: str, name: str = "made_module") -> types.ModuleType:
    """A module of this source, as far as Python's tracebacks know."""
    module = types.ModuleType(name)
    filename = f"<{name} of a test>"
    linecache.cache[filename] = (len(text), None, text.splitlines(True), filename)
    sys.modules[name] = module
    exec(compile(text, filename, "exec", dont_inherit=True), vars(module))  # noqa: S102 - the test's own
    return module


@pytest.fixture
def made() -> Iterator[Callable[[str], types.ModuleType]]:
    yield module_of
    sys.modules.pop("made_module", None)
    linecache.cache.pop("<made_module of a test>", None)


def saved(function: Any) -> tuple[str, tuple[str, ...]]:
    expression = expression_of(function)
    return expression.text, expression.parameters


def test_a_lambda_of_a_line_of_its_own():
    is_big = lambda data: data["n"] > 5  # noqa: E731
    assert saved(is_big) == ("data['n'] > 5", ("data",))


def test_lambdas_in_fragments_of_lists_and_tuples():
    held = [
        ("a", lambda d: d > 1),
        ("b", lambda d: d > 2), ("c", lambda e: e > 1),
        ("d", (lambda d:
               d.get("x",
                     0)  # a comment
               > 3)),
    ]  # fmt: skip
    texts = [saved(function) for _, function in held]
    assert texts == [
        ("d > 1", ("d",)),
        ("d > 2", ("d",)),
        ("e > 1", ("e",)),
        ("d.get('x', 0) > 3", ("d",)),
    ]


def test_lambdas_of_one_line_that_differ_in_nothing_but_a_constant():
    one, true, real, negative = (lambda d: d == 1), (lambda d: d == True), (lambda d: d == 1.0), (lambda d: d == -0.0)  # noqa: E712
    assert [saved(each)[0] for each in (one, true, real, negative)] == ["d == 1", "d == True", "d == 1.0", "d == -0.0"]


def test_lambdas_of_one_line_that_do_the_same_are_told_apart_by_their_columns():
    pair = (lambda d: d > 1 + 1), (lambda d: d > 2)
    assert [saved(each)[0] for each in pair] == ["d > 1 + 1", "d > 2"]


def test_the_lambda_inside_a_lambda_and_the_one_around_it():
    outer = lambda d: lambda e: e + 1  # noqa: E731
    assert saved(outer(0)) == ("e + 1", ("e",))
    with pytest.raises(CallableError, match="Lambda is not allowed"):
        expression_of(outer)


def test_a_nested_function_whose_body_is_one_return():
    def is_even(number):
        """Whether."""
        return number % 2 == 0

    def registered(function):
        return function

    @registered
    def is_odd(number: int) -> bool:
        return number % 2 == 1

    assert saved(is_even) == ("number % 2 == 0", ("number",))
    assert saved(is_odd) == ("number % 2 == 1", ("number",))


def test_a_lambda_of_a_module_of_a_class_and_in_a_comprehension():
    class Holder:
        is_small = lambda d: d < 5  # noqa: E731

    assert saved(vars(Holder)["is_small"])[0] == "d < 5"
    assert {saved(each)[0] for each in [lambda d: d is None for _ in range(3)]} == {"d is None"}


def test_a_module_with_features_of_the_future(made):
    text = "from __future__ import annotations\nheld = [lambda d: d > 1, lambda d: d > 2]\n"
    assert [saved(each)[0] for each in made(text).held] == ["d > 1", "d > 2"]


def test_text_that_is_not_ascii_and_long_lines(made):
    text = 'held = ["ä€𝄞", lambda d: d == "ä€𝄞", lambda d: d == "𝄞"]\n'
    assert [saved(each)[0] for each in made(text).held[1:]] == ["d == 'ä€𝄞'", "d == '𝄞'"]


LOCAL_NAMES = [
    (lambda limit: lambda d: d > limit, "uses 'limit' from around it"),
    (lambda _: lambda d: d > LIMIT, "uses the global name 'LIMIT'"),
    (lambda _: lambda d, limit=5: d > limit, "other parameters"),
    (lambda _: lambda *d: d, "other parameters"),
    (lambda _: lambda **d: d, "other parameters"),
    (lambda _: lambda *, d: d, "other parameters"),
    (lambda _: lambda d, /: d, "other parameters"),
    (lambda _: lambda d: (yield d), "no plain function"),
    (lambda _: lambda d: sorted(d, key=None), "A call of anything but"),
    (lambda _: lambda d: d.__class__, "__class__"),
    (lambda _: lambda d: [x + 1 for x in d], "ListComp is not allowed"),
    (lambda _: lambda d: f"{d}", "JoinedStr is not allowed"),
    (lambda _: lambda d: __import__("os").system(d), "not allowed"),
    (lambda _: lambda __class__: 1, "'__class__' cannot be a parameter"),
    (lambda _: lambda _d: _d._secret, "_secret"),  # noqa: SLF001
    (lambda _: lambda len: len, "'len' cannot be a parameter .* Rename the parameter"),  # noqa: A006
]


@pytest.mark.parametrize(("make", "why"), LOCAL_NAMES, ids=[why for _, why in LOCAL_NAMES])
def test_what_an_expression_cannot_say_is_refused_with_the_reason(make, why):
    with pytest.raises(CallableError, match=why):
        expression_of(make(1))


def test_a_function_of_several_statements_is_refused():
    def check(d):
        total = d + 1
        return total > 2

    with pytest.raises(CallableError, match="more than one `return`"):
        expression_of(check)


def test_a_builtin_name_that_the_module_has_taken_for_itself_is_refused(made):
    module = made("def len(value):\n    return 7\nheld = lambda d: len(d)\n")
    with pytest.raises(CallableError, match="uses the global name 'len'"):
        expression_of(module.held)


def test_a_function_without_a_source_is_refused():
    function = eval("lambda d: d > 1")  # noqa: S307 - it is what has no source
    with pytest.raises(CallableError, match=r"source .* is not there|not the one that was compiled"):
        expression_of(function)


def test_a_source_that_has_changed_is_refused(made):
    module = made("held = lambda d: d > 1\n")
    filename = module.held.__code__.co_filename
    for text in ("held = lambda d: d > 2\n", "\n\nheld = lambda d: d > 1\n", "held = (\n", "held = 1\0\n"):
        linecache.cache[filename] = (len(text), None, text.splitlines(True), filename)
        with pytest.raises(CallableError, match=r"has changed since|cannot be read"):
            expression_of(module.held)


def test_a_source_that_has_moved_within_its_line_is_the_same(made):
    module = made("held = lambda d: d > 1\n")
    filename = module.held.__code__.co_filename
    text = "held  =  lambda d:   d > 1\n"
    linecache.cache[filename] = (len(text), None, text.splitlines(True), filename)
    assert saved(module.held)[0] == "d > 1"


def test_two_that_cannot_be_told_apart_are_refused_if_they_differ(made):
    module = made("held = lambda d: d > 4\n")
    filename = module.held.__code__.co_filename
    text = "held = [lambda d: d > 2 + 2, lambda d: d > 4]\n"
    linecache.cache[filename] = (len(text), None, text.splitlines(True), filename)
    with pytest.raises(CallableError, match="cannot be told from another"):
        expression_of(module.held)


def test_a_lambda_nested_too_deeply_is_refused(made):
    module = made("held = lambda d: " + "-" * 150 + "d\n")
    with pytest.raises(CallableError, match="nested more than"):
        expression_of(module.held)


# -- describe_function


def at_module_level(data: Any) -> bool:
    return bool(data)


is_big = lambda d: d > 5  # noqa: E731


class Owner:
    def own(self, data: Any) -> bool:
        return bool(data)

    @staticmethod
    def static(data):
        return data > 1


def test_a_function_at_module_level_is_saved_by_its_name():
    data = describe_function(at_module_level, None, "x")
    assert (data["_type"], data["name"]) == ("callable", "at_module_level")


def test_a_lambda_is_saved_as_what_it_says_and_comes_back_with_its_parameters():
    data = describe_function(is_big, None, "x")
    assert data == {"_type": "lambda_expression", "expression": "d > 5", "parameters": ["d"]}
    copy = restore_callable(data, None, "x")
    assert copy is not None
    assert (copy(6), copy(d=5)) == (True, False)
    assert describe_function(copy, None, "x") == data


@pytest.mark.parametrize(
    "function", [lambda _: True, lambda d, _config: d > 5, lambda _, __: _ > __, lambda self: self]
)
def test_parameters_may_begin_with_an_underscore_and_be_called_as_anything_else(function):
    copy = restore_callable(describe_function(function, None, "x"), None, "x")
    assert copy is not None
    names = list(inspect.signature(function).parameters)
    assert list(inspect.signature(copy).parameters) == names
    values = dict(zip(names, (6, 5), strict=False))
    assert copy(**values) == copy(*values.values()) == function(**values)


def test_a_method_of_the_owner_is_saved_by_its_name():
    owner = Owner()
    assert describe_function(owner.own, owner, "x")["method_name"] == "own"
    assert describe_function(owner.static, owner, "x")["expression"] == "data > 1"


@pytest.mark.parametrize("value", [str.upper, len, int, Owner().own, print], ids=repr)
def test_what_has_no_source_of_its_own_is_refused_by_name_with_advice(value):
    with pytest.raises(CallableError, match=r"^The thing cannot be saved: .* Use a function at module level"):
        describe_function(value, None, "The thing")


def test_a_function_whose_name_leads_to_another_is_not_saved_by_name(made):
    module = made("def check(d):\n    d += 1\n    return d\nfirst = check\ndef check(d):\n    return 0\n")
    with pytest.raises(CallableError, match="more than one `return`"):
        describe_function(module.first, None, "x")
