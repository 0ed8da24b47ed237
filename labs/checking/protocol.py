"""Plain data over a socket: what the checker and the student's process say to each other.

A message is one JSON document and the raw bytes of the tensors in it. Reading one never runs code that the other side
chose (there is no pickle), so the trusted side can read what a hostile process writes; anything malformed is a
`ProtocolError`. What has no place in a message, a module for instance, travels as `Opaque`: its kind and nothing else.
"""

from __future__ import annotations

import json
import math
import socket
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

LIMIT = 1 << 30  # bytes in one message, so that a process cannot fill the memory of its checker
_HEAD = struct.Struct("<4sQQ")
_MAGIC = b"lab1"
_DEPTH = 40
_DTYPES = {
    str(value).removeprefix("torch."): value
    for value in vars(torch).values()
    if isinstance(value, torch.dtype) and not str(value).startswith(("torch.q", "torch.bits"))
}


class ProtocolError(Exception):
    """The other side hung up, or what it sent is no message."""


@dataclass(frozen=True)
class Opaque:
    """A value that is no data, named by its kind: "Linear", "generator"."""

    kind: str

    def __repr__(self) -> str:
        return f"an object of type {self.kind}"


def _tensor_bytes(flat: torch.Tensor) -> bytes:
    """The bytes of a contiguous one-dimensional tensor; numpy has no bfloat16, so they are looked at as integers."""
    if not flat.numel():
        return b""
    # A tensor with one element may have any stride, and view() wants 1.
    return flat.as_strided((flat.numel(),), (1,)).view(torch.uint8).numpy().tobytes()


class _Packer:
    def __init__(self) -> None:
        self.blobs: list[bytes] = []
        self._seen: dict[int, dict[str, Any]] = {}
        self._alive: list[object] = []  # ids stay unique as long as the objects live

    def _blob(self, content: bytes) -> int:
        self.blobs.append(content)
        return len(self.blobs) - 1

    def _tensor(self, value: torch.Tensor) -> dict[str, Any]:
        t = value.detach()
        if t.layout != torch.strided:
            t = (t if t.layout == torch.sparse_coo else t.to_sparse()).coalesce().cpu()
            return {"": "sparse", "i": self.pack(t.indices()), "v": self.pack(t.values()), "n": list(t.shape)}
        t = t.cpu().resolve_conj().resolve_neg()
        packed: dict[str, Any] = {"": "tensor", "d": str(t.dtype).removeprefix("torch."), "n": list(t.shape)}
        spread = 1 + sum((n - 1) * s for n, s in zip(t.shape, t.stride(), strict=True)) if t.numel() else 0
        if t.is_contiguous() or spread > 4 * t.numel():
            packed["b"] = self._blob(_tensor_bytes(t.contiguous().reshape(-1)))
        else:  # keep the strides: a non-contiguous argument must arrive as one
            packed["b"] = self._blob(_tensor_bytes(t.as_strided((spread,), (1,), t.storage_offset())))
            packed["s"] = list(t.stride())
        return packed

    def pack(self, value: object, depth: int = 0) -> Any:
        if depth > _DEPTH:
            return {"": "opaque", "k": "deeply nested data"}
        if value is None or isinstance(value, (bool, str)):
            return value if not isinstance(value, str) else str(value)
        if isinstance(value, int):
            return {"": "int", "v": str(value)} if abs(value) >> 62 else int(value)
        if isinstance(value, float):
            return float(value) if math.isfinite(value) else {"": "float", "v": repr(float(value))}
        if isinstance(value, complex):
            return {"": "complex", "v": [self.pack(value.real), self.pack(value.imag)]}
        if isinstance(value, bytes):
            return {"": "bytes", "b": self._blob(bytes(value))}
        if isinstance(value, torch.Tensor):
            if id(value) not in self._seen:
                self._alive.append(value)
                self._seen[id(value)] = self._tensor(value) | {"id": len(self._seen)}
            return self._seen[id(value)]
        if isinstance(value, (np.ndarray, np.generic)):
            if value.dtype.kind not in "biufc":
                return {"": "opaque", "k": f"numpy array of {value.dtype}"}
            blob = self._blob(np.ascontiguousarray(value).tobytes())
            kind = "array" if isinstance(value, np.ndarray) else "scalar"
            return {"": kind, "d": value.dtype.str, "n": list(value.shape), "b": blob}
        if isinstance(value, torch.dtype):
            return {"": "dtype", "v": str(value).removeprefix("torch.")}
        if isinstance(value, torch.device):
            return {"": "device", "v": str(value)}
        if isinstance(value, slice):
            return {"": "slice", "v": [self.pack(part, depth + 1) for part in (value.start, value.stop, value.step)]}
        if isinstance(value, (tuple, list, set, frozenset)):
            kind = next(name for name, kinds in _SEQUENCES.items() if isinstance(value, kinds))
            return {"": kind, "v": [self.pack(item, depth + 1) for item in value]}
        if isinstance(value, dict):
            return {"": "dict", "v": [[self.pack(k, depth + 1), self.pack(v, depth + 1)] for k, v in value.items()]}
        if isinstance(value, Opaque):
            return {"": "opaque", "k": value.kind}
        return {"": "opaque", "k": type(value).__name__}


_SEQUENCES: dict[str, tuple[type, ...]] = {"list": (list,), "tuple": (tuple,), "set": (set, frozenset)}


class _Unpacker:
    def __init__(self, blobs: list[memoryview]) -> None:
        self.blobs = blobs
        self._seen: dict[int, torch.Tensor] = {}

    def _tensor(self, value: dict[str, Any]) -> torch.Tensor:
        if value["id"] not in self._seen:
            dtype, shape = _DTYPES[value["d"]], [int(n) for n in value["n"]]
            # With strides of 0, few bytes can claim to be many.
            if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize > LIMIT:
                raise ProtocolError("a tensor of an impossible size")
            blob = self.blobs[value["b"]]
            flat = torch.frombuffer(bytearray(blob), dtype=dtype) if len(blob) else torch.empty(0, dtype=dtype)
            self._seen[value["id"]] = (
                torch.as_strided(flat, shape, [int(s) for s in value["s"]]) if "s" in value else flat.reshape(shape)
            )
        return self._seen[value["id"]]

    def unpack(self, value: Any) -> Any:
        if not isinstance(value, dict):
            if isinstance(value, list):
                raise ProtocolError("a bare list")
            return value
        match value[""]:
            case "int" | "float" as kind:
                return int(value["v"]) if kind == "int" else float(value["v"])
            case "complex":
                return complex(*(self.unpack(part) for part in value["v"]))
            case "bytes":
                return bytes(self.blobs[value["b"]])
            case "tensor":
                return self._tensor(value)
            case "sparse":
                parts = self.unpack(value["i"]), self.unpack(value["v"])
                return torch.sparse_coo_tensor(*parts, [int(n) for n in value["n"]], check_invariants=True).coalesce()
            case "array" | "scalar" as kind:
                array = np.frombuffer(self.blobs[value["b"]], np.dtype(str(value["d"]))).reshape(value["n"]).copy()
                return array if kind == "array" else array[()]
            case "dtype":
                return _DTYPES[value["v"]]
            case "device":
                return torch.device(value["v"])
            case "slice":
                return slice(*(self.unpack(part) for part in value["v"]))
            case "list" | "tuple" | "set" as kind:
                items = [self.unpack(item) for item in value["v"]]
                return items if kind == "list" else tuple(items) if kind == "tuple" else set(items)
            case "dict":
                return {self.unpack(k): self.unpack(v) for k, v in value["v"]}
            case "opaque":
                return Opaque(str(value["k"])[:80])
        raise ProtocolError(f"an unknown kind {value['']!r}")


def _receive(connection: socket.socket, count: int) -> bytearray:
    content = bytearray(count)
    view = memoryview(content)
    while view:
        got = connection.recv_into(view)
        if not got:
            raise ProtocolError("the other side hung up")
        view = view[got:]
    return content


def send(connection: socket.socket, message: dict[str, Any]) -> None:
    """Write a message: a dictionary of data, as a whole."""
    packer = _Packer()
    text = json.dumps({key: packer.pack(value) for key, value in message.items()}).encode()
    sizes = struct.pack(f"<{len(packer.blobs) + 1}Q", len(packer.blobs), *map(len, packer.blobs))
    connection.sendall(_HEAD.pack(_MAGIC, len(text), len(sizes) + sum(map(len, packer.blobs))) + text + sizes)
    for blob in packer.blobs:
        connection.sendall(blob)


def receive(connection: socket.socket) -> dict[str, Any]:
    """Read one message. Raises ProtocolError; a time limit of the socket is raised as TimeoutError."""
    magic, text_size, rest_size = _HEAD.unpack(bytes(_receive(connection, _HEAD.size)))
    if magic != _MAGIC or text_size + rest_size > LIMIT or rest_size < 8:
        raise ProtocolError("that is no message, or it is too long")
    text = _receive(connection, text_size)
    rest = memoryview(_receive(connection, rest_size))
    try:
        count = struct.unpack_from("<Q", rest)[0]
        sizes = struct.unpack_from(f"<{count}Q", rest, 8)
        blobs, at = [], 8 * (count + 1)
        for size in sizes:
            blobs.append(rest[at : at + size])
            at += size
        unpacker = _Unpacker(blobs)
        return {str(key): unpacker.unpack(value) for key, value in json.loads(text).items()}
    except ProtocolError:
        raise
    except Exception as error:  # whatever malformed data can cause: they come from a process that nobody trusts
        raise ProtocolError(f"that is no message ({type(error).__name__})") from None
