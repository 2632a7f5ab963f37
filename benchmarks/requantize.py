"""Writes a GGUF file with its matrices in another quantization, for tiers of one checkpoint at several precisions.

    python benchmarks/requantize.py MODEL.gguf OUT.gguf --type Q3_K

The weights of the layers are dequantized and quantized again by ggml's own functions, which the library of `xllamacpp`
exports; embeddings, the output matrix, norms and biases stay as they are. Nothing is gained above the precision of the
file at hand: Q8_0 made from Q4_K has the quality of Q4_K. A matrix whose rows do not fit the blocks of a type keeps
its own type. Types that need an importance matrix (IQ1, IQ2) are refused.
"""

from __future__ import annotations

import argparse
import ctypes
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import xllamacpp
from gguf import GGMLQuantizationType, GGUFReader, GGUFValueType, GGUFWriter
from gguf.constants import GGML_QUANT_SIZES, Keys, LlamaFileType
from gguf.quants import dequantize

FILE_TYPES = {
    "Q2_K": LlamaFileType.MOSTLY_Q2_K,
    "Q3_K": LlamaFileType.MOSTLY_Q3_K_M,
    "Q4_0": LlamaFileType.MOSTLY_Q4_0,
    "Q4_K": LlamaFileType.MOSTLY_Q4_K_M,
    "Q5_K": LlamaFileType.MOSTLY_Q5_K_M,
    "Q6_K": LlamaFileType.MOSTLY_Q6_K,
    "Q8_0": LlamaFileType.MOSTLY_Q8_0,
}


class Quantizer:
    """ggml's quantization.

    Args:
        name: of the type.

    Raises:
        SystemExit: the type needs an importance matrix, or the library does not export ggml's functions.
    """

    def __init__(self, name: str) -> None:
        self.type = GGMLQuantizationType[name]
        self.block, self.bytes = GGML_QUANT_SIZES[self.type]
        (library,) = Path(xllamacpp.__file__).parent.glob("xllamacpp*.so")
        ggml = ctypes.CDLL(str(library))
        if not hasattr(ggml, "ggml_quantize_chunk"):
            raise SystemExit(f"{library.name} does not export ggml_quantize_chunk; take another version of xllamacpp")
        ggml.ggml_quantize_requires_imatrix.restype = ctypes.c_bool
        if ggml.ggml_quantize_requires_imatrix(ctypes.c_int(self.type)):
            raise SystemExit(f"{name} needs an importance matrix; types without one: {', '.join(FILE_TYPES)}")
        self._quantize = ggml.ggml_quantize_chunk
        self._quantize.restype = ctypes.c_size_t
        self._quantize.argtypes = [
            ctypes.c_int,
            ctypes.c_void_p,
            ctypes.c_void_p,
            ctypes.c_int64,
            ctypes.c_int64,
            ctypes.c_int64,
            ctypes.c_void_p,
        ]

    def fits(self, columns: int) -> bool:
        """Whether rows of this many weights can be quantized."""
        return columns % self.block == 0

    def __call__(self, weights: np.ndarray) -> np.ndarray:
        """Quantize a matrix.

        Args:
            weights: float32, rows × columns.

        Returns:
            uint8, rows × bytes of a row.
        """
        rows, columns = weights.shape
        source = np.ascontiguousarray(weights, dtype=np.float32)
        found = np.zeros((rows, columns // self.block * self.bytes), dtype=np.uint8)
        written = self._quantize(self.type, source.ctypes.data, found.ctypes.data, 0, rows, columns, None)
        if written != found.nbytes:
            raise RuntimeError(f"ggml wrote {written} bytes, and {found.nbytes} were expected")
        return found


def copy_metadata(reader: GGUFReader, writer: GGUFWriter, file_type: LlamaFileType) -> None:
    """All that a file says of itself, with another type of quantization."""
    for name, one in reader.fields.items():
        if name.startswith("GGUF.") or name == Keys.General.ARCHITECTURE:
            continue
        kind = one.types[0]
        value = int(file_type) if name == Keys.General.FILE_TYPE else one.contents()
        writer.add_key_value(name, value, kind, one.types[-1] if kind is GGUFValueType.ARRAY else None)


def requantize(source: Path, target: Path, name: str) -> Counter[str]:
    """Write a file with its layers' matrices in another quantization.

    Args:
        source: a GGUF file.
        target: the new one.
        name: of the type.

    Returns:
        How many tensors have each type.

    Raises:
        SystemExit: ggml cannot quantize to the type without an importance matrix.
    """
    quantize, reader = Quantizer(name), GGUFReader(source)
    architecture = str(reader.fields[Keys.General.ARCHITECTURE].contents())
    partial = target.with_suffix(".partial")
    writer = GGUFWriter(partial, architecture)
    copy_metadata(reader, writer, FILE_TYPES[name])
    types: Counter[str] = Counter()
    for tensor in reader.tensors:
        is_matrix = tensor.name.startswith("blk.") and len(tensor.shape) == 2
        if is_matrix and quantize.fits(int(tensor.shape[0])):
            weights = quantize(dequantize(tensor.data, tensor.tensor_type))
            writer.add_tensor(tensor.name, weights, raw_dtype=quantize.type)
            types[name] += 1
        else:
            writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
            types[tensor.tensor_type.name] += 1
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    partial.rename(target)
    return types


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--type", choices=FILE_TYPES, required=True)
    wanted = parser.parse_args()
    if wanted.out.exists():
        sys.exit(f"{wanted.out} exists; give another name, or remove it")
    types = requantize(wanted.model, wanted.out, wanted.type)
    counted = ", ".join(f"{count} {name}" for name, count in types.most_common())
    print(f"{wanted.out}: {wanted.out.stat().st_size / 2**20:.0f} MiB, tensors: {counted}")


if __name__ == "__main__":
    main()
