"""What one evaluation may produce: characters, items and the bits of whole numbers, counted before they are made."""

import ast
import operator
from collections.abc import Callable, Iterable, Sequence, Sized
from typing import Any, SupportsIndex

from routilux.errors import ExpressionError
from routilux.plain import shortened

__all__ = ["BITS_MAX", "CONTAINERS", "Evaluation", "kind_of", "refusal", "weight_of"]

# What an evaluation may produce: characters and items, all steps together; and bits of a whole number (about 4,000
# digits), each.
SIZE_MAX = 1_000_000
BITS_MAX = 14_000

# What an object of another kind counts where it is repeated: it is not looked into. So it is repeated no more often
# than a text of 4,000 characters could name it.
_OTHER_WEIGHT = 1_000

# What ends when it is walked, changes nothing by it, and is looked into where it is counted.
CONTAINERS: tuple[type[Any], ...] = (
    str, bytes, list, tuple, dict, set, frozenset, type({}.keys()), type({}.values()), type({}.items()),
)  # fmt: skip


class Evaluation:
    """One evaluation: what its names mean, and how much it may still produce.

    A step charges what it is about to produce, before it does. Nothing has a name but the arguments, so what was
    produced stands in one place of whatever it becomes a part of, and lists, sums and copies charge their own items
    alone. Only a repetition puts it into many places: there each thing is charged as often as it will stand there. So
    whatever walks a value (`==`, `hash`, `repr`) finds no more in it than was charged, and the arguments as often as
    the text names them.

    Args:
        text: The expression, for messages.
        names: What the names of the arguments mean.
        is_trial: Whether constants are tried out beforehand: then what `and`, `or` and `if` pass over counts as well.
    """

    __slots__ = ("is_trial", "left", "names", "text")

    def __init__(self, text: str, names: dict[str, Any], *, is_trial: bool = False) -> None:
        self.text = text
        self.names = names
        self.is_trial = is_trial
        self.left = SIZE_MAX

    @property
    def is_used_up(self) -> bool:
        """Whether a bound was exceeded, and not something else refused."""
        return self.left < 0

    def charge(self, size: int) -> None:
        """Take this much of what is left.

        Raises:
            ExpressionError: It is more than that.
        """
        self.left -= size
        if self.left < 0:
            raise self.refusal(f"More than {SIZE_MAX} characters and items would be made")

    def charge_bits(self, bits: int, problem: str) -> None:
        """Make sure that a whole number may have that many bits.

        Raises:
            ExpressionError: It may not; the message begins with `problem`.
        """
        if bits > BITS_MAX:
            self.left = -1
            raise self.refusal(problem)

    def charge_whole_numbers(self, kind: ast.operator, left: int, right: int) -> None:
        """For an operation of two whole numbers."""
        bits = 0
        if isinstance(kind, ast.Pow) and abs(left) > 1:
            bits = (abs(left) - 1).bit_length() * right
        elif isinstance(kind, ast.Mult) and abs(left) > 1 and abs(right) > 1:
            bits = left.bit_length() + right.bit_length()
        elif isinstance(kind, ast.FloorDiv | ast.Mod):
            bits = right.bit_length()  # it takes that many steps for each bit of the other
        self.charge_bits(bits, f"A whole number of more than {BITS_MAX} bits is too large for *, **, // and %")

    def charge_repetition(self, left: Any, right: Any) -> None:
        """For `*`, where one of the two may be a sequence."""
        repeated, number = (left, right) if isinstance(left, Sequence) else (right, left)
        if not isinstance(repeated, Sequence) or not isinstance(number, SupportsIndex):
            return
        try:
            times = max(0, operator.index(number))
        except TypeError:  # an array, which multiplies each item
            return
        weight = len(repeated)
        if times and isinstance(repeated, list | tuple):
            weight = weight_of(repeated, self.left // times + 1, lambda _other: _OTHER_WEIGHT) - 1
        self.charge(weight * times)

    def charge_sizes(self, given: Iterable[Any]) -> None:
        """For what is about to be walked and copied, but for what Python itself will refuse to walk."""
        for each in given:
            if isinstance(each, Sized):
                self.charge(len(each))
            elif isinstance(each, Iterable):
                raise self.refusal(f"{kind_of(each)} may have no end and is not walked")

    def refusal(self, problem: str) -> ExpressionError:
        """The error for something that is not allowed. It tells kinds and no values: those may be large."""
        return refusal(problem, self.text)


def refusal(problem: str, text: str) -> ExpressionError:
    """The error for something that an expression may not have or do."""
    return ExpressionError(
        f"{problem}, in the expression {shortened(text)}. Use a function at module level for what an expression "
        "cannot say."
    )


def kind_of(value: Any) -> str:
    """What to say of a value that may be huge."""
    return f"{value.__name__!r}" if isinstance(value, type) else f"a value of type {type(value).__name__!r}"


def weight_of(value: Any, most: int, weigh_other: Callable[[Any], int]) -> int:
    """How much stands in a value, each thing as often as it stands there; the count ends beyond `most`."""
    weight, waiting = 0, [value]
    while waiting and weight <= most:
        each = waiting.pop()
        if isinstance(each, str | bytes):
            weight += max(1, len(each))
        elif isinstance(each, int):
            weight += 1 + each.bit_length() // 3  # its digits
        elif isinstance(each, float | None):
            weight += 1
        elif not isinstance(each, CONTAINERS):
            weight += weigh_other(each)
        elif weight + len(each) > most:
            return weight + len(each)
        else:
            weight += 1
            waiting.extend(each)
            if isinstance(each, dict):
                waiting.extend(each.values())
    return weight
