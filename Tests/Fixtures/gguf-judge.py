"""Lists a model file with the `gguf` package from PyPI: an independent judge of what our writer produced.

Usage: gguf-judge.py FILE          prints keys and tensors, one a line, in file order
       gguf-judge.py --probe       exits 0 if the package is installed
"""
import sys
import zlib

try:
    import gguf
except ImportError:
    sys.exit("gguf is not installed")


def main() -> None:
    if sys.argv[1] == "--probe":
        return
    reader = gguf.GGUFReader(sys.argv[1])
    for field in reader.fields.values():
        if field.name.startswith("GGUF."):
            continue
        kinds = "/".join(kind.name for kind in field.types)
        value = field.contents()
        text = f"{len(value)} items" if isinstance(value, list) else value
        print(f"key {field.name} {kinds} {text}")
    for tensor in reader.tensors:
        shape = ",".join(str(int(n)) for n in tensor.shape)
        crc = zlib.crc32(tensor.data.tobytes())
        print(f"tensor {tensor.name} {tensor.tensor_type.name} {shape} {tensor.n_bytes} {tensor.data_offset} {crc}")  # noqa: E501


main()
