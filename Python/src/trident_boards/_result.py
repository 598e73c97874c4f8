"""What a photo gave."""

import struct
import zlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ._colours import COLOURS


@dataclass(frozen=True)
class Result:
    """Labels of one photo."""

    labels: npt.NDArray[np.uint16]
    """[height, width]: a class number a pixel."""
    names: list[str]
    """What each number is called; the last is "unknown" where pixels may be of no class."""
    confidence: npt.NDArray[np.uint8] | None
    """[height, width]: 255 times the largest class probability."""
    scores: npt.NDArray[np.float32] | None
    """[classes, rows, columns]: cosine scores before upsampling."""

    def mask(self, name: str | int) -> npt.NDArray[np.bool_]:
        """[height, width]: where a class is. Raises ValueError for a name that is none."""
        return self.labels == (name if isinstance(name, int) else self.names.index(name))

    def share(self, name: str | int) -> float:
        """Share of the pixels that a class has, 0 to 1."""
        return float(self.mask(name).mean())

    def present(self) -> dict[str, float]:
        """Classes that are there, with their shares, the largest first."""
        counts = np.bincount(self.labels.ravel(), minlength=len(self.names))
        order = np.argsort(-counts, kind="stable")
        return {self.names[i]: float(counts[i] / self.labels.size) for i in order if counts[i]}

    def table(self) -> list[dict[str, object]]:
        """A row a class, also of those that are not there: `class` (number), `name`, `pixels`, `share` and
        mean `confidence` (None where there are no pixels or no confidence). What data frames take."""
        rows: list[dict[str, object]] = []
        for number, name in enumerate(self.names):
            mask = self.labels == number
            pixels = int(mask.sum())
            sure = None
            if self.confidence is not None and pixels:
                sure = float(self.confidence[mask].mean() / 255)
            rows.append({"class": number, "name": name, "pixels": pixels, "share": pixels / self.labels.size,
                         "confidence": sure})
        return rows

    def to_coco(self, file_name: str = "photo.jpg") -> dict:
        """A COCO data set of this image: an annotation a class, with run lengths that are not compressed
        (pycocotools takes them through `frPyObjects`, and `COCO.annToMask` as they are)."""
        height, width = self.labels.shape
        annotations = []
        for number in np.unique(self.labels).tolist():
            mask = self.labels == number
            ys, xs = np.nonzero(mask)
            left, top = int(xs.min()), int(ys.min())
            annotation = {
                "id": len(annotations) + 1, "image_id": 1, "category_id": number, "iscrowd": 1,
                "area": int(mask.sum()),
                "bbox": [left, top, int(xs.max()) + 1 - left, int(ys.max()) + 1 - top],
                "segmentation": {"size": [height, width], "counts": _run_lengths(mask)}}
            if self.confidence is not None:
                annotation["score"] = float(self.confidence[mask].mean() / 255)
            annotations.append(annotation)
        return {
            "images": [{"id": 1, "file_name": file_name, "width": width, "height": height}],
            "categories": [{"id": i, "name": name} for i, name in enumerate(self.names)],
            "annotations": annotations}

    def colours(self) -> npt.NDArray[np.uint8]:
        """[height, width, 3]: labels in the colours of the label maps that the program writes."""
        return _palette(self.names)[self.labels % 256]

    def _repr_png_(self) -> bytes:
        """What notebooks show."""
        height, width = self.labels.shape
        rows = b"".join(b"\0" + row.tobytes() for row in (self.labels % 256).astype(np.uint8))

        def chunk(kind: bytes, data: bytes) -> bytes:
            return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

        header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
        return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"PLTE", _palette(self.names).tobytes())
                + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def _run_lengths(mask: npt.NDArray[np.bool_]) -> list[int]:
    """Lengths of runs of zeros and ones in turns, column by column, zeros first."""
    flat = mask.ravel(order="F")
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    lengths = np.diff(np.concatenate([[0], changes, [flat.size]])).tolist()
    return [0, *lengths] if flat[0] else lengths


def _palette(names: list[str]) -> npt.NDArray[np.uint8]:
    """The program's palette: black for the background alone, grey for pixels of no class."""
    out = np.frombuffer(COLOURS, np.uint8).reshape(256, 3).copy()
    if names[0] == "background":
        out = np.concatenate([np.zeros((1, 3), np.uint8), out[:-1]])
    if names[-1] == "unknown" and len(names) <= 256:
        out[len(names) - 1] = 128
    return out
