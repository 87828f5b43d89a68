"""The manifest of a store of pixels: a level between passes, or the result."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pystack3d_dask.core.chain import Work, slabs
from pystack3d_dask.io.ome.image import OURS, update_state
from pystack3d_dask.io.work import attributes, update_attrs

Block = tuple[int, int]
Role = Literal["ingested", "intermediates", "result"]


@dataclass(frozen=True, kw_only=True)
class StoreManifest:
    """Record of the values that a store holds, the pass that makes them, and their completeness.

    Parameters
    ----------
    token : str
        Digest of what decides the values.
    maker : str
        Token of the pass that writes it: where the records of its blocks are.
    work : Work
        That pass, without what it gathers.
    slab : int
        Slices per block of the pass.
    slices, channels : int
        Slices of the last level of the pass, and channels.
    role : {"ingested", "intermediates", "result"}
        What it is for.
    complete : bool
        Whether all blocks have been written.
    damaged : tuple of (int, int)
        Channel and number of the blocks that must be made again.
    """

    token: str
    maker: str
    work: Work
    slab: int
    slices: int
    channels: int
    role: Role
    complete: bool = False
    damaged: tuple[Block, ...] = ()

    @classmethod
    def load(cls, path: Path) -> StoreManifest | None:
        """Return the manifest of a store; None where there is none that can be read."""
        attrs = attributes(path)
        return cls.of(attrs.get(OURS, attrs))

    @classmethod
    def of(cls, attrs: Any) -> StoreManifest | None:
        """Return the manifest that attributes hold; None if they hold none."""
        try:
            work = {**attrs["work"], "stores": tuple(attrs["work"]["stores"])}
            return cls(
                token=attrs["token"],
                maker=attrs["pass"],
                work=Work(**work),
                slab=int(attrs["slab"]),
                slices=int(attrs["slices"]),
                channels=int(attrs["channels"]),
                role=attrs.get("role", "result"),
                complete=bool(attrs.get("complete")),
                damaged=tuple((int(c), int(k)) for c, k in attrs.get("damaged", ())),
            )
        except (KeyError, TypeError, ValueError):
            return None

    def attributes(self) -> dict[str, Any]:
        """Return the attributes that hold the manifest."""
        values = {name: value for name, value in asdict(self).items() if name != "maker"}
        work = {name: value for name, value in asdict(self.work).items() if name != "gathers"}
        return {**values, "pass": self.maker, "work": work}

    def save(self, path: Path) -> None:
        """Write it into a store that is there."""
        (update_state if self.role == "result" else update_attrs)(path, self.attributes())

    def matches(self, token: str) -> bool:
        """Return whether the store holds all values that a token stands for."""
        return self.complete and self.token == token

    def with_damaged(self, blocks: Iterable[Block]) -> StoreManifest:
        """Return it with blocks that must be made again; a result is not complete then."""
        damaged = tuple(sorted({*self.damaged, *blocks}))
        return replace(self, damaged=damaged, complete=self.complete and self.role != "result")

    def blocks(self) -> list[Block]:
        """Return channel and number of all blocks of the pass."""
        count = len(slabs(self.slices, self.slab))
        return [(channel, number) for channel in range(self.channels) for number in range(count)]
