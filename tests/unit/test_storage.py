"""Saving and loading: every kind of pytree, damaged and hostile files, files that do not fit."""

from __future__ import annotations

import dataclasses
import importlib.util
import io
import json
import os
import struct
import sys
import zipfile
from collections import OrderedDict
from typing import Any, NamedTuple

import numpy as np
import pytest

import funcgraph as fg
from funcgraph import optim, tree
from funcgraph.errors import MissingPackageError, StorageError
from funcgraph.io import load, save

FORMATS = [
    ".npz",
    pytest.param(
        ".safetensors",
        marks=pytest.mark.skipif(
            importlib.util.find_spec("safetensors") is None, reason="needs safetensors"
        ),
    ),
]
formats = pytest.mark.parametrize("suffix", FORMATS)


class Pair(NamedTuple):
    a: Any
    b: Any


@tree.register_dataclass
@dataclasses.dataclass
class Point:
    x: Any
    y: Any


def same(a: Any, b: Any) -> None:
    """Both are of one type, and equal bit by bit."""
    assert type(a) is type(b), (a, b)
    if isinstance(a, np.ndarray | np.generic):
        assert a.dtype == b.dtype and a.shape == b.shape
        assert np.ascontiguousarray(a).tobytes() == np.ascontiguousarray(b).tobytes()
    else:
        assert repr(a) == repr(b)


def same_tree(a: Any, b: Any) -> None:
    assert tree.structure(a) == tree.structure(b)
    tree.map(same, a, b)


ARRAYS = {
    "float16": np.array([1.5, -0.0, np.nan], np.float16),
    "float32": np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32),
    "float64": np.array([np.inf, -np.inf, 5e-324]),
    "complex64": np.array([1 + 2j, complex(np.nan, -0.0)], np.complex64),
    "complex128": np.array([[1 + 2j], [3 - 4j]]),
    "bool": np.array([True, False]),
    "int8": np.arange(-3, 3, dtype=np.int8),
    "uint64": np.array([2**64 - 1], np.uint64),
    "zero_d": np.array(3.5),
    "zero_d_complex": np.array(3.5 + 1j),
    "empty": np.zeros((0, 3), np.float32),
    "empty_complex": np.zeros((2, 0), complex),
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "strided": np.arange(20, dtype=np.int32)[::-3],
    "transposed": np.arange(24.0).reshape(2, 3, 4).transpose(2, 0, 1),
    "big_endian": np.arange(5, dtype=">f4"),
    "big_complex": np.arange(5, dtype=">c16"),
    "broadcast": np.broadcast_to(np.float32(2), (2, 2)),
}
TREE = {
    "arrays": ARRAYS,
    "scalars": [np.float32(0.1), np.int64(-5), np.bool_(True), np.complex128(1j)],
    "python": (1, 2.5, -0.0, float("inf"), 1 + 2j, True, None, "text\n\0\ud800é", 10**30),
    "empty": [{}, [], (), None],
    "key": fg.random.key(3),
    3: "an integer key, alone in its dict",
}


def with_text_keys(x: dict[Any, Any]) -> dict[str, Any]:
    return {k: v for k, v in x.items() if isinstance(k, str)}


# --- round trips ---------------------------------------------------------------------------------


@formats
def test_a_tree_comes_back_bit_by_bit(tmp_path, suffix):
    path = tmp_path / f"tree{suffix}"
    given = with_text_keys(TREE)
    save(path, given)
    found = load(path)
    same_tree(found, given)
    same_tree(load(path, like=given), given)
    for x in tree.leaves(found["arrays"]):
        assert x.flags.writeable
    if suffix == ".npz":
        assert found["arrays"]["fortran"].flags.f_contiguous
    assert os.listdir(tmp_path) == [path.name]


@formats
@pytest.mark.parametrize(
    "given",
    [
        np.arange(3),
        5,
        None,
        "text",
        {},
        {0: np.zeros(1), -7: np.ones(1)},
        {"a/b": np.zeros(1), "a": {"b": np.ones(1)}},
        {"__tree__": np.zeros(1), "..": np.ones(1), "": np.ones(2), "%": 1.0, "%2F": np.ones(3)},
        {".": np.zeros(1), "/": np.ones(1), "\\": np.ones(2), "C:": np.ones(3), "\0": np.ones(4)},
        {"w": np.zeros(1), "w.npy": np.ones(1)},
        {"größe": np.zeros(1), "重み": np.ones(2), "\ud800": np.ones(3)},
    ],
    ids=repr,
)
def test_roots_and_keys(tmp_path, suffix, given):
    path = tmp_path / f"tree{suffix}"
    save(path, given)
    same_tree(load(path), given)
    same_tree(load(path, like=given), given)


@formats
def test_objects_come_back_with_like_and_are_dicts_without(tmp_path, suffix):
    path = tmp_path / f"tree{suffix}"
    given = Pair(Point(np.ones(2), 3), [Pair(None, np.float32(1))])
    save(path, given)
    same_tree(load(path, like=given), given)
    same_tree(load(path), {"a": {"x": np.ones(2), "y": 3}, "b": [{"a": None, "b": np.float32(1)}]})
    ordered = OrderedDict([("b", 1), ("a", np.ones(1))])
    save(path, ordered)
    same_tree(load(path, like=ordered), ordered)
    assert load(path) == dict(ordered)


def test_optimiser_states_and_shapes_in_place_of_arrays(tmp_path):
    optimizer = optim.adam(lambda step: 0.1 / (step + 1))
    params = {"w": np.ones((2, 3), np.float32)}
    state = optimizer.init(params)
    path = tmp_path / "state.npz"
    save(path, (params, state))
    same_tree(load(path, like=(params, state)), (params, state))
    avals = fg.eval_shape(lambda x: x, params)
    same_tree(load(path, like=(avals, state)), (params, state))


def test_numpy_reads_a_npz(tmp_path):
    path = tmp_path / "model.npz"
    save(path, {"params": {"dense": {"w": np.ones((2, 3))}}, "layers": [np.zeros(1)]})
    with np.load(path) as file:
        assert sorted(file.files) == ["__tree__", "layers/0", "params/dense/w"]
        np.testing.assert_array_equal(file["params/dense/w"], np.ones((2, 3)))
        assert "dict" in json.loads(str(file["__tree__"]))


def test_other_programs_read_safetensors(tmp_path):
    numpy = pytest.importorskip("safetensors.numpy")
    path = tmp_path / "model.safetensors"
    save(path, {"dense": {"w": np.ones((2, 3), np.float32), "c": np.array([1 + 2j])}})
    found = numpy.load_file(path)
    np.testing.assert_array_equal(found["dense/w"], np.ones((2, 3)))
    np.testing.assert_array_equal(found["dense/c"], [[1.0, 2.0]])
    numpy.save_file({"layer.weight": np.ones((2, 2), np.float16)}, path)
    same_tree(load(path), {"layer.weight": np.ones((2, 2), np.float16)})


def test_files_of_numpy_are_read(tmp_path):
    path = tmp_path / "other.npz"
    np.savez(path, a=np.ones(2), b=np.array(["x", "yz"]))
    same_tree(load(path), {"a": np.ones(2), "b": np.array(["x", "yz"])})
    np.savez_compressed(path, a=np.ones(2))
    with pytest.raises(StorageError, match=r"a is compressed: read it with numpy\.load"):
        load(path)


def test_jax_arrays_are_saved(tmp_path):
    jnp = pytest.importorskip("jax.numpy")
    path = tmp_path / "model.npz"
    save(path, {"w": jnp.arange(3, dtype=np.float32)})
    same_tree(load(path), {"w": np.arange(3, dtype=np.float32)})
    with pytest.raises(StorageError, match=r"w: an array of dtype bfloat16, which has no portable"):
        save(path, {"w": jnp.ones(2, jnp.bfloat16)})


@formats
def test_equal_trees_give_equal_files(tmp_path, suffix):
    for name in ("a", "b"):
        save(tmp_path / f"{name}{suffix}", {"w": np.ones(3), "b": [1, 2.5]})
    contents = [(tmp_path / f"{name}{suffix}").read_bytes() for name in ("a", "b")]
    if suffix == ".npz":
        assert contents[0] == contents[1]
    same_tree(load(tmp_path / f"a{suffix}"), load(tmp_path / f"b{suffix}"))


# --- what is refused -----------------------------------------------------------------------------


def test_all_leaves_that_cannot_be_saved_are_listed(tmp_path):
    path = tmp_path / "tree.npz"
    bad = {
        "f": np.sin,
        "o": np.array([None]),
        "r": np.zeros(2, [("a", int)]),
        "m": np.ma.masked_array([1.0], [True]),
        "d": {(1, 2): 1.0},
        "ok": 1.0,
    }
    with pytest.raises(StorageError) as caught:
        save(path, bad)
    text = str(caught.value)
    for part in ("f: a ufunc", "o: an array of dtype object", "r: an array", "m: a masked array"):
        assert part in text
    assert "d/(1, 2): the key (1, 2) is a tuple" in text and "ok" not in text
    assert not path.exists()


def test_what_safetensors_cannot_hold(tmp_path):
    pytest.importorskip("safetensors")
    with pytest.raises(StorageError, match=r"(?s)save to a \.npz file instead.*s: .*<U1"):
        save(tmp_path / "tree.safetensors", {"s": np.array(["a"]), "w": np.ones(1)})
    assert os.listdir(tmp_path) == []


def test_safetensors_is_optional(tmp_path, monkeypatch):
    for name in ("safetensors", "safetensors.numpy"):
        monkeypatch.setitem(sys.modules, name, None)
    path = tmp_path / "tree.safetensors"
    with pytest.raises(MissingPackageError, match=r"pip install .*\.npz"):
        save(path, {})
    path.write_bytes(b"")
    with pytest.raises(MissingPackageError):
        load(path)


def test_names_of_files(tmp_path):
    with pytest.raises(StorageError, match=r"must end with \.npz or \.safetensors, got '.*model'"):
        save(tmp_path / "model", {})
    with pytest.raises(StorageError, match=r"must end with"):
        load(tmp_path / "model.pkl")
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "model.npz")
    with pytest.raises(FileNotFoundError):
        save(tmp_path / "missing" / "model.npz", {})


@formats
def test_mismatches_list_all_paths(tmp_path, suffix):
    path = tmp_path / f"tree{suffix}"
    saved = {
        "w": np.ones((2, 3)), "b": np.ones(3), "old": {"x": np.ones(1)}, "l": [1, 2], "n": None,
        "f": 1.5, "t": (1,), "p": Pair(1, 2),
    }  # fmt: skip
    save(path, saved)
    like = {
        "w": np.ones((3, 2)), "b": np.ones(3, np.float32), "new": np.ones(1), "l": [1], "n": 1,
        "f": 1, "t": [1], "p": Point(1, 2),
    }  # fmt: skip
    with pytest.raises(StorageError) as caught:
        load(path, like=like)
    text = str(caught.value)
    for part in (
        "w: the file has float64[2,3], expected float64[3,2]",
        "b: the file has float64[3], expected float32[3]",
        "new: not in the file",
        "old: in the file only",
        "l/1: in the file only",
        "n: the file has None, expected a leaf",
        "f: the file has a Python float, expected a Python int",
        "t: the file has a tuple, expected a list",
        "p/x: not in the file",
        "p/a: in the file only",
    ):
        assert part in text, part


# --- damaged files -------------------------------------------------------------------------------

SMALL = {"w": np.arange(12, dtype=np.float32).reshape(3, 4), "b": [np.float64(2), 0.1], "n": None}


@formats
def test_flipped_bytes_are_found(tmp_path, suffix):
    path = tmp_path / f"tree{suffix}"
    save(path, SMALL)
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    harmless = 0
    places = range(0, len(content), 1 + len(content) // 500)
    for place in places:
        damaged = bytearray(content)
        damaged[place] ^= int(rng.integers(1, 256))
        path.write_bytes(damaged)
        try:
            found = load(path)
        except StorageError as error:
            assert "cannot be loaded" in str(error)
        else:  # a date or a permission
            same_tree(found, SMALL)
            harmless += 1
    assert harmless < len(places) / 2


@formats
def test_truncated_files_are_found(tmp_path, suffix):
    path = tmp_path / f"tree{suffix}"
    save(path, SMALL)
    content = path.read_bytes()
    for length in range(0, len(content), 1 + len(content) // 200):
        path.write_bytes(content[:length])
        with pytest.raises(StorageError, match="cannot be loaded"):
            load(path)
        with pytest.raises(StorageError, match="cannot be loaded"):
            load(path, like=SMALL)


def header(text: str) -> bytes:
    """A .npy file that is only a header."""
    body = (text + "\n").encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(body)) + body


def entry(value: Any) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, value, allow_pickle=True)
    return buffer.getvalue()


def description(x: Any) -> bytes:
    return entry(np.array(json.dumps(x)))


HOSTILE = {
    "claims too much": {"w": header("{'descr': '<f8', 'fortran_order': False, 'shape': (1<<40,)}")},
    "claims 8 TB": {
        "w": header("{'descr': '<f8', 'fortran_order': False, 'shape': (1099511627776,)}")
    },
    "negative": {"w": header("{'descr': '<f8', 'fortran_order': False, 'shape': (-1, -1)}")},
    "huge header": {"w": header("{'descr': '<f8', " + " " * 65000 + "}")},
    "objects": {"w": entry(np.array([print], object))},
    "records": {"w": entry(np.zeros(1, [("a", "O")]))},
    "no such array": {"__tree__": description({"array": "w"})},
    "path": {"__tree__": description({"array": "../w"}), "w": entry(np.ones(1))},
    "unknown kind": {"__tree__": description({"python/object": "os.system"})},
    "no json": {"__tree__": entry(np.array("{"))},
    "deep": {"__tree__": entry(np.array('{"list": [' * 20000 + "]}" * 20000))},
    "wrong leaf": {"__tree__": description({"bool": "yes"})},
    "odd description": {"__tree__": description([1, 2])},
    "empty description": {"__tree__": description({})},
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_npz(tmp_path, name):
    path = tmp_path / "tree.npz"
    with zipfile.ZipFile(path, "w") as archive:
        for key, content in HOSTILE[name].items():
            archive.writestr(f"{key}.npy", content)
    for like in (None, {"w": np.ones(1)}):
        with pytest.raises(StorageError, match=r"cannot be loaded|does not fit"):
            load(path, like)


@pytest.mark.parametrize("names", [["w.npy", "w.npy"], ["w.txt"], ["../w"]])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_odd_entries(tmp_path, names):
    path = tmp_path / "tree.npz"
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, entry(np.ones(1)))
    with pytest.raises(StorageError, match="is there twice, or is no"):
        load(path)


def test_a_zip_that_claims_more_than_it_has(tmp_path):
    path = tmp_path / "tree.npz"
    save(path, {"w": np.zeros(1000)})
    content = path.read_bytes()
    size = struct.pack("<I", 8000 + 128)
    assert content.count(size) >= 1
    path.write_bytes(content.replace(size, struct.pack("<I", 2**31)))
    with pytest.raises(StorageError, match="cannot be loaded"):
        load(path)


def safetensors_file(header: Any, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


F32 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    "content",
    [
        struct.pack("<Q", 2**60) + b"{}",
        safetensors_file(b"{"),
        safetensors_file({"w": F32}, b"1234"),
        safetensors_file({"w": {**F32, "shape": [2**40]}}, b"12345678"),
        safetensors_file({"w": {**F32, "data_offsets": [0, 2**50]}}, b"12345678"),
        safetensors_file({"w": {**F32, "data_offsets": [8, 0]}}, b"12345678"),
        safetensors_file({"w": F32, "v": F32}, b"12345678"),
        safetensors_file({"w": {**F32, "dtype": "BF16", "data_offsets": [0, 4]}}, b"1234"),
        safetensors_file({"w": F32, "__metadata__": {"format": "funcgraph"}}, b"12345678"),
        safetensors_file({"w": F32, "__metadata__": {"__tree__": "{}"}}, b"12345678"),
    ],
)
def test_hostile_safetensors(tmp_path, content):
    pytest.importorskip("safetensors")
    path = tmp_path / "tree.safetensors"
    path.write_bytes(content)
    with pytest.raises(StorageError, match="cannot be loaded"):
        load(path)


# --- atomic --------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failure_leaves_the_old_file(tmp_path, monkeypatch, step):
    path = tmp_path / "tree.npz"
    save(path, {"w": np.ones(1)})

    def fail(*_):
        raise OSError("no space left")

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(OSError, match="no space"):
        save(path, {"w": np.zeros(1)})
    monkeypatch.undo()
    same_tree(load(path), {"w": np.ones(1)})
    assert os.listdir(tmp_path) == ["tree.npz"]


@pytest.mark.skipif(os.name != "posix", reason="links and modes of POSIX")
def test_links_and_permissions_stay(tmp_path):
    target, link = tmp_path / "real.npz", tmp_path / "link.npz"
    save(target, {"w": np.ones(1)})
    target.chmod(0o640)
    link.symlink_to(target)
    save(link, {"w": np.zeros(1)})
    assert link.is_symlink() and target.stat().st_mode & 0o777 == 0o640
    same_tree(load(target), {"w": np.zeros(1)})
