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
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

LIMIT = 1 << 30  # bytes in one message, and of all that is made of it
_TEXT = 32 << 20  # bytes of the JSON document alone: what it becomes in memory is up to thirty times as much
_ITEMS = 1_000_000  # values in one message
_KEYS = 100_000  # entries of one set or dictionary
_ALIKE = 100  # of them with the same hash: each is compared with all before it
_DIMENSIONS = 64
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


class Malformed(ProtocolError):
    """What the other side sent is no message, or says more than may be said."""


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


def _text(value: str) -> str:
    """A text that can be written: half of a surrogate pair is no character, and becomes a question mark."""
    return value if value.isascii() else value.encode("utf-8", "replace").decode("utf-8")


def _hashed(kind: type[set[Any]] | type[dict[Any, Any]], keys: list[Any], entries: list[Any]) -> Any:
    """A set or a dictionary; raises ProtocolError where it is made to take long."""
    hashes: dict[int, int] = {}
    for key in keys:
        number = hash(key) % ((1 << 61) - 1)
        hashes[number] = hashes.get(number, 0) + 1
        if hashes[number] > _ALIKE:
            raise Malformed("a set or a dictionary whose keys have the same hash")
    return kind(entries)


class _Unpacker:
    """Makes values of what was sent. All that it makes is counted before it is made."""

    def __init__(self, blobs: list[memoryview], limit: int) -> None:
        self.blobs = blobs
        self._bytes, self._items = limit, _ITEMS
        self._seen: dict[int, torch.Tensor] = {}

    def _shape(self, value: dict[str, Any], itemsize: int) -> list[int]:
        """The shape of a tensor or an array that is about to be made. Raises ProtocolError where it is too large."""
        shape = [int(n) for n in value["n"][: _DIMENSIONS + 1]]
        if len(shape) > _DIMENSIONS or min(shape, default=0) < 0:
            raise Malformed("a tensor of an impossible size")
        self._count(math.prod(shape) * itemsize)
        return shape

    def _count(self, size: int) -> None:
        self._bytes -= size
        if self._bytes < 0:
            raise Malformed("the values in it are too large together")

    def _sparse(self, value: dict[str, Any]) -> torch.Tensor:
        # A sparse tensor of a few bytes can stand for a dense one of any size, and a comparison makes it dense.
        values = self.unpack(value["v"], 0)
        shape = self._shape(value, values.element_size())
        indices = self.unpack(value["i"], 0)
        return torch.sparse_coo_tensor(indices, values, shape, check_invariants=True).coalesce()

    def _tensor(self, value: dict[str, Any]) -> torch.Tensor:
        if value["id"] not in self._seen:
            dtype = _DTYPES[value["d"]]
            blob = self.blobs[value["b"]]
            self._count(len(blob))
            shape = self._shape(value, dtype.itemsize)  # with strides of 0, few bytes can claim to be many
            flat = torch.frombuffer(bytearray(blob), dtype=dtype) if len(blob) else torch.empty(0, dtype=dtype)
            self._seen[value["id"]] = (
                torch.as_strided(flat, shape, [int(s) for s in value["s"]]) if "s" in value else flat.reshape(shape)
            )
        return self._seen[value["id"]]

    def unpack(self, value: Any, depth: int = 0) -> Any:
        self._items -= 1
        if self._items < 0 or depth > 2 * _DEPTH:
            raise Malformed("it has too many values in it, or they are nested too deeply")
        if not isinstance(value, dict):
            if isinstance(value, list):
                raise Malformed("a bare list")
            return _text(value) if isinstance(value, str) else value
        depth += 1
        match value[""]:
            case "int" | "float" as kind:
                return int(value["v"]) if kind == "int" else float(value["v"])
            case "complex":
                return complex(*(self.unpack(part, depth) for part in value["v"]))
            case "bytes":
                self._count(len(self.blobs[value["b"]]))
                return bytes(self.blobs[value["b"]])
            case "tensor":
                return self._tensor(value)
            case "sparse":
                return self._sparse(value)
            case "array" | "scalar" as kind:
                dtype = np.dtype(str(value["d"]))
                if dtype.kind not in "biufc":
                    raise Malformed("an array of no numbers")
                array = np.frombuffer(self.blobs[value["b"]], dtype).reshape(self._shape(value, dtype.itemsize)).copy()
                return array if kind == "array" else array[()]
            case "dtype":
                return _DTYPES[value["v"]]
            case "device":
                return torch.device(value["v"])
            case "slice":
                return slice(*(self.unpack(part, depth) for part in value["v"]))
            case "list" | "tuple" | "set" as kind:
                if kind == "set" and len(value["v"]) > _KEYS:
                    raise Malformed("a set that is too large")
                items = [self.unpack(item, depth) for item in value["v"]]
                return items if kind == "list" else tuple(items) if kind == "tuple" else _hashed(set, items, items)
            case "dict":
                if len(value["v"]) > _KEYS:
                    raise Malformed("a dictionary that is too large")
                pairs = [(self.unpack(k, depth), self.unpack(v, depth)) for k, v in value["v"]]
                return _hashed(dict, [key for key, _ in pairs], pairs)
            case "opaque":
                return Opaque(_text(str(value["k"])[:80]))
        raise Malformed(f"an unknown kind {value['']!r}")


def _receive(connection: socket.socket, count: int, until: float | None) -> bytearray:
    content = bytearray(count)
    view = memoryview(content)
    while view:
        if until is not None:
            if (left := until - time.monotonic()) <= 0:
                raise TimeoutError
            connection.settimeout(left)
        got = connection.recv_into(view)
        if not got:
            raise ProtocolError("the other side hung up")
        view = view[got:]
    return content


def send(connection: socket.socket, message: dict[str, Any]) -> int:
    """Write a message: a dictionary of data, as a whole. Returns its size in bytes."""
    packer = _Packer()
    text = json.dumps({key: packer.pack(value) for key, value in message.items()}).encode()
    sizes = struct.pack(f"<{len(packer.blobs) + 1}Q", len(packer.blobs), *map(len, packer.blobs))
    rest = len(sizes) + sum(map(len, packer.blobs))
    connection.sendall(_HEAD.pack(_MAGIC, len(text), rest) + text + sizes)
    for blob in packer.blobs:
        connection.sendall(blob)
    return _HEAD.size + len(text) + rest


def receive(connection: socket.socket, limit: int = LIMIT, until: float | None = None) -> dict[str, Any]:
    """Read one message.

    limit: bytes that it may have, and that the values may have which are made of it. until: when all of it must be
    here (time.monotonic); without it, the time limit of the socket counts for each piece. Raises ProtocolError, and
    TimeoutError when it is late.
    """
    magic, text_size, rest_size = _HEAD.unpack(bytes(_receive(connection, _HEAD.size, until)))
    if magic != _MAGIC or rest_size < 8:
        raise Malformed("that is no message")
    if text_size > _TEXT or text_size + rest_size > limit:
        raise Malformed(f"what it sent is larger than {limit >> 20} MiB")
    text = _receive(connection, text_size, until)
    rest = memoryview(_receive(connection, rest_size, until))
    try:
        count = struct.unpack_from("<Q", rest)[0]
        sizes = struct.unpack_from(f"<{count}Q", rest, 8)
        blobs, at = [], 8 * (count + 1)
        for size in sizes:
            blobs.append(rest[at : at + size])
            at += size
        unpacker = _Unpacker(blobs, limit)
        return {_text(str(key)): unpacker.unpack(value) for key, value in json.loads(text).items()}
    except ProtocolError:
        raise
    except Exception as error:  # whatever malformed data can cause: they come from a process that nobody trusts
        raise Malformed(f"that is no message ({type(error).__name__})") from None
