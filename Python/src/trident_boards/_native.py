"""`libtrident.so` as ctypes sees it: the structures and functions of trident.h."""

import ctypes
import os
from ctypes import POINTER, Structure, c_char, c_char_p, c_double, c_float, c_int, c_int32, c_size_t, c_void_p
from pathlib import Path

ABI = 1
CANCELLED = 1


class TridentError(Exception):
    """What the library refused.

    `code`: 2 usage, 3 photo, 4 model or vocabulary, 5 memory or time, 6 system.
    """

    def __init__(self, code: int, text: str):
        super().__init__(text)
        self.code = code

    def __reduce__(self):
        return TridentError, (self.code, str(self))


class Error(Structure):
    _fields_ = [("code", c_int32), ("text", c_char * 1024)]


class Option(Structure):
    _fields_ = [("key", c_char_p), ("value", c_char_p)]


class Request(Structure):
    _fields_ = [
        ("size", c_size_t), ("path", c_char_p), ("rgb", c_void_p), ("width", c_int32), ("height", c_int32),
        ("stride", c_size_t), ("classes", POINTER(c_char_p)), ("class_count", c_size_t),
        ("vocabulary", c_char_p), ("options", POINTER(Option)), ("option_count", c_size_t)]


Begin = ctypes.CFUNCTYPE(c_int, c_void_p, c_int32, c_int32, POINTER(c_char_p), c_size_t)
Row = ctypes.CFUNCTYPE(c_int, c_void_p, c_int32, c_void_p, c_void_p)
Scores = ctypes.CFUNCTYPE(c_int, c_void_p, POINTER(c_float), c_size_t)
Progress = ctypes.CFUNCTYPE(c_int, c_void_p, c_char_p, c_double)


class Sinks(Structure):
    _fields_ = [
        ("size", c_size_t), ("context", c_void_p), ("begin", Begin), ("row", Row),
        ("wants_confidence", c_int32), ("scores", Scores), ("progress", Progress)]


def _load() -> ctypes.CDLL:
    beside = Path(__file__).parent / "libtrident.so"
    wanted = os.environ.get("TRIDENT_LIBRARY")
    for name in [wanted] if wanted else [str(beside), "libtrident.so.0", "libtrident.so"]:
        try:
            found = ctypes.CDLL(name)
            break
        except OSError as error:
            problem = error
    else:
        raise ImportError(
            f"libtrident.so is missing ({problem}); install the package libtrident0, or name the file in "
            "TRIDENT_LIBRARY") from None
    found.trident_abi.restype = c_int32
    if found.trident_abi() != ABI:
        raise ImportError(f"libtrident.so has ABI {found.trident_abi()}, this package needs {ABI}")
    found.trident_version.restype = c_char_p
    found.trident_open.argtypes = [c_char_p, POINTER(Option), c_size_t, POINTER(c_void_p), POINTER(Error)]
    found.trident_close.argtypes = [c_void_p]
    found.trident_close.restype = None
    found.trident_plan.argtypes = [c_void_p, POINTER(Request), POINTER(c_size_t), POINTER(Error)]
    found.trident_segment.argtypes = [c_void_p, POINTER(Request), POINTER(Sinks), POINTER(Error)]
    return found


library = _load()


def abi() -> int:
    """Number of the library's binary interface."""
    return library.trident_abi()


def version() -> str:
    """Release of the library."""
    return library.trident_version().decode()


def text(value: object) -> bytes:
    """As the library takes strings: UTF-8; True and False in lower case.

    Raises TypeError for a zero byte, which would cut it short.
    """
    found = os.fsencode(value) if isinstance(value, os.PathLike) else None
    if found is None:
        found = (str(value).lower() if isinstance(value, bool) else str(value)).encode()
    if b"\0" in found:
        raise TypeError(f"{value!r} holds a zero byte")
    return found


def options(settings: dict[str, object]) -> tuple[ctypes.Array, int]:
    """Settings as an array of options; what is None is left out. A list of negative phrases is one value.

    Raises TypeError for any other list.
    """
    def one(key, value):
        if isinstance(value, (list, tuple)):
            if key != "negative":
                raise TypeError(f"{key} takes one value, not {value!r}")
            value = "; ".join(value)
        return text(key), text(value)
    pairs = [one(key, value) for key, value in settings.items() if value is not None]
    return (Option * max(1, len(pairs)))(*[Option(*pair) for pair in pairs]), len(pairs)


def check(code: int, error: Error) -> None:
    """Raises TridentError for what a function returned."""
    if code:
        raise TridentError(code, error.text.decode(errors="replace"))
