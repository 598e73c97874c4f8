"""Which of your words does each pixel of a photo belong to? Trident for small boards, from Python."""

from ._model import Model, segment
from ._native import TridentError, abi, version
from ._result import Result

__all__ = ["Model", "Result", "TridentError", "abi", "segment", "version"]
__version__ = version()
