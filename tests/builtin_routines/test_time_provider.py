"""TimeProvider answers each request with the present time."""

import re
import threading
import time
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routilux.builtin_routines import TimeProvider
from routilux.builtin_routines.utils import time_provider
from routilux.testing import FakeClock
from tests.deliveries import ODD_VALUES, answer, run_restored, two_runs_at_once
from tests.drawings import Gate

NOW = 1_700_000_000.0


def provider(at=NOW, **config):
    routine = TimeProvider()
    routine.clock = FakeClock(at)
    routine.set_config(**config)
    return routine


def asked(routine, **data):
    return answer(routine, "request", **data)


def told(at=NOW, **config):
    return asked(provider(at, **config))["time_string"]


def local(text, at=NOW):
    return datetime.fromtimestamp(at).strftime(text)


def test_the_defaults_stand_in_the_config():
    assert TimeProvider().config() == {
        "format": "iso",
        "custom_format": "%Y-%m-%d %H:%M:%S",
        "include_weekday": True,
        "locale": "zh_CN",
    }


@pytest.mark.parametrize("wanted", ["iso", "timestamp", "formatted", "custom", None])
def test_an_empty_config_means_the_defaults(wanted):
    routine = provider()
    routine._config.clear()
    assert asked(routine, format=wanted) == asked(provider(), format=wanted)


def test_the_slot_is_called_request_and_its_attribute_trigger_slot():
    routine = TimeProvider()
    assert routine.trigger_slot is routine.get_slot("request")
    assert routine.output_event is routine.get_event("output")
    assert routine.get_slot("trigger") is None
    assert routine.get_slot("input") is None


def test_one_instant_is_told_in_four_forms():
    assert asked(provider()) == {
        "time_string": datetime.fromtimestamp(NOW).isoformat(),
        "timestamp": NOW,
        "datetime": datetime.fromtimestamp(NOW).isoformat(),
        "formatted": local("%Y-%m-%d %H:%M:%S"),
    }


def test_it_is_the_time_of_the_machine():
    before = time.time()
    answered = asked(TimeProvider())
    assert before <= answered["timestamp"] <= time.time()
    instant = datetime.fromtimestamp(answered["timestamp"], UTC)
    assert datetime.fromisoformat(answered["datetime"]).astimezone(UTC) == instant


def test_a_timestamp_is_the_seconds_since_the_epoch_as_text():
    assert told(format="timestamp") == "1700000000.0"


@pytest.mark.parametrize("day", range(7))
def test_formatted_is_chinese_with_the_day_of_the_week(day):
    at = NOW + day * 86400
    weekday = "一二三四五六日"[datetime.fromtimestamp(at).weekday()]
    date, clock = local("%Y %m %d", at).split(), local("%H:%M:%S", at)
    assert told(at, format="formatted") == f"{date[0]}年{date[1]}月{date[2]}日，星期{weekday}，{clock}"


@pytest.mark.parametrize("locale", ["en_US", "de_DE", "", None, 5])
def test_formatted_is_english_elsewhere(locale):
    assert told(format="formatted", locale=locale) == local("%A, %B %d, %Y %H:%M:%S")


@pytest.mark.parametrize("month", range(12))
def test_formatted_is_english_also_where_the_process_speaks_another_language(month, monkeypatch):
    class German(datetime):
        """As under `setlocale(LC_ALL, "de_DE")`, which a machine need not have."""

        def strftime(self, wanted: str) -> str:
            return super().strftime(wanted.replace("%A", "Sonntag").replace("%B", "Januar"))

        __format__ = strftime

    at = NOW + month * 30 * 86400
    expected = local("%A, %B %d, %Y %H:%M:%S", at)
    monkeypatch.setattr(time_provider, "datetime", German)
    assert told(at, format="formatted", locale="en_US") == expected


@pytest.mark.parametrize("locale", ["zh_CN", "en_US"])
def test_without_the_day_of_the_week_formatted_is_plain(locale):
    assert told(format="formatted", include_weekday=False, locale=locale) == local("%Y-%m-%d %H:%M:%S")


def test_custom_is_as_the_config_says():
    answered = asked(provider(format="custom", custom_format="%H|%M"))
    assert answered["time_string"] == answered["formatted"] == local("%H|%M")


def test_formatted_of_the_answer_is_always_the_custom_format():
    assert asked(provider(format="iso", custom_format="%H|%M"))["formatted"] == local("%H|%M")


def test_a_request_may_ask_for_a_format():
    routine = provider(format="custom")
    assert asked(routine, format="timestamp")["time_string"] == "1700000000.0"
    assert asked(routine, data={"format": "timestamp"})["time_string"] == "1700000000.0"
    assert asked(routine, data={"format": "timestamp"}, format="iso")["time_string"] == "1700000000.0"
    assert asked(routine, data={"other": 1}, format="timestamp")["time_string"] == "1700000000.0"
    assert asked(routine, data={"format": None}, format=None)["time_string"] == local("%Y-%m-%d %H:%M:%S")
    assert asked(routine)["time_string"] == local("%Y-%m-%d %H:%M:%S")


@pytest.mark.parametrize("wanted", ["", "ISO", "unix", 5, ["iso"], {"iso": 1}, b"custom", "\ud800"])
def test_an_unknown_format_counts_as_iso(wanted):
    iso = datetime.fromtimestamp(NOW).isoformat()
    assert asked(provider(format="custom"), format=wanted)["time_string"] == iso
    assert told(format=wanted) == iso


@pytest.mark.parametrize("custom", [None, 5, ["%H"], b"%H", "\ud800%H"])
def test_a_custom_format_that_is_unusable_counts_as_the_default(custom):
    assert told(format="custom", custom_format=custom) == local("%Y-%m-%d %H:%M:%S")


@given(st.text(st.characters(exclude_categories=()), max_size=8) | st.text("%aAYmd5-#Q\0", max_size=8))
def test_no_custom_format_is_an_error(custom):
    assert isinstance(told(format="custom", custom_format=custom), str)


@pytest.mark.parametrize("name", ODD_VALUES)
def test_every_request_is_answered(name):
    iso = datetime.fromtimestamp(NOW).isoformat()
    for request in ({"data": ODD_VALUES[name]}, {"format": ODD_VALUES[name]}, {"a": ODD_VALUES[name], "self": 1}):
        assert asked(provider(), **request)["time_string"] == iso


def test_it_is_saved_and_restored_and_tells_the_time_again():
    ((_, got),) = run_restored(provider(format="custom", custom_format="year %Y"), {}, slot="request")
    assert re.fullmatch(r"year \d{4}", got["time_string"])


def test_two_runs_at_once_do_not_see_each_other():
    gate, first_asked = Gate(), threading.Event()

    class HeldClock(FakeClock):
        def time_ns(self):
            if not first_asked.is_set():
                first_asked.set()
                gate.hold()
                return 5_000_000_000
            return 7_000_000_000

    routine = provider()
    routine.clock = HeldClock()
    one, other = two_runs_at_once(routine, {"format": "timestamp"}, {"format": "custom"}, gate, "request")
    assert one["time_string"] == "5.0"
    assert other["time_string"] == local("%Y-%m-%d %H:%M:%S", 7)


@given(st.integers(0, 4_000_000_000))
def test_all_forms_are_of_one_instant(seconds):
    answered = asked(provider(float(seconds)), format="timestamp")
    assert float(answered["time_string"]) == answered["timestamp"] == seconds
    assert answered["datetime"].replace("T", " ") == answered["formatted"] == local("%Y-%m-%d %H:%M:%S", seconds)
