"""ConditionalRouter: data go the way whose condition they meet."""

from threading import RLock
from typing import Any

from routilux.builtin_routines.any_value import value_received
from routilux.builtin_routines.control_flow.conditions import (
    LEVELS,
    Matcher,
    check_condition,
    matcher_of,
    read_condition,
    saved_condition,
)
from routilux.builtin_routines.saved_functions import restored_functions
from routilux.errors import InvalidDataError, InvalidTypeError, InvalidValueError, UnknownNameError
from routilux.event import Event
from routilux.plain import shortened
from routilux.registration import registered
from routilux.routine import Routine

__all__ = ["ConditionalRouter"]

PARAMETERS = ["data", "route"]
UNMATCHED = "unmatched"
PRIORITIES = ("first_match", "all_matches")


@registered
class ConditionalRouter(Routine):
    """Emits data on the event of the route whose condition they meet.

    Slot `input`: anything. Each route has an event of its name, with `data` and `route`. Where no condition holds, the
    event is `default_route`, or without one `output`, with `route="unmatched"`.

    A condition is one of:

    - a text over `data`, `config` (this routine's) and `stats` (an empty dict), such as `data["n"] > config["limit"]`;
      see `routilux.expressions.Expression` for what it may say,
    - a function: one parameter gets the data; of two, one called `data`, `config` or `stats` gets that, and another one
      what is left of data and config; more get what they are called. Other parameters with a default keep it,
    - a dict: data that have all of its fields with equal values; an expected value that is a function is asked.

    A condition that raises, or whose answer is neither true nor false, does not hold.

    Functions are saved by name if they stand at module level; a lambda, or a nested function of one `return`, as an
    expression if it uses nothing but its parameters. Any other works, and `serialize` refuses it, naming the route;
    so it does with a dict that has something in it which JSON cannot hold, or a tuple.

    Config:
        routes: A list of (name, condition) pairs ([]).
        default_route: The event for data that meet no condition (None).
        route_priority: "first_match", or "all_matches" to emit on every route whose condition holds ("first_match").
    """

    def __init__(self) -> None:
        super().__init__()
        # Guards the routes and their events against two threads that change them at once. Taken before any other lock.
        self._changing = RLock()
        # The routes that the matchers were made for, entry by entry, and the matchers; replaced as one.
        self._ready: tuple[list[Any], list[tuple[str, Matcher]]] = ([], [])
        self.set_config(routes=[], default_route=None, route_priority="first_match")
        self.input_slot = self.define_slot("input", handler=self._route_input)
        self.default_output = self.define_event("output", PARAMETERS)

    def set_config(self, **kwargs: Any) -> None:
        """Set configuration values. Routes are checked, and get their events.

        Raises:
            ValueError: A condition as text that is no expression (the message names the route), or an unknown
                priority; nothing is set then.
            TypeError: Routes that are no list of (name, condition) pairs, or a condition that is no text, dict or
                plain function, or a function of more than two parameters that are not called data, config and stats.
        """
        _check_config(kwargs, self)
        if kwargs.get("routes") is not None:
            kwargs["routes"] = list(kwargs["routes"])
            # Parsing takes time, and those that are there already have been.
            checked = {id(pair) for pair in self.get_config("routes") or [] if type(pair) is tuple}
            for pair in kwargs["routes"]:
                if id(pair) not in checked:
                    check_condition(pair[1], self, _place(pair[0]))
        with self._changing:
            super().set_config(**kwargs)
            self._define_events(kwargs)

    def add_route(self, name: str, condition: Any) -> None:
        """Append a route, and define its event. Several threads may do so at once.

        Raises:
            ValueError: A text that is no expression; the message names the route.
            TypeError: Not a text, dict or function; a function that is `async def`, or has more than two parameters
                that are not called data, config and stats.
        """
        # Not the others once more: one that came out of a file may be no expression, and is not what is added.
        _check_config({"routes": [(name, condition)]}, self)
        check_condition(condition, self, _place(name))
        with self._changing:
            # A new list: a run that reads the present one is not disturbed.
            super().set_config(routes=[*(self.get_config("routes") or []), (name, condition)])
            self._event_of(name)

    def _define_events(self, config: dict[str, Any]) -> None:
        names = [name for name, _ in config.get("routes") or []]
        for name in [*names, config.get("default_route")]:
            if name is not None:
                self._event_of(name)

    def _event_of(self, name: str) -> Event:
        with self._changing:
            return self.get_event(name) or self.define_event(name, PARAMETERS)

    # -- routing

    def _route_input(self, /, **received: Any) -> None:
        value, config = value_received(self, received), self.config()
        stats: dict[str, Any] = {}
        is_first_only = config.get("route_priority") != "all_matches"
        is_matched = False
        for name, matches in self._matchers(config):
            if matches(value, config, stats):
                is_matched = True
                self._send(name, value, name)
                if is_first_only:
                    return
        if not is_matched:
            default = config.get("default_route")
            self._send(default or "output", value, default or UNMATCHED)

    def _send(self, event_name: str, data: Any, route: str) -> None:
        if self.get_event(event_name) is None:
            self._event_of(event_name)
        self.emit(event_name, data=data, route=route)

    def _matchers(self, config: dict[str, Any]) -> list[tuple[str, Matcher]]:
        """What is asked for each route. Made when it is first used: loading parses nothing."""
        routes = list(config.get("routes") or [])
        known, matchers = self._ready
        if len(known) != len(routes) or any(one is not other for one, other in zip(known, routes, strict=True)):
            _check_config({"routes": routes}, self)
            matchers = [(name, matcher_of(condition, f"{_place(name)} of {self!r}")) for name, condition in routes]
            self._ready = (routes, matchers)
        return matchers

    # -- as data

    def deserialize(self, data: dict[str, Any], strict: bool = False, registry: Any = None) -> None:
        """Take over what `serialize` wrote, in place, and define the events of the routes.

        Conditions that are texts are parsed when they are used: one that is no expression never holds.

        Raises:
            ValueError: A value that cannot be, or a function that saved data may not bring back; the routine is then
                as it was.
        """
        super().deserialize(data, strict, registry)
        self._define_events(self._config)

    def _config_to_save(self) -> dict[str, Any]:
        config = self.config()
        if config.get("routes"):
            _check_config({"routes": config["routes"]}, self)
            config["routes"] = [
                [name, saved_condition(condition, self, _place(name))] for name, condition in config["routes"]
            ]
        return config

    def _config_from_saved(self, saved: dict[str, Any]) -> dict[str, Any]:
        try:
            routes = saved.get("routes")
            if routes is not None:
                _check_pairs(routes, self)
                restored = [[name, restored_functions(each, self, _place(name), LEVELS)] for name, each in routes]
                saved = {**saved, "routes": restored}
            _check_config(saved, self)
        except InvalidTypeError as error:
            raise InvalidDataError(str(error)) from error
        return saved


def _place(name: Any) -> str:
    return f"The condition of route {shortened(name)}"


def _check_config(config: dict[str, Any], owner: ConditionalRouter) -> None:
    """Refuse values that no router can have; conditions are not parsed."""
    routes = config.get("routes")
    if routes is not None:
        _check_pairs(routes, owner)
        for name, condition in routes:
            read_condition(condition, owner, _place(name))
    default = config.get("default_route")
    if default is not None:
        _check_name(default, f"default_route of {owner!r}")
    priority = config.get("route_priority")
    if priority is not None and (not isinstance(priority, str) or priority not in PRIORITIES):
        raise UnknownNameError("route_priority", priority, PRIORITIES, repr(owner))


def _check_pairs(routes: Any, owner: ConditionalRouter) -> None:
    if not isinstance(routes, list | tuple):
        raise InvalidTypeError(
            f"routes of {owner!r} must be a list of (name, condition) pairs, not {shortened(routes)}."
        )
    for pair in routes:
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise InvalidTypeError(f"A route of {owner!r} must be a (name, condition) pair, not {shortened(pair)}.")
        _check_name(pair[0], f"The name of a route of {owner!r}")


def _check_name(name: Any, where: str) -> None:
    if not isinstance(name, str) or not name:
        raise InvalidValueError(f"{where} must be a text that is not empty, not {shortened(name)}.")
