from collections.abc import Callable
from types import TracebackType

class Device:
    pin_factory: object

class Button(Device):
    when_released: Callable[[], None] | None
    def __init__(self, pin: int, *, pull_up: bool = True) -> None: ...
    @property
    def is_pressed(self) -> bool: ...
    def __enter__(self) -> Button: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
