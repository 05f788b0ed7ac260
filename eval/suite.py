"""Suites: collections, systems and expected figures, in one TOML file.

A suite names collections as `lsr.data.load_dataset` does, so the same file works wherever the
data stands (``LSR_DATA``), or downloads it through ir_datasets.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, model_validator

from eval.systems import System, parts_of
from lsr.core.config import Config, load_config
from lsr.core.errors import ArgumentError, ConfigError, near_names

__all__ = ["Agreement", "Collection", "Expected", "Suite", "load_suite", "shipped_suites"]

_FOLDER = Path(__file__).parent / "suites"


class Collection(Config):
    """One split of one data set.

    Attributes
    ----------
    name : str
        How the report calls it; unique in a suite.
    source : str
        A name, path or identifier for `lsr.data.load_dataset`.
    otherwise : str
        What to load if `source` is not there.
    split : str
        Which queries and judgements.
    measures : tuple of str
        Empty: the collection's usual ones.
    k : int
        Depth of the search.
    group : str
        Collections of one group are averaged into one row (CQADupStack's twelve forums).
    drop_self : bool or None
        As in `eval.evaluate.EvalConfig`.
    hidden : bool
        Only tuned on, not reported itself.
    about : str
        What a reader must know, such as that the collection is reduced.
    """

    name: str = Field(min_length=1)
    source: str = Field(min_length=1)
    otherwise: str = ""
    split: str = "test"
    measures: tuple[str, ...] = ()
    k: int = Field(default=1000, ge=1, le=10_000)
    group: str = ""
    drop_self: bool | None = None
    hidden: bool = False
    about: str = ""


class Expected(Config):
    """A figure that a system must reach on a collection.

    Attributes
    ----------
    tolerance : float
        Off by no more than this: OK. By no more than `close` times this: close. Else FAIL.
    source : str
        Where the figure was published or measured.
    """

    collection: str
    system: str
    measure: str = "nDCG@10"
    value: float
    tolerance: float = Field(default=0.0005, ge=0)
    close: float = Field(default=4.0, ge=1)
    source: str = ""


class Agreement(Config):
    """Two systems that must find the same on a collection, ties aside (`eval.agreement`).

    Attributes
    ----------
    k : int
        Depth to which the documents must be the same.
    """

    collection: str
    system: str
    other: str
    k: int = Field(default=10, ge=1)


class Suite(Config):
    """A benchmark.

    Attributes
    ----------
    baseline : str
        The system that significance tests compare with; empty: the first.
    """

    name: str
    about: str = ""
    collections: tuple[Collection, ...] = Field(min_length=1)
    systems: tuple[System, ...] = ()
    expected: tuple[Expected, ...] = ()
    agreements: tuple[Agreement, ...] = ()
    baseline: str = ""

    @model_validator(mode="after")
    def _names_fit(self) -> Suite:
        problems = []
        collections = [c.name for c in self.collections]
        systems = [s.name for s in self.systems]
        for what, names in (("collection", collections), ("system", systems)):
            problems += [
                f"the {what} {name!r} stands twice"
                for name in dict.fromkeys(names)
                if names.count(name) > 1
            ]
        for at, system in enumerate(self.systems):
            # A part must stand before the whole: then the order of the list is one to run in.
            problems += [
                f"the system {system.name!r} is made of {part!r}, which does not stand before it"
                for part in parts_of(system)
                if part not in systems[:at]
            ]
            if system.kind == "convex":
                problems += [
                    f"the system {system.name!r} is tuned on {name!r}, which is no collection"
                    for name in system.tuned_on
                    if name not in collections
                ]
        for each in self.expected:
            if each.collection not in collections or each.system not in systems:
                problems.append(
                    f"a figure is expected of {each.system!r} on {each.collection!r}, which the "
                    "suite does not have"
                )
        for pair in self.agreements:
            problems += [
                f"an agreement names {name!r}, which the suite does not have"
                for name, known in (
                    (pair.collection, collections),
                    (pair.system, systems),
                    (pair.other, systems),
                )
                if name not in known
            ]
        if self.baseline and self.baseline not in systems:
            problems.append(f"the baseline {self.baseline!r} is no system")
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def only(self, collections: tuple[str, ...], systems: tuple[str, ...]) -> Suite:
        """Return the suite cut down to some collections and systems (with their parts).

        Raises
        ------
        ArgumentError
            If a name is unknown.
        """
        by_name = {s.name: s for s in self.systems}
        for name, known in (
            *((c, [x.name for x in self.collections]) for c in collections),
            *((s, list(by_name)) for s in systems),
        ):
            if name not in known:
                raise ArgumentError(
                    f"The suite {self.name!r} has no {name!r}; it has {', '.join(known)}."
                    f"{near_names(name, known)}"
                )
        wanted = set(systems)
        for system in reversed(self.systems):
            if system.name in wanted:
                wanted.update(parts_of(system))
        tuned = {
            name
            for system in self.systems
            if system.kind == "convex" and (not systems or system.name in wanted)
            for name in system.tuned_on
        }
        asked = set(collections) or {c.name for c in self.collections}
        kept = tuple(
            c.model_copy(update={"hidden": c.hidden or c.name not in asked})
            for c in self.collections
            if c.name in asked | tuned
        )
        left = tuple(s for s in self.systems if not systems or s.name in wanted)
        names = {s.name for s in left}
        return self.model_copy(
            update={
                "collections": kept,
                "systems": left,
                "baseline": self.baseline if self.baseline in names else "",
                "expected": tuple(
                    e for e in self.expected if e.system in names and e.collection in asked
                ),
                "agreements": tuple(
                    a
                    for a in self.agreements
                    if {a.system, a.other} <= names and a.collection in asked
                ),
            }
        )


def shipped_suites() -> list[str]:
    """Return the names of the suites that ship with the package."""
    return sorted(path.stem for path in _FOLDER.glob("*.toml"))


def load_suite(name_or_path: str) -> Suite:
    """Return a shipped suite by its name, or the one in a TOML file.

    Raises
    ------
    ConfigError
        If there is none, or it is wrong; with every problem found.
    """
    path = _FOLDER / f"{name_or_path}.toml"
    if name_or_path not in shipped_suites():
        path = Path(name_or_path)
        if not path.is_file():
            raise ConfigError(
                f"No suite {name_or_path!r}: no such file, and none of this name ships."
                f"{near_names(name_or_path, shipped_suites())}",
                hint=f"Shipped suites: {', '.join(shipped_suites())}.",
            )
    return load_config(Suite, path)
