"""Models and photos: the calls."""

import ctypes
import os
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from . import _native
from ._result import Result

Photo = str | os.PathLike | npt.NDArray[np.uint8]


class Model:
    """A model file made by `trident-quantize`, open.

    `threads`: all cores where None. `memory_limit`: such as "48M". Other settings by name, as trident.h lists
    them (`keep_weights=True`, `cpu_path="avx2"`). The file is mapped, not loaded. Any thread may call; calls
    with one model wait for each other, and other Python threads run meanwhile.

    Raises TridentError.
    """

    def __init__(self, path: str | os.PathLike, *, threads: int | None = None,
                 memory_limit: str | None = None, **settings: object):
        self._handle = ctypes.c_void_p()
        array, count = _native.options({"threads": threads, "memory_limit": memory_limit, **settings})
        error = _native.Error()
        _native.check(_native.library.trident_open(
            _native.text(path), array, count, ctypes.byref(self._handle), ctypes.byref(error)), error)

    def close(self) -> None:
        """Gives the mapping back; results stay. The model cannot be used after it."""
        handle, self._handle = getattr(self, "_handle", None), ctypes.c_void_p()
        if handle:
            _native.library.trident_close(handle)

    __del__ = close

    def __enter__(self) -> "Model":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def plan(self, photo: Photo, classes: Sequence[str] | None = None, *,
             vocabulary: str | os.PathLike | None = None, **options: object) -> int:
        """Private memory, in bytes, that the work will take with what this process holds already; nothing is
        computed. Raises TridentError."""
        request, _kept = _request(photo, classes, vocabulary, options)
        found, error = ctypes.c_size_t(), _native.Error()
        _native.check(_native.library.trident_plan(
            self._open(), ctypes.byref(request), ctypes.byref(found), ctypes.byref(error)), error)
        return found.value

    def segment(self, photo: Photo, classes: Sequence[str] | None = None, *,
                vocabulary: str | os.PathLike | None = None, confidence: bool = True, scores: bool = False,
                progress: Callable[[str, float], object] | None = None, **options: object) -> Result:
        """Labels every pixel with one of `classes`: a phrase each, or synonyms separated by "; ", then
        " := " and a description if you like.

        `photo`: a file, or an array [height, width, 3] of uint8 (RGB), used where it lies unless its pixels
        are scattered. `vocabulary`: a file made by `trident text`, instead of classes. `progress(stage,
        share)` is called now and then; if it returns False the work ends with KeyboardInterrupt. Options by
        name: `refine="none"`, `absent="relevancy"`, `negative="wall; floor"` or a list, `background=True`,
        `templates="seven"` (all, seven, one or a file of sentences) and whatever `trident segment --help`
        lists under Method. Raises TridentError.
        """
        request, _kept = _request(photo, classes, vocabulary, options)
        receiver = _Receiver(confidence, scores, progress)
        error = _native.Error()
        code = _native.library.trident_segment(
            self._open(), ctypes.byref(request), ctypes.byref(receiver.sinks), ctypes.byref(error))
        # Its callbacks know the receiver: while it has them its arrays wait for the collector of cycles.
        receiver.sinks = None
        if receiver.failure is not None:
            raise receiver.failure
        _native.check(code, error)
        return receiver.result()

    def _open(self) -> ctypes.c_void_p:
        if not self._handle:
            raise ValueError("the model is closed")
        return self._handle


def segment(model: str | os.PathLike, photo: Photo, classes: Sequence[str], **options: object) -> Result:
    """One photo with a model that is opened for it alone. As `Model.segment`."""
    with Model(model) as opened:
        return opened.segment(photo, classes, **options)


def _request(photo, classes, vocabulary, options):
    """The request, and what must live as long as it."""
    if isinstance(classes, str):
        raise TypeError('classes is one string; give a list: ["cow", "grass; meadow"]')
    request = _native.Request(size=ctypes.sizeof(_native.Request))
    kept: list[object] = []
    if isinstance(photo, np.ndarray):
        if photo.ndim != 3 or photo.shape[2] != 3 or photo.dtype != np.uint8:
            raise TypeError(
                f"a photo is [height, width, 3] of uint8 (RGB), not {list(photo.shape)} of {photo.dtype}")
        if photo.strides[1:] != (3, 1) or photo.strides[0] < 3 * photo.shape[1]:
            photo = np.ascontiguousarray(photo)
        kept.append(photo)
        request.rgb, request.stride = photo.ctypes.data, photo.strides[0]
        request.height, request.width = photo.shape[:2]
    else:
        request.path = _native.text(photo)
    if classes is not None:
        names = [_native.text(name) for name in classes]
        request.classes, request.class_count = (ctypes.c_char_p * max(1, len(names)))(*names), len(names)
    if vocabulary is not None:
        request.vocabulary = _native.text(vocabulary)
    array, request.option_count = _native.options(options)
    request.options = ctypes.cast(array, ctypes.POINTER(_native.Option))
    kept.append(array)
    return request, kept


class _Receiver:
    """Puts rows into arrays as they come; an exception of a callback is kept and raised by the caller."""

    def __init__(self, confidence, scores, progress):
        self.failure: BaseException | None = None
        self.labels = self.confidence = None
        self.titles: list[str] = []
        self.score_rows: list[np.ndarray] = []
        self.wants_confidence = confidence

        def begin(_, width, height, titles, count):
            self.titles = [titles[i].decode() for i in range(count)]
            self.labels = np.empty((height, width), np.uint16)
            self.confidence = np.empty((height, width), np.uint8) if confidence else None

        def row(_, y, labels, sure):
            ctypes.memmove(self.labels[y].ctypes.data, labels, 2 * self.labels.shape[1])
            if sure:
                ctypes.memmove(self.confidence[y].ctypes.data, sure, self.labels.shape[1])

        def score(_, values, count):
            self.score_rows.append(np.ctypeslib.as_array(values, (count,)).copy())

        def step(_, stage, share):
            if progress(stage.decode(), share) is False:
                raise KeyboardInterrupt("progress ended the work")

        self.sinks = _native.Sinks(
            size=ctypes.sizeof(_native.Sinks), begin=_native.Begin(self._guarded(begin)),
            row=_native.Row(self._guarded(row)), wants_confidence=int(confidence))
        if scores:
            self.sinks.scores = _native.Scores(self._guarded(score))
        if progress:
            self.sinks.progress = _native.Progress(self._guarded(step))

    def _guarded(self, body):
        def call(*arguments):
            try:
                body(*arguments)
                return 0
            except BaseException as failure:
                self.failure = failure
                return 1
        return call

    def result(self) -> Result:
        scores = None
        if self.score_rows:
            columns = len(self.score_rows[0])
            scores = np.stack(self.score_rows).reshape(len(self.titles), -1, columns)
        return Result(self.labels, self.titles, self.confidence, scores)
