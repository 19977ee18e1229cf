"""TimeProvider: tells the time to whom asks for it."""

from datetime import datetime
from typing import Any

from routilux.clock import SYSTEM_CLOCK
from routilux.interfaces import Clock
from routilux.registration import registered
from routilux.routine import Routine

__all__ = ["TimeProvider"]

_PLAIN = "%Y-%m-%d %H:%M:%S"
_WEEKDAYS = "一二三四五六日"

# English, whatever the locale of the process: `strftime` would give the names of that one.
_ENGLISH_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_ENGLISH_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip


@registered
class TimeProvider(Routine):
    """Answers each request with the present time.

    Slot `request`: optionally `format`, itself or in a dict called `data`: "iso", "timestamp", "formatted" or
    "custom". It then counts instead of the configured one. Anything else counts as "iso".

    Event `output`: `time_string` (the time as asked for), `timestamp` (a float, seconds since the epoch), `datetime`
    (ISO 8601), `formatted` (by `custom_format`). All four tell the same instant, in the local time of the machine and
    without a zone.

    The slot is not called "trigger", so no run can begin here: connect a routine that asks.

    Config:
        format: What `time_string` is; "iso". "timestamp" is the float as text.
        custom_format: For `strftime`. One that `strftime` refuses counts as "%Y-%m-%d %H:%M:%S", its default.
        include_weekday: Whether "formatted" tells the day of the week; True. Without it, it is "%Y-%m-%d %H:%M:%S".
        locale: "zh_CN" gives `2023年11月14日，星期二，22:13:20`; anything else gives "%A, %B %d, %Y %H:%M:%S" in
            English.

    Attributes:
        clock: Where the time comes from. A test may assign a `routilux.testing.FakeClock`; it is not saved.
    """

    def __init__(self) -> None:
        super().__init__()
        self.clock: Clock = SYSTEM_CLOCK
        self.trigger_slot = self.define_slot("request", handler=self.tell)
        self.output_event = self.define_event("output", ["time_string", "timestamp", "datetime", "formatted"])
        self.set_config(format="iso", custom_format="%Y-%m-%d %H:%M:%S", include_weekday=True, locale="zh_CN")

    def tell(self, /, **received: Any) -> None:
        """The handler of `request`."""
        data, config = self._extract_input_data(**received), self.config()
        asked = dict.get(data, "format") if isinstance(data, dict) else None
        if asked is None:
            asked = received.get("format")
        if asked is None:
            asked = config.get("format")
        timestamp = self.clock.time_ns() / 1_000_000_000  # of whole numbers: rounded once
        now = datetime.fromtimestamp(timestamp)
        formatted = _by_custom_format(now, config.get("custom_format"))
        answers = {"timestamp": str(timestamp), "formatted": _spelled_out(now, config), "custom": formatted}
        iso = now.isoformat()
        self.emit(
            "output",
            time_string=answers.get(asked, iso) if isinstance(asked, str) else iso,
            timestamp=timestamp,
            datetime=iso,
            formatted=formatted,
        )


def _spelled_out(now: datetime, config: dict[str, Any]) -> str:
    if not config.get("include_weekday", True):
        return now.strftime(_PLAIN)
    if config.get("locale", "zh_CN") == "zh_CN":
        # Not by one `strftime`: what it makes of Chinese characters depends on the machine's locale.
        weekday = _WEEKDAYS[now.weekday()]
        return f"{now:%Y}年{now:%m}月{now:%d}日，星期{weekday}，{now:%H:%M:%S}"
    weekday, month = _ENGLISH_WEEKDAYS[now.weekday()], _ENGLISH_MONTHS[now.month - 1]
    return f"{weekday}, {month} {now:%d}, {now:%Y} {now:%H:%M:%S}"


def _by_custom_format(now: datetime, wanted: Any) -> str:
    try:
        return now.strftime(wanted) if isinstance(wanted, str) else now.strftime(_PLAIN)
    except ValueError:  # NUL, half a character, or a directive that this platform does not have
        return now.strftime(_PLAIN)
