"""`trace.nc`: the draws of a sampler in ArviZ's layout, for `arviz.from_netcdf` of ArviZ 0.23 and
1.x.

Group `posterior` holds functions of the sampled parameters (llc, loss, distance, projection, and w
on request), `sample_stats` diagnostics of the sampler (energy, acceptance_rate, diverging,
gradients, virial, log_weights), `constant_data` the moments of the row losses. Dimensions are
chain, draw, direction, parameter, group, row. h5netcdf writes the file in a tenth of xarray's time;
there is no time stamp in it, so that equal draws give equal bytes.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from causal_meta.draws import Draws

if TYPE_CHECKING:
    import h5netcdf

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
    """Write the draws to the new file `path`, with `attributes` at its root."""
    import h5netcdf

    chains, length = draws.loss.shape
    with h5netcdf.File(path, "w") as file:
        for name, value in {**(attributes or {}), **_scalars(draws)}.items():
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


def _scalars(draws: Draws) -> dict[str, float | int | str]:
    """The values that are not arrays along the chains."""
    return {
        **{name: float(getattr(draws, name)) for name in _SCALARS},
        "independent": int(draws.independent),
        "virial_sizes": json.dumps(list(draws.virial_sizes)),
    }


def _dimension(group: h5netcdf.Group, name: str, size: int) -> None:
    group.dimensions[name] = size
    group.create_variable(name, (name,), data=np.arange(size))


def _variable(
    group: h5netcdf.Group, name: str, values: NDArray[np.generic], further: str = ""
) -> None:
    """Add a variable along chain, draw and at most one further dimension; large ones are
    compressed, and truth values, which NetCDF lacks, stored as int8."""
    dims = ("chain", "draw", further) if further else ("chain", "draw")
    stored = values.astype(np.int8) if values.dtype == bool else values
    compression = {"compression": "gzip", "compression_opts": 1, "shuffle": True}
    options = compression if stored.nbytes > 1 << 20 else {}
    variable = group.create_variable(name, dims, data=stored, **options)
    if values.dtype == bool:
        variable.attrs["dtype"] = "bool"  # as xarray marks it


def read_trace(path: Path) -> Draws:
    """The draws in a `trace.nc`, without the adapted settings and seconds, which are in
    `analysis.json`.

    Raises:
        ValueError: in one sentence, for a file that is missing, truncated or of another program.
    """
    with _opened(path) as file:
        fields: dict[str, Any] = {name: float(file.attrs[name]) for name in _SCALARS}
        fields["independent"] = bool(file.attrs["independent"])
        fields["virial_sizes"] = tuple(json.loads(file.attrs["virial_sizes"]))
        for field, (group, name, _) in _LAYOUT.items():
            if name in file[group].variables:
                fields[field] = file[group].variables[name][...]
        if "constant_data" in file.groups:
            rows = file["constant_data"].variables
            moments = ("row_loss_mean", "row_loss_variance")
            fields["row_moments"] = np.stack([rows[name][...] for name in moments])
    fields.setdefault("projection", np.zeros((*fields["loss"].shape, 0)))
    if "divergent" in fields:
        fields["divergent"] = fields["divergent"].astype(bool)
    return Draws(**fields)


def check_trace(path: Path) -> None:
    """Raise ValueError in one sentence if a `trace.nc` is missing or truncated; reads only its
    header."""
    with _opened(path):
        pass


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[h5netcdf.File]:
    import h5netcdf

    remedy = f"delete the folder {path.parent} to have the run made again"
    if not path.is_file():
        raise ValueError(f"{path} is missing; {remedy}.")
    try:
        with h5netcdf.File(path, "r") as file:
            yield file
    except (OSError, KeyError, RuntimeError) as error:
        raise ValueError(
            f"{path} is truncated or not a trace of this package "
            f"({' '.join(str(error).split())[:120]}); {remedy}."
        ) from None
