"""`trace.nc`: the draws of a sampler in ArviZ's layout, so that `arviz.from_netcdf` opens it, of
ArviZ 0.23 as of 1.x.

Group `posterior` holds what has a law (llc, loss, distance, projection, and w if its parameters
were kept), `sample_stats` what tells of the sampler (energy, acceptance_rate, diverging, gradients,
virial, log_weights), `constant_data` the moments of the losses of the rows. Dimensions are chain,
draw, direction, parameter, group, row. The file is written by h5netcdf alone, which takes a tenth
of xarray's time; no clock is in it, so equal draws give equal bytes.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from causal_meta.draws import Draws

#: name of `Draws` -> (group, name in the file, further dimension)
_LAYOUT: Final[dict[str, tuple[str, str, str]]] = {
    "loss": ("posterior", "loss", ""),
    "distance": ("posterior", "distance", ""),
    "projection": ("posterior", "projection", "direction"),
    "parameters": ("posterior", "w", "parameter"),
    "energy": ("sample_stats", "energy", ""),
    "acceptance": ("sample_stats", "acceptance_rate", ""),
    "divergent": ("sample_stats", "diverging", ""),
    "gradients": ("sample_stats", "gradients", ""),
    "virial": ("sample_stats", "virial", "group"),
    "weights": ("sample_stats", "log_weights", ""),
}
_SCALARS = ("centre_loss", "n_beta", "gamma")


def write_trace(path: Path, draws: Draws, attributes: Mapping[str, str] | None = None) -> None:
    """Write the draws to the new file `path`; `attributes` are kept at its root, beside those that
    reading it back needs."""
    import h5netcdf

    chains, length = draws.loss.shape
    with h5netcdf.File(path, "w") as file:
        for name, value in {**(attributes or {}), **_told(draws)}.items():
            file.attrs[name] = value
        groups = {name: file.create_group(name) for name in ("posterior", "sample_stats")}
        for group in groups.values():
            _dimension(group, "chain", chains)
            _dimension(group, "draw", length)
        _variable(groups["posterior"], "llc", draws.llc)
        for field, (group, name, further) in _LAYOUT.items():
            values = getattr(draws, field)
            if values is None or (further and values.shape[2] == 0):
                continue
            if further:
                _dimension(groups[group], further, values.shape[2])
            _variable(groups[group], name, np.asarray(values), further)
        if draws.row_moments is not None:
            rows = file.create_group("constant_data")
            _dimension(rows, "row", draws.row_moments.shape[1])
            for name, values in zip(
                ("row_loss_mean", "row_loss_variance"), draws.row_moments, strict=True
            ):
                rows.create_variable(name, ("row",), data=np.asarray(values))


def _told(draws: Draws) -> dict[str, Any]:
    """What of the draws is no array along the chains."""
    scalars = {name: float(getattr(draws, name)) for name in _SCALARS}
    return scalars | {
        "independent": int(draws.independent),
        "virial_sizes": json.dumps(list(draws.virial_sizes)),
    }


def _dimension(group: Any, name: str, size: int) -> None:
    group.dimensions[name] = size
    group.create_variable(name, (name,), data=np.arange(size))


def _variable(group: Any, name: str, values: NDArray[Any], further: str = "") -> None:
    """A variable along chain, draw and perhaps one dimension more; what is large is compressed.
    NetCDF has no truth values: int8 they are."""
    dims = ("chain", "draw", further) if further else ("chain", "draw")
    whole = values.astype(np.int8) if values.dtype == bool else values
    squeeze: dict[str, Any] = (
        {"compression": "gzip", "compression_opts": 1, "shuffle": True}
        if whole.nbytes > 1 << 20
        else {}
    )
    variable = group.create_variable(name, dims, data=whole, **squeeze)
    if values.dtype == bool:
        variable.attrs["dtype"] = "bool"  # xarray's word for it


def read_trace(path: Path) -> Draws:
    """The draws in a `trace.nc`, but for what was adapted and the seconds it took, which
    `analysis.json` tells.

    Raises ValueError in one sentence for a file that is missing, cut off or not of our making.
    """
    with _opened(path) as file:
        found: dict[str, Any] = {name: float(file.attrs[name]) for name in _SCALARS}
        found["independent"] = bool(file.attrs["independent"])
        found["virial_sizes"] = tuple(json.loads(file.attrs["virial_sizes"]))
        for field, (group, name, _) in _LAYOUT.items():
            if name in file[group].variables:
                found[field] = file[group].variables[name][...]
        if "constant_data" in file.groups:
            rows = file["constant_data"].variables
            found["row_moments"] = np.stack(
                [rows["row_loss_mean"][...], rows["row_loss_variance"][...]]
            )
    found.setdefault("projection", np.zeros((*found["loss"].shape, 0)))
    if "divergent" in found:
        found["divergent"] = found["divergent"].astype(bool)
    return Draws(**found)


def check_trace(path: Path) -> None:
    """Raise ValueError in one sentence if a `trace.nc` is missing or was cut off; reads its head
    alone."""
    with _opened(path):
        pass


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    import h5netcdf

    again = f"delete the folder {path.parent} to have the run made again"
    if not path.is_file():
        raise ValueError(f"{path} is missing; {again}.")
    try:
        with h5netcdf.File(path, "r") as file:
            yield file
    except (OSError, KeyError, RuntimeError) as error:
        raise ValueError(
            f"{path} is cut off in the middle or no trace of this package "
            f"({' '.join(str(error).split())[:120]}); {again}."
        ) from None
