"""Base classes of targets and runs: one configuration class per kind.

A class holds everything about its kind, so that no other list of kinds is needed:

- `kind`: its tag; `title` and `table_rank`: its name and rank in tables (lowest first).
- `revision`: increased when the same configuration gives a different result (a corrected error).
- `inputs`: the roles of the artifacts that it needs; one that ends in `?` may be missing. A run's
  target has the role `of`. `takes`: by role, the kinds that are accepted, or the interface they
  must provide (`gives`).
- `builder`: "module:function" that makes the artifact from (configuration, attempt), where the
  registry names the implementation that this function calls; empty where the registry names the
  function itself.
- `backend`: the library that computes it; `devices`: where it can; `extra`: the extra of this
  package that must be installed.
- `thread_safe`: whether it may be made in threads of one process: it touches no generator, filter
  or mode that others read. `distributed`: whether several processes can make it together.
- `pictures`: the families of plots drawn while it is made (`monitoring`).
- `needs_pretraining`: whether its target must be a trained model.
- `verb`: the command that makes it, where that is not `build` or `infer`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Self

from causal_meta.conf.setting import Config, setting

Backend = Literal["numpy", "torch", "jax"]


@dataclass(frozen=True, kw_only=True)
class ArtifactConfig(Config):
    """Base of all artifacts' configurations."""

    title: ClassVar[str] = ""
    table_rank: ClassVar[int] = 100
    revision: ClassVar[int] = 1
    inputs: ClassVar[tuple[str, ...]] = ()
    takes: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    gives: ClassVar[str] = ""
    builder: ClassVar[str] = ""
    backend: ClassVar[Backend] = "numpy"
    devices: ClassVar[tuple[str, ...]] = ("cpu",)
    extra: ClassVar[str] = ""
    thread_safe: ClassVar[bool] = False
    distributed: ClassVar[bool] = False
    pictures: ClassVar[tuple[str, ...]] = ()
    needs_pretraining: ClassVar[bool] = False
    verb: ClassVar[str] = ""
    seed: int = setting(0, low=0, high=2**63 - 1)

    @classmethod
    def accepts(cls, role: str, other: type[ArtifactConfig]) -> bool:
        """Whether an artifact of class `other` fits `role`: the role accepts its kind or one of its
        `gives`."""
        allowed = cls.takes.get(role)
        return (
            allowed is None
            or other.kind in allowed
            or (bool(other.gives) and other.gives in allowed)
        )

    @classmethod
    def check_inputs(cls, kinds: Mapping[str, str]) -> None:
        """Check relations between the kinds of the inputs by role (overridden where there are any).
        Raises `ConfigError`."""

    @classmethod
    def backend_for(cls, kinds: Mapping[str, str]) -> Backend:
        """The library that computes it on inputs of these kinds by role."""
        return cls.backend

    def placed(
        self, *, device: str | None = None, threads: int = 0, workers: int | None = None
    ) -> Self:
        """A copy with other fields outside the identity (device, workers, threads); None and 0
        leave a field unchanged."""
        return self


@dataclass(frozen=True, kw_only=True)
class TargetConfig(ArtifactConfig):
    """Base of targets: expensive, built once."""

    name: str = setting("", identity=False)

    def renamed(self, name: str) -> Self:
        """The same target under another name."""
        return replace(self, name=name)


@dataclass(frozen=True, kw_only=True)
class RunConfig(ArtifactConfig):
    """Base of runs: cheaper, many per target, computed on the target of role `of`."""

    inputs: ClassVar[tuple[str, ...]] = ("of",)
