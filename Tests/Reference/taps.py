"""The .taps format: named arrays, readable with a dozen lines of code in any language.

    taps 1
    NAME DTYPE NDIM D0 ... OFFSET STEP MEAN ABSMEAN
    ...
    (an empty line)
    raw little-endian data

D0 ... are the array's full dimensions, slowest first. Seen as rows of the last dimension, row 0, STEP, 2
STEP, ... are stored, one after the other, at byte OFFSET from the first byte after the empty line. MEAN and
ABSMEAN are taken over the whole array in double precision. DTYPE is f32, i32 or u8.
"""

import numpy as np

TYPES = {"f32": "<f4", "i32": "<i4", "u8": "u1"}


def write_taps(path, taps, steps=None):
    header, chunks, offset = ["taps 1"], [], 0
    for name, value in taps.items():
        value = np.asarray(value)
        kind = {"f": "f32", "i": "i32", "u": "u8", "b": "u8"}[value.dtype.kind]
        value = value.astype(TYPES[kind])
        step = (steps or {}).get(name, 1)
        rows = value.reshape(-1, value.shape[-1])[::step]
        data = np.ascontiguousarray(rows).tobytes()
        mean = value.astype(np.float64).mean() if value.size else 0.0
        size = np.abs(value.astype(np.float64)).mean() if value.size else 0.0
        header.append(f"{name} {kind} {value.ndim} {' '.join(map(str, value.shape))} {offset} {step} "
                      f"{mean:.9g} {size:.9g}")
        data += b"\0" * (-len(data) % 4)
        chunks.append(data)
        offset += len(data)
    with open(path, "wb") as out:
        out.write(("\n".join(header) + "\n\n").encode("ascii"))
        for chunk in chunks:
            out.write(chunk)


def read_taps(path):
    """name -> (stored rows, full shape, step, mean, absmean)"""
    with open(path, "rb") as file:
        content = file.read()
    end = content.index(b"\n\n") + 2
    out = {}
    for line in content[:end].decode("ascii").splitlines()[1:]:
        if not line:
            continue
        name, kind, ndim, *rest = line.split()
        shape = tuple(map(int, rest[:int(ndim)]))
        offset, step = map(int, rest[int(ndim):int(ndim) + 2])
        mean, size = map(float, rest[int(ndim) + 2:])
        rows = int(np.prod(shape[:-1])) if shape else 1
        stored = -(-rows // step)
        data = np.frombuffer(content, TYPES[kind], stored * shape[-1], end + offset).reshape(stored,
                shape[-1])
        out[name] = (data, shape, step, mean, size)
    return out
