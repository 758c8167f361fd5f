from typing import Any

from typing_extensions import Buffer

_Node = tuple[int, int, bytes | None, bytes | None, bytes | None, tuple[Any, ...]]

def use_powers(table: Buffer, /) -> None: ...

class Reader:
    def __new__(cls, program: tuple[object, ...]) -> Reader: ...
    def read(self, body: Buffer, /) -> _Node: ...
