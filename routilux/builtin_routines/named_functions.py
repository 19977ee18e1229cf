"""What several built-in routines have in common: functions that have names, and functions in the config."""

from collections.abc import Callable, Mapping
from threading import Lock
from typing import Any

from routilux.builtin_routines.plain_functions import check_function
from routilux.builtin_routines.saved_functions import checked_functions, restored_functions, saved_functions, texts_in
from routilux.callables import remember_callable, restore_callable
from routilux.errors import CallableError, InvalidTypeError, InvalidValueError
from routilux.lambda_source import describe_function
from routilux.plain import shortened
from routilux.routine import Routine
from routilux.saved import Reader

__all__ = ["NamedFunctions"]

REGISTERED_KEY = "_registered"


class NamedFunctions(Routine):
    """A routine that calls functions by name: built-in ones, and those that the application has registered.

    Registered functions are saved with the routine where they can be: functions at module level, lambdas that use
    nothing but their parameters, and methods of the routine itself. Any other has to be registered again after loading.
    Several threads may register functions at once.

    Args:
        kind: What such a function is called, for messages.
        built_in: The functions that are there from the start.
        config_keys: Where the config holds functions, or their names.
        naming_keys: Where it holds nothing but their names.
    """

    def __init__(
        self,
        kind: str,
        built_in: Mapping[str, Callable[..., Any]],
        config_keys: tuple[str, ...],
        naming_keys: tuple[str, ...] = (),
    ) -> None:
        super().__init__()
        self._kind = kind
        self._built_in = built_in
        self._config_keys = config_keys
        self._naming_keys = naming_keys
        # Replaced and never changed: one that a run is reading, or `serialize` walks through, stays as it is.
        self._registered: dict[str, Callable[..., Any]] = {}
        # Two threads that register at once must not lose one. Nothing else is locked while it is held.
        self._registering = Lock()

    def set_config(self, **kwargs: Any) -> None:
        """Set configuration values; the functions among them may come back from saved data.

        Raises:
            TypeError: A value that cannot be, or a function that is `async def`; nothing is set then.
        """
        for key in self._config_keys:
            if key in kwargs:
                self._check_config(key, kwargs[key])
                kwargs[key] = checked_functions(kwargs[key], self, key)
        super().set_config(**kwargs)

    def _check_config(self, key: str, value: Any) -> None:
        """Raises TypeError for a value that this key cannot have."""

    def _require_mapping(self, key: str, value: Any) -> dict[Any, Any]:
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise InvalidTypeError(f"{key} of {self!r} must be a dict, not {shortened(value)}.")
        return value

    def _register(self, name: str, function: Callable[..., Any]) -> None:
        """For the public method of each subclass.

        Raises:
            InvalidValueError: The name is no text, or empty.
            InvalidTypeError: The function cannot be called, is `async def` or a generator function.
        """
        if not isinstance(name, str) or not name:
            raise InvalidValueError(f"Each {self._kind} needs a name: a text that is not empty, not {shortened(name)}.")
        check_function(function, f"The {self._kind} {shortened(name)}")
        remember_callable(function)
        with self._registering:
            self._registered = {**self._registered, name: function}

    def _named(self, name: str) -> Callable[..., Any] | None:
        registered = self._registered
        return registered[name] if name in registered else self._built_in.get(name)

    def _by_name(self) -> dict[str, Callable[..., Any]]:
        """All functions as they are known now: the built-in ones first, each in its place also if it was replaced."""
        return {**self._built_in, **self._registered}

    # -- as data

    def serialize(self, max_depth: int = 100, _current_depth: int = 0) -> dict[str, Any]:
        """The routine as data. Registered functions that cannot be saved are left out; those of the config must be.

        Raises:
            TypeError: A value that is not JSON; the message names the path to it.
            ValueError: A function of the config that cannot be saved; the message names it.
        """
        data = super().serialize(max_depth=max_depth, _current_depth=_current_depth)
        registered: dict[str, Any] = {}
        for name, function in self._registered.items():
            try:
                registered[name] = describe_function(function, self, self._place(name))
            except CallableError:
                continue  # the application registers it again
        return {**data, REGISTERED_KEY: registered}

    def deserialize(self, data: dict[str, Any], strict: bool = False, registry: Any = None) -> None:
        """Take over what `serialize` wrote, in place. What the constructor has registered stays.

        Raises:
            ValueError: A value that cannot be, or a function that saved data may not bring back; the routine is then
                as it was.
        """
        reader = Reader(data, repr(self))
        restored: dict[str, Any] = {}
        for name, saved in reader.mapping(REGISTERED_KEY).items() if REGISTERED_KEY in reader else ():
            if name not in self._registered:
                restored[name] = restore_callable(saved, self, self._place(name))
        super().deserialize(data, strict, registry)
        found = {name: each for name, each in restored.items() if each is not None}
        with self._registering:
            self._registered = {**self._registered, **found}

    def _place(self, name: str) -> str:
        return f"The {self._kind} {shortened(name)} of {self!r}"

    def _config_to_save(self) -> dict[str, Any]:
        config = self.config()
        for key in self._config_keys:
            if key in config:
                config[key] = saved_functions(config[key], self, key)
        return config

    def _named_and_not_saved(self) -> list[tuple[str, str]]:
        config, lost = self.config(), []
        named = {name for key in (*self._config_keys, *self._naming_keys) for name in texts_in(config.get(key))}
        for name, function in self._registered.items():
            if name in named:
                try:
                    describe_function(function, self, self._place(name))
                except CallableError as error:
                    lost.append((f"the {self._kind} {shortened(name)}", str(error)))
        return lost

    def _config_from_saved(self, saved: dict[str, Any]) -> dict[str, Any]:
        config = dict(saved)
        for key in self._config_keys:
            if key in config:
                config[key] = restored_functions(config[key], self, key)
                self._check_config(key, config[key])
        return config
