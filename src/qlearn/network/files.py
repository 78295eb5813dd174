"""A network's file: one .npz of arrays, and of the steps as JSON, without pickle."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from os import PathLike
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from qlearn.codes.affine import QTensor
from qlearn.machine.machine import Machine
from qlearn.network.step import Ref, Step

__all__ = ["Path", "Program", "about_of", "load", "save", "savez"]

FORMAT = 1

Path = str | PathLike[str] | io.BufferedIOBase


class Program(NamedTuple):
    """What a file holds: the arguments of a ``Network``."""

    steps: Sequence[Step]
    inputs: Sequence[str]
    output: Any
    machine: Machine


def save(path: Path, program: Program) -> None:
    """See ``Network.save``."""
    arrays: dict[str, npt.NDArray[Any]] = {}
    about = {
        "format": FORMAT,
        "machine": asdict(program.machine),
        "inputs": program.inputs,
        "steps": [_step_to_json(step, arrays) for step in program.steps],
        "output": _to_json(program.output, "", arrays),
    }
    savez(path, arrays | {"network": np.array(json.dumps(about))})


def load(path: Path) -> Program:
    """See ``Network.load``."""
    with np.load(path, allow_pickle=False) as file:
        about = about_of(file, "network", "Network", FORMAT)
        steps = [_step_from_json(step, file) for step in about["steps"]]
        return Program(steps, about["inputs"], _from_json(about["output"], file), Machine(**about["machine"]))


def savez(path: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Write arrays to one .npz file, of exactly that name."""
    if isinstance(path, (str, PathLike)):
        with open(path, "wb") as file:  # np.savez would append ".npz" to the name
            np.savez(file, **arrays)  # type: ignore[arg-type]
    else:
        np.savez(path, **arrays)  # type: ignore[arg-type]


def about_of(file: Any, key: str, kind: str, newest: int) -> dict[str, Any]:
    """What the JSON under a key of an .npz file says of the rest.

    Raises:
        ValueError: there is none, so that no ``save`` of that kind wrote the file; or it is of a newer format.
    """
    if key not in file:
        raise ValueError(f"path must be a file that {kind}.save wrote, got one with {', '.join(file.files)}")
    about: dict[str, Any] = json.loads(str(file[key]))
    if about["format"] > newest:
        raise ValueError(f"path is of format {about['format']}; this qlearn reads up to format {newest}")
    return about


def _step_to_json(step: Step, arrays: dict[str, npt.NDArray[Any]]) -> dict[str, Any]:
    settings = {key: _to_json(value, f"{step.name}/{key}", arrays) for key, value in step.settings.items()}
    return {"name": step.name, "op": step.op, "inputs": step.inputs, "settings": settings}


def _step_from_json(step: Mapping[str, Any], file: Mapping[str, npt.NDArray[Any]]) -> Step:
    settings = {key: _from_json(value, file) for key, value in step["settings"].items()}
    return Step(step["name"], step["op"], tuple(step["inputs"]), settings)


def _to_json(value: Any, key: str, arrays: dict[str, npt.NDArray[Any]]) -> Any:
    """A setting as JSON; arrays go to ``arrays``, under key."""
    if isinstance(value, Ref):
        return {"ref": value.name}
    if isinstance(value, QTensor):
        arrays[key] = np.ascontiguousarray(value.int_repr())
        if value.qscheme() == "per_tensor_affine":
            return {"qtensor": key, "dtype": value.dtype, "scale": value.q_scale(), "zero_point": value.q_zero_point()}
        arrays[f"{key}/scales"] = value.q_per_channel_scales()
        arrays[f"{key}/zero_points"] = value.q_per_channel_zero_points()
        return {"qtensor": key, "dtype": value.dtype, "axis": value.q_per_channel_axis()}
    if isinstance(value, np.ndarray):
        arrays[key] = value
        return {"array": key}
    if isinstance(value, slice):
        return {"slice": _to_json((value.start, value.stop, value.step), key, arrays)}
    if value is Ellipsis:
        return {"ellipsis": True}
    if isinstance(value, Mapping):
        return {"dict": {name: _to_json(part, f"{key}/{name}", arrays) for name, part in value.items()}}
    if isinstance(value, (tuple, list)):
        return [_to_json(part, f"{key}/{i}", arrays) for i, part in enumerate(value)]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"{key} must be a number, a string, an array or a QTensor to be saved, got {value!r}")


def _from_json(value: Any, file: Mapping[str, npt.NDArray[Any]]) -> Any:
    """The inverse of ``_to_json``; sequences become tuples."""
    if isinstance(value, list):
        return tuple(_from_json(part, file) for part in value)
    if not isinstance(value, dict):
        return value
    if "ref" in value:
        return Ref(value["ref"])
    if "array" in value:
        return file[value["array"]]
    if "slice" in value:
        return slice(*_from_json(value["slice"], file))
    if "ellipsis" in value:
        return Ellipsis
    if "dict" in value:
        return {name: _from_json(part, file) for name, part in value["dict"].items()}
    key = value["qtensor"]
    if "axis" in value:
        return QTensor(file[key], file[f"{key}/scales"], file[f"{key}/zero_points"], value["dtype"], axis=value["axis"])
    return QTensor(file[key], value["scale"], value["zero_point"], value["dtype"])
