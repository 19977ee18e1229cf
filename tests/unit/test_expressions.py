"""Conditions as text: they mean what Python means by them, and can do no harm."""

import copy
import inspect
import itertools
import os
import pickle
import subprocess
import sys
from collections import defaultdict, deque
from threading import Event, Thread
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routilux.errors import ExpressionError
from routilux.expressions import Expression, syntax

PERSON = SimpleNamespace(name="Ada", age=36)

# -- they mean what Python means by them

VALUES = {
    "data": {"n": 3, "text": "a b", "items": [1, 2, "x"], "deep": {"flag": True}, "none": None, "float": 2.5},
    "config": {"limit": 2},
    "stats": {},
}

LEAVES = st.sampled_from(
    [
        *("data", "config", "stats", "data['n']", "data['text']", "data['items']", "data['deep']['flag']"),
        *("data['gone']", "config['limit']", "data.get('n')", "data.get('gone', 0)", "1", "0", "-2", "2.5"),
        *("'a'", "''", "None", "True", "False", "[]", "()", "{}", "{1, 2}", "[1, 'x']", "{'a': 1}", "int", "str"),
    ]
)
BINARY = st.sampled_from(
    [
        *("+", "-", "*", "/", "//", "%", "**", "&", "|", "^", "and", "or"),
        *("==", "!=", "<", "<=", ">", ">=", "in", "not in", "is", "is not"),
    ]
)
METHODS = st.sampled_from(["upper()", "split()", "keys()", "count('a')", "startswith('a')", "replace('a', 'bb')"])


def larger(smaller):
    return st.one_of(
        st.tuples(smaller, BINARY, smaller).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
        st.tuples(smaller, smaller, smaller).map(lambda t: f"({t[0]} if {t[1]} else {t[2]})"),
        st.tuples(smaller, BINARY, smaller, smaller).map(lambda t: f"({t[0]} < {t[2]} <= {t[3]})"),
        st.tuples(st.sampled_from(["not ", "-", "+", "~"]), smaller).map(lambda t: f"({t[0]}{t[1]})"),
        st.tuples(smaller, METHODS).map(lambda t: f"({t[0]}).{t[1]}"),
        st.tuples(st.sampled_from(["len", "str", "int", "float", "bool", "list", "dict"]), smaller).map(
            lambda t: f"{t[0]}({t[1]})"
        ),
        st.tuples(smaller, smaller).map(lambda t: f"isinstance({t[0]}, {t[1]})"),
        st.tuples(smaller, smaller).map(lambda t: f"[{t[0]}, {t[1]}]"),
        st.tuples(smaller, smaller).map(lambda t: f"{{'a': {t[0]}, 'b': {t[1]}}}"),
        st.tuples(smaller, smaller).map(lambda t: f"({t[0]})[{t[1]}]"),
        st.tuples(smaller, smaller).map(lambda t: f"({t[0]})[:{t[1]}]"),
    )


def outcome(function):
    try:
        value = function()
    except Exception as error:  # noqa: BLE001 - whatever Python raises
        return type(error)
    return type(value), repr(value)


@pytest.mark.filterwarnings("ignore::SyntaxWarning")
@given(st.recursive(LEAVES, larger, max_leaves=6))
def test_an_expression_means_what_python_means_by_it(text):
    expected = outcome(lambda: eval(text, {}, copy.deepcopy(VALUES)))  # noqa: S307 - the text is the test's own
    found = outcome(lambda: Expression(text, tuple(VALUES))(**copy.deepcopy(VALUES)))
    if found is ExpressionError:  # texts are not formatted, and `in` asks containers; a method may not be there
        assert "%" in text or "(int)." in text or "(str)." in text or expected in (AttributeError, TypeError)
    else:
        assert found == expected


def test_what_stands_behind_and_or_and_if_is_not_evaluated_in_vain():
    assert Expression("x and x['gone']", ("x",))({}) == {}
    assert Expression("x or x['gone']", ("x",))([1]) == [1]
    assert Expression("0 if not x else x['gone']", ("x",))({}) == 0
    assert Expression("1 > 2 > x['gone']", ("x",))({}) is False


def test_a_parameter_may_have_the_name_self():
    assert Expression("self + x", ("self", "x"))(self=1, x=2) == 3


def test_attributes_and_methods():
    assert Expression("data.name == 'Ada' and data.age > 30")(PERSON) is True
    assert Expression("getattr(data, 'gone', 5)")(PERSON) == 5
    assert Expression("hasattr(data, 'age') and not hasattr(data, 'gone')")(PERSON) is True
    assert Expression("data['a'].split(',', maxsplit=1)")({"a": "1,2,3"}) == ["1", "2,3"]
    assert Expression("'-'.join(data.keys())")({"a": 1, "b": 2}) == "a-b"
    assert Expression("data.get('a', {}).get('b')")({}) is None


class Grid:
    """Rows and columns: what it is asked for."""

    def __getitem__(self, key):
        return key


@pytest.mark.parametrize(
    "text", ["data[0:1, 5]", "data[:, ::2]", "data[1:, (2, 3)]", "data[data[5]:, 1]", "data[0:1,]"]
)
def test_slices_beside_other_keys(text):
    assert Expression(text)(Grid()) == eval(text, {}, {"data": Grid()})  # noqa: S307 - the text is the test's own


def test_an_expression_is_called_as_its_lambda_would_be():
    expression = Expression("data['n'] > config", ("data", "config"))
    assert list(inspect.signature(expression).parameters) == ["data", "config"]
    assert expression({"n": 3}, 2) is True
    assert expression(config=4, data={"n": 3}) is False
    with pytest.raises(TypeError, match="config"):
        expression({"n": 3})


def test_a_parameter_means_its_argument_and_opens_nothing_whatever_it_is_called():
    assert Expression("[_, __, _data]", ("_", "__", "_data"))(1, _data=3, __=2) == [1, 2, 3]
    for name in ("__class__", "__dict__", "__builtins__", "__import__", "__a__"):
        with pytest.raises(ExpressionError, match="cannot be a parameter"):
            Expression("1", (name,))
    for text in ("_data.__class__", "_data._x", "getattr(_data, '__class__')", "_other", "__class__"):
        with pytest.raises(ExpressionError):
            Expression(text, ("_data",))


def test_without_names_of_its_own_an_expression_takes_data_by_any_of_the_older_names():
    for name in ("data", "x", "item", "value", "obj"):
        assert Expression(f"{name}['a'] == 1")({"a": 1}) is True


def test_expressions_are_equal_by_what_they_say():
    one = Expression("x > 1", ("x",))
    assert one == Expression(" x > 1 ", ["x"])
    assert hash(one) == hash(Expression("x > 1", ("x",)))
    assert one not in (Expression("x > 2", ("x",)), Expression("x > 1", ("x", "y")), Expression("x > 1"), "x > 1")
    assert repr(one) == "Expression(lambda x: x > 1)"


@pytest.mark.parametrize("expression", [Expression("data > 1"), Expression("a > b", ("a", "b"))])
def test_an_expression_is_copied_and_pickled(expression):
    expression.check()
    assert copy.deepcopy(expression) == pickle.loads(pickle.dumps(expression)) == expression


def test_several_threads_may_call_an_expression_for_the_first_time():
    expression, found = Expression("data + 1"), []
    threads = [Thread(target=lambda: found.append(expression(1))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [2] * 8


# -- and can do no harm

REFUSED = [
    ("__import__('os').system('true')", "__import__"),
    ("().__class__.__bases__", "__class__"),
    ("data._secret", "_secret"),
    ("data.__dict__", "__dict__"),
    ("getattr(data, '__class__')", "__class__"),
    ("getattr(data, '_x', 5)", "_x"),
    ("data or hasattr(data, '__len__')", "__len__"),
    ("str(data, 'ascii')", "str takes one argument"),
    ("str(object=data)", "str takes one argument"),
    ("isinstance(data, (int, (str,)))", "flat tuple of types"),
    ("str.upper(data)", "str.upper"),
    ("int.real", "real"),
    ("eval('1')", "eval"),
    ("open('/etc/passwd')", "open"),
    ("(lambda: 1)()", "call of anything but"),
    ("lambda: 1", "Lambda"),
    ("[x for x in data]", "ListComp"),
    ("{x for x in data}", "SetComp"),
    ("{x: 1 for x in data}", "DictComp"),
    ("(x for x in data)", "GeneratorExp"),
    ("(n := 5)", "NamedExpr"),
    ("f'{data}'", "JoinedStr"),
    ("[*data]", "Starred"),
    ("len(*data)", "Starred"),
    ("dict(**data)", r"\*\*"),
    ("{**data}", r"\*\*"),
    ("await data", "Await"),
    ("yield", "not an expression"),
    ("data[0]()", "call of anything but"),
    ("str.format('{0.__class__}', data)", "format"),
    ("'{0.__class__}'.format(data)", "format"),
    ("data.update(a=1)", "update"),
    ("data.pop('a')", "pop"),
    ("data.append(1)", "append"),
    ("data @ data", "MatMult"),
    ("1 << 10**9", "LShift"),
    ("b'bytes'", "bytes"),
    ("1j", "1j"),
    ("...", "Ellipsis"),
    ("import os", "not an expression"),
    ("data; data", "not an expression"),
    ("", "not an expression"),
    ("data)", "not an expression"),
    ("unknown > 1", "'unknown' is not known"),
    ("data\0", "null bytes"),
    ("'" + "a" * 5000 + "'", "more than 4000 characters"),
    ("-" * 150 + "1", "nested more than 100"),
]


@pytest.mark.parametrize(("text", "words"), REFUSED, ids=[text[:40] for text, _ in REFUSED])
def test_what_is_not_allowed_in_an_expression_is_named_when_it_is_checked(text, words):
    with pytest.raises(ValueError, match=words):
        Expression(text).check()


BEYOND_BOUNDS = [
    "10 ** 10 ** 10",
    "2 ** 14000 * 2 ** 14000",
    "'a' * 10 ** 9",
    "10 ** 9 * [0]",
    "(0,) * 10 ** 9",
    "'%1000000000d' % 1",
    "int('f' * 10000, 16)",
    # What stands in many places counts in each of them: Python walks all of it to compare, to hash and to write it.
    "str([['a' * 1000] * 1000] * 1000)",
    "[(((0,) * 1000,) * 1000,) * 100] == [(((0,) * 1000,) * 1000,) * 100]",
    "{(((0,) * 1000,) * 1000,) * 100: 1}",
    "isinstance(1, (((str,) * 1000,) * 1000,) * 10)",
    "('a' * 50000).startswith(('a' * 49999 + 'b',) * 100000)",
    "(('a' * 30000 + 'b',) * 30000).count('a' * 30000 + 'c')",
    # The lists of one text together, however small each is.
    "[" + "[0] * 50000, " * 60 + "]",
    "[][len([0] * 2000000):5, 1]",
    # Searches that compare each character with each.
    "('a' * 100000).rfind('a' * 25000 + 'b' + 'a' * 25000)",
    "('a' * 100000).rsplit('a' * 25000 + 'b' + 'a' * 25000)",
    "('a' * 100000).lstrip('b' * 99999 + 'a')",
]


@pytest.mark.parametrize("text", BEYOND_BOUNDS)
@pytest.mark.parametrize(
    "whole", ["{}", "data == {}", "data and {}", "1 if data else {}", "0 and ({})", "1 if 1 else {}", "1 > 2 > ({})",
              "[data, 1][:len({})]", "dict(a=({}), b=data)", "1 or (2 or ({}))", "data.get(1, -({}))"]
)  # fmt: skip
def test_constants_beyond_the_bounds_are_refused_when_an_expression_is_made(whole, text):
    with pytest.raises(ExpressionError, match=r"More than 1000000|more than 14000|Formatting with %"):
        Expression(whole.format(text))


def test_the_constants_of_one_text_count_together():
    with pytest.raises(ExpressionError, match="More than 1000000"):
        Expression("data in 'a' * 600000 or data in 'b' * 600000")
    Expression("data in 'a' * 600000 or data in 'b' * 300000")


@pytest.mark.parametrize("text", ["1 / 0", "{}['gone']", "''.keys()", "list[0]", "int('x')", "1 + 'a'", "[][5]"])
def test_constants_that_fail_otherwise_fail_when_they_are_evaluated_and_not_before(text):
    assert Expression(f"data or {text}")(1) == 1
    expression = Expression(text)
    with pytest.raises((ArithmeticError, LookupError, TypeError, ValueError)):
        expression(None)


@pytest.mark.parametrize("text", ["9 ** 9 ** 9", "data.__class__", "data["])
def test_an_expression_out_of_a_file_is_looked_at_when_it_is_called(text):
    expression = Expression(text, ("data",), checks_now=False)
    for copied in (expression, copy.deepcopy(expression), pickle.loads(pickle.dumps(expression))):
        assert copied.text == text
        with pytest.raises(ExpressionError):
            copied(1)


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("getattr(data, '__' + 'class__')", PERSON),
        ("getattr(data, '_x'.lower())", PERSON),
        ("hasattr(data, data.name.replace('Ada', '__dict__'))", PERSON),
        ("getattr(data, 5)", PERSON),
        ("data.path", sys),
        ("data.f_globals", inspect.currentframe()),
        ("data.gi_frame", (_ for _ in ())),
        ("data.tb_frame", SimpleNamespace),
        ("getattr(int, 'real')", None),
        ("list[0]", None),
        ("data.count('x')", SimpleNamespace(count=lambda text: 1)),
        ("data.get('x')", SimpleNamespace(get=lambda text: 1)),
        ("list(data)", iter(int, 1)),
        ("dict(data)", iter(int, 1)),
        ("data ** data", 10**6),
        ("data + data", "a" * 600_000),
        ("data.upper() + 'a'", "a" * 600_000),
        ("[data[:], data[:]]", [0] * 600_000),
        ("[list(data), dict(a=1), list(data)]", [0] * 600_000),
        ("[data.copy(), data.copy()]", dict.fromkeys(range(600_000))),
        ("data | data.keys()", dict.fromkeys(range(600_000)).keys()),
        ("data.split('b')", "ab" * 400_000),
        ("data * 200_000", deque(range(10))),
        ("data.replace('a', 'aaaaaaaaaa')", "a" * 200_000),
        ("'aaaaaaaaaa'.join(data)", ["a"] * 200_000),
        ("data.join(data)", iter("abc")),
        ("(data,) * 1000 == (data,) * 1000", [0] * 10_000),
        ("str((data,) * 100000)", SimpleNamespace(text="a" * 10_000)),
        ("str((data,) * 100)", SimpleNamespace(text="a" * 20_000)),
        # Without an end, or without one that anybody would wait for.
        ("5.5 in data", itertools.count()),
        ("5.5 in data", range(10**12)),
        ("list(data)", range(10**12)),
        ("dict([data])", itertools.count()),
        ("dict([data])", range(10**12)),
        ("{}.keys() & data", itertools.count()),
        ("data - {}.keys()", itertools.count()),
        ("3 % data", 1 << 15_000),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 50 else "data",
)
def test_an_evaluation_stays_within_bounds(text, data):
    expression = Expression(text)
    with pytest.raises(ValueError, match=r"."):
        expression(data)


def test_an_evaluation_may_read_compare_and_search_data_that_are_larger_than_what_it_may_produce():
    data = {"text": "ab" * 600_000, "items": list(range(1_200_000)), "same": list(range(1_200_000)), "n": 1 << 15_000}
    for text in (
        "'ba' in data['text'] and data['text'].find('bb') == -1 and data['text'].count('a') == 600000",
        "len(data['text']) == 1200000 and data['text'][5] == 'b' and data['text'][:3] == 'aba'",
        "data['items'] == data['same'] and 5.5 not in data['items'] and data['items'][7] == 7",
        "{'a': data['items'], 'b': data['text']}['a'][9] == 9 and [data['text']][0] == str(data['text'])",
        "data['n'] == data.get('n') == int(data['n']) and data.get('n') > 1 and data['n'] + 1 > data['n']",
    ):
        assert Expression(text)(data) is True


def test_an_expression_takes_nothing_out_of_an_iterator():
    for text in ("2 in data", "list(data)", "dict([data])", "'-'.join(data)", "{}.keys() | data", "data & {}.items()"):
        data = iter(["1", "2"])
        with pytest.raises(ExpressionError):
            Expression(text)(data)
        assert list(data) == ["1", "2"]


def test_an_expression_puts_no_key_into_a_dict_that_makes_its_values():
    data = defaultdict(list, here=1)
    assert Expression("data['here']")(data) == 1
    with pytest.raises(KeyError, match="gone"):
        Expression("data['gone']")(data)
    assert data == {"here": 1}


def test_an_expression_imports_no_encoding():
    before = set(sys.modules)
    for text in ("str(data, 'cp037')", "str(data, encoding='cp037')", "str(object=data)"):
        with pytest.raises(ExpressionError, match="str takes one argument"):
            Expression(text)(b"ab")
    assert not {name for name in set(sys.modules) - before if name.startswith("encodings")}


def test_an_error_shows_nothing_of_a_value_that_may_be_huge():
    shown = []

    class Loud(list):
        def __repr__(self):
            shown.append(1)
            return ""

    for text in (
        "data * 10 ** 9",
        "10 ** 9 * data",
        "data.count.x",
        "5 in getattr",
        "str(data, data)",
        "getattr(1, data)",
    ):
        with pytest.raises(ExpressionError):
            Expression(text)(Loud([1]))
    with pytest.raises(ExpressionError):
        Expression("data.keys()")(Loud([1]))
    assert shown == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("'%s' % 1", r"% is not allowed \(put texts together with \+ and str\)"),
        ("'a' * 10 ** 9", "More than 1000000 characters and items"),
        ("9 ** 9 ** 9", "more than 14000 bits"),
        ("5 in data", "'in' does not look into a value of type 'range'"),
        ("isinstance(1, ((int, str), bool))", "a type or a flat tuple of types"),
        ("data.count(1)", "'count' of a value of type 'range' may not be called"),
        ("list[0]", "'list' has no items"),
    ],
)
def test_what_an_evaluation_refuses_is_named_with_what_to_do(text, words):
    with pytest.raises(ExpressionError, match=words) as caught:
        Expression(text)(range(3))
    assert repr(text) in str(caught.value)
    assert "Use a function at module level" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1 ** 20000", 1),
        ("(-1) ** 20001", -1),
        ("0 ** 20000", 0),
        ("2 ** 13999 > 0", True),
        ("2 ** 13000 * 1 == -1 * -(2 ** 13000)", True),
        ("'a' * -5", ""),
        ("() * 10 ** 9", ()),
        ("10 * 'ab'", "ab" * 10),
        ("isinstance('a', int | str) and isinstance(1, (bool, int | str))", True),
        ("dict([['a', 1]], b=2)", {"a": 1, "b": 2}),
        ("str()", ""),
        ("str([1, 'x', {'a': None}])", "[1, 'x', {'a': None}]"),
        ("' a '.strip() + 'a-b-c'.rsplit('-', 1)[0]", "aa-b"),
    ],
)
def test_what_is_small_is_not_refused(text, value):
    assert Expression(text)(None) == value


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # a fork beside a thread, which is what this is about
def test_a_child_that_is_forked_while_another_thread_parses_can_parse():
    held, may_go = Event(), Event()

    def hold():
        with syntax._parsing:  # noqa: SLF001 - no parser can be made to wait
            held.set()
            may_go.wait(20)

    thread = Thread(target=hold)
    thread.start()
    held.wait(20)
    child = os.fork()
    if not child:
        parsed = Thread(target=Expression("1 + 1").check, daemon=True)
        parsed.start()
        parsed.join(10)
        os._exit(parsed.is_alive())
    may_go.set()
    thread.join()
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize(
    "opening",
    ["(", "[", "{1:", "-", "not ", "~", "data[", "a.", "1+", "1**", "1<", "x if ", "f'{", "lambda:", '"', "\\\n"],
)
def test_text_that_is_made_to_crash_the_parser_does_not(opening):
    text = opening * (4000 // len(opening))
    code = (
        "from routilux.expressions import Expression\n"
        f"for text in {[each[:4000] for each in (text, text + '1', text + '1' + ')' * 10)]!r}:\n"
        "    try: Expression(text).check()\n"
        "    except ValueError: print('refused')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.split()) == (0, ["refused"] * 3), done.stderr[-500:]


@pytest.mark.parametrize(
    ("text", "parameters"),
    [
        (5, ("x",)),
        ("x", (5,)),
        ("x", ("x", "x")),
        ("x", ("class",)),
        ("x", ("__x",)),
        ("x", ("__x__",)),
        ("x", ("a b",)),
        ("x", ("len",)),
        (None, None),
    ],
)
def test_an_expression_with_parameters_that_cannot_be_is_refused_at_once(text, parameters):
    with pytest.raises(ValueError, match="parameter"):
        Expression(text, parameters)
