"""`trace.nc` gives back the draws, opens in ArviZ and in xarray (as ArviZ 1.x does), has no time
stamp in it, and is refused when truncated."""

import dataclasses
import time
import warnings

import numpy as np
import pytest

from causal_meta.llc.estimates import diagnostics
from causal_meta.records.traces import check_trace, read_trace, write_trace


def full(made_up, **further):
    draws = made_up(length=120, **further)
    shape = draws.loss.shape
    numbers = np.random.default_rng(3)
    extra = {
        "virial": numbers.normal(size=(*shape, 3)),
        "virial_sizes": (2, 2, 2),
        "parameters": numbers.normal(size=(*shape, made_up.p)),
    }
    return dataclasses.replace(draws, row_moments=numbers.normal(size=(2, 50)), **extra)


@pytest.mark.parametrize("whole", [True, False])
def test_reading_gives_the_draws_that_were_written(made_up, tmp_path, whole):
    draws = (
        full(made_up)
        if whole
        else made_up(
            length=50, independent=True, weights=np.zeros((4, 50)), projection=np.zeros((4, 50, 0))
        )
    )
    write_trace(tmp_path / "trace.nc", draws)
    stored = read_trace(tmp_path / "trace.nc")
    for field in dataclasses.fields(draws):
        value, other = getattr(draws, field.name), getattr(stored, field.name)
        if field.name in ("seconds", "adapted", "statistics"):
            assert other == {}  # these are in analysis.json
        elif isinstance(value, np.ndarray):
            assert other.dtype == value.dtype
            np.testing.assert_array_equal(other, value)
        else:
            assert other == value


def test_arviz_and_xarray_open_it(made_up, tmp_path):
    import xarray

    draws = full(made_up)
    draws.divergent[1, 3] = True
    path = tmp_path / "trace.nc"
    write_trace(path, draws, {"sampler": "hmc"})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import arviz

        stored = arviz.from_netcdf(path)
        summary = arviz.summary(stored, var_names=["llc"], round_to="none")
    assert {"posterior", "sample_stats"} <= set(stored.groups())
    np.testing.assert_array_equal(stored.posterior["llc"].values, draws.llc)
    assert stored.sample_stats["diverging"].dtype == bool
    assert int(stored.sample_stats["diverging"].sum()) == 1
    assert summary["ess_bulk"].item() == pytest.approx(diagnostics.ess_bulk(draws.llc), rel=1e-6)
    assert summary["ess_tail"].item() == pytest.approx(diagnostics.ess_tail(draws.llc), rel=1e-6)
    assert summary["r_hat"].item() == pytest.approx(diagnostics.rhat(draws.llc), rel=1e-6)
    with xarray.open_datatree(path) as tree:
        assert tree["posterior"]["w"].dims == ("chain", "draw", "parameter")
        assert tree.attrs["sampler"] == "hmc"
    stored.close()


def test_equal_draws_give_equal_bytes(made_up, tmp_path):
    for name in ("a.nc", "b.nc"):
        write_trace(tmp_path / name, full(made_up))
        # longer than the resolution of a clock that HDF5 might keep
        time.sleep(1.1 if name == "a.nc" else 0)
    assert (tmp_path / "a.nc").read_bytes() == (tmp_path / "b.nc").read_bytes()


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_a_truncated_trace_is_refused(made_up, tmp_path, share):
    path = tmp_path / "trace.nc"
    write_trace(path, full(made_up))
    check_trace(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    for read in (read_trace, check_trace):
        with pytest.raises(ValueError, match=r"is truncated or not a trace .* delete the folder"):
            read(path)
    path.unlink()
    with pytest.raises(ValueError, match="is missing"):
        read_trace(path)
