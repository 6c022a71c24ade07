"""Releases: what each version of the book found, what it was made from, and what moved since."""

import datetime
import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import stackbook
from stackbook import StackbookError, nearest
from stackbook.press.chapters import Book, Chapter, Value, plain
from stackbook.press.store import Shown, Store, write

SAME = 1e-9  # a change below this share of a finding's size is none
DIGITS = 12  # of a stored number: fewer than a float has, so that its last bits do not differ
_HASH = 16  # letters that are kept of a digest
_VERSION = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)")
_KINDS = {"table": "data", "file": "data", "module": "kernel", "library": "library"}
# These show numbers or name where they come from. They count as causes where nothing else can be.
_SHOWS = re.compile(r"library:.*|table:sources|module:stackbook(\.charts(\..*)?)?")


class Stated(NamedTuple):
    """A finding as a release keeps it."""

    value: float
    unit: str
    low: float | None = None
    high: float | None = None

    @property
    def size(self) -> float:
        """The largest of its numbers, without sign."""
        return max(abs(each) for each in (self.value, self.low, self.high) if each is not None)


class Contents(NamedTuple):
    """A chapter in a release."""

    code: str
    """Digest of its cells of code, without the parameters'."""
    parameters: dict[str, Value]
    used: list[str]
    """Names of what it read and ran, as in `Release.digests`."""
    findings: dict[str, Stated]


class Release(NamedTuple):
    """The findings of a version of the book, and the digests of what they were made from."""

    version: str
    """Empty for the book as built."""
    date: str
    stackbook: str
    digests: dict[str, str]
    """Of modules, tables and files; versions of libraries."""
    chapters: dict[str, Contents]

    @property
    def findings(self) -> int:
        return sum(len(each.findings) for each in self.chapters.values())

    @property
    def name(self) -> str:
        return self.version or "the book as built"


class Move(NamedTuple):
    """A finding that differs between two releases; it is new or gone where one of them lacks it."""

    chapter: str
    name: str
    before: Stated | None
    after: Stated | None

    @property
    def state(self) -> str:
        """moved, range (the value stayed), unit, new or gone."""
        if self.before is None or self.after is None:
            return "new" if self.before is None else "gone"
        if self.before.unit != self.after.unit:
            return "unit"
        return "range" if _same(self.before, self.after, "value") else "moved"

    @property
    def change(self) -> float | None:
        """After less before; None where one of them is missing, or has another unit."""
        if self.before is None or self.after is None or self.before.unit != self.after.unit:
            return None
        return self.after.value - self.before.value

    @property
    def relative(self) -> float | None:
        """Change as a share of the number before; None where that is 0."""
        if self.change is None or self.before is None or not self.before.value:
            return None
        return self.change / abs(self.before.value)

    @property
    def inside(self) -> bool | None:
        """Whether the number after lies in the range stated before; None without such a range."""
        if self.change is None or self.before is None or self.before.low is None:
            return None
        assert self.after is not None and self.before.high is not None
        return self.before.low <= self.after.value <= self.before.high

    @property
    def order(self) -> tuple[int, float]:
        """Sorts the most telling move first.

        Numbers that left the range stated before come first, what back matter counts of the book
        itself last; within that goes the change as a share of the larger of both numbers, which
        neither a small start nor a change of sign makes endless.
        """
        if self.change is None or self.state == "range":
            return 3, 0.0
        assert self.before is not None and self.after is not None
        share = abs(self.change) / max(abs(self.before.value), abs(self.after.value))
        if self.chapter.startswith("back/"):
            return 2, -share
        return int(self.inside is not False), -share


class Comparison(NamedTuple):
    """What differs between two releases."""

    before: Release
    after: Release
    moves: list[Move]
    """The most telling first: see `Move.order`."""
    causes: dict[str, dict[str, list[str]]]
    """By chapter that moved, what of its inputs differs: parameter, data, kernel, chapter; library
    only where nothing else does. Each may be behind each of its moves."""

    @property
    def common(self) -> int:
        """Findings that both have in one unit: those that could move."""
        return sum(
            name in new.findings and new.findings[name].unit == old.unit
            for chapter, new in self.after.chapters.items()
            if chapter in self.before.chapters
            for name, old in self.before.chapters[chapter].findings.items()
        )

    def of(self, *states: str) -> list[Move]:
        """The moves in these `states` (see `Move.state`)."""
        return [each for each in self.moves if each.state in states]

    @property
    def listed(self) -> dict[str, list[Move]]:
        """By chapter, the one with the most telling move first, its numbers that moved."""
        found: dict[str, list[Move]] = {}
        for each in self.of("moved", "unit"):
            found.setdefault(each.chapter, []).append(each)
        return found


def stored(book: Book) -> dict[str, Release]:
    """The releases of `book` by version, the oldest first."""
    found = {path.stem: path for path in _folder(book).glob("*.json")}
    return {name: _read(found[name]) for name in sorted(found, key=_number)}


def release(book: Book, store: Store, version: str, date: str) -> Path:
    """Store the findings of the book as built as release `version`; the path of its file.

    StackbookError where the version or date cannot be, or a chapter was not built at its own
    values from the sources as they are.
    """
    _number(version)
    earlier = stored(book)
    if version in earlier:
        raise StackbookError(
            f"release {version} is there already, of {earlier[version].date}; give the next version"
        )
    last = max(earlier, key=_number, default="")
    if last and _number(version) < _number(last):
        raise StackbookError(f"release {version} is not newer than {last}; give a later version")
    try:
        day = datetime.date.fromisoformat(date).isoformat()
    except ValueError:
        raise StackbookError(f"date {date!r}: write YYYY-MM-DD") from None
    built, missing = as_built(book, store)
    for name, why in missing.items():
        raise StackbookError(
            f"chapter {name} {why} in {store.folder.absolute()}; run `stackbook build` first"
            + (f" ({len(missing) - 1} more)" if missing.keys() - {name} else "")
        )
    path = _folder(book) / f"{version}.json"
    write(path, _written(built._replace(version=version, date=day)))
    return path


def as_built(book: Book, store: Store) -> tuple[Release, dict[str, str]]:
    """What was last built at the book's own values, and by chapter why it is not part of that."""
    chapters: dict[str, Contents] = {}
    digests: dict[str, str] = {}
    missing: dict[str, str] = {}
    for name, chapter in book.chapters.items():
        shown = store.shown(chapter)
        if shown is None:
            missing[name] = "is not built"
            continue
        if changed := chapter.changed(shown.values):
            given = ", ".join(f"{each}={plain(value)}" for each, value in changed.items())
            missing[name] = f"is built with {given}"
            continue
        result = store.load(chapter, shown.values)
        if result is None or result.findings != shown.findings:
            missing[name] = "is built from other sources than are there now"
            continue
        chapters[name] = contents(chapter, shown, result.used)
        digests |= result.used
    return Release("", "", stackbook.__version__, _shortened(digests), chapters), missing


def contents(chapter: Chapter, shown: Shown, used: Iterable[str]) -> Contents:
    """What a release keeps of `chapter`, which is `shown` at its own values and `used` these."""
    return Contents(
        _code(shown.notebook),
        chapter.values({}),
        sorted(used),
        {
            each["name"]: Stated(
                rounded(each["value"]),
                each["unit"],
                rounded(each["low"]) if "low" in each else None,
                rounded(each["high"]) if "high" in each else None,
            )
            for each in sorted(shown.findings, key=lambda each: each["name"])
        },
    )


def compared(before: Release, after: Release) -> Comparison:
    """What moved from `before` to `after`, and which inputs of its chapters differ."""
    moves = sorted(_moves(before, after), key=lambda move: move.order)
    causes = {
        name: _causes(name, before, after)
        for name in after.chapters
        if any(each.chapter == name and each.state in ("moved", "range") for each in moves)
    }
    return Comparison(before, after, moves, causes)


def since(before: Release, book: Book, store: Store) -> tuple[Comparison, dict[str, str]]:
    """What moved from `before` to the book as built; by chapter why it could not be compared."""
    now, missing = as_built(book, store)
    kept = {name: each for name, each in before.chapters.items() if name not in missing}
    return compared(before._replace(chapters=kept), now), missing


def chosen(book: Book, version: str) -> Release:
    """The release `version` of `book`; StackbookError offers the nearest."""
    releases = stored(book)
    if version not in releases:
        known = ", ".join(releases) or "none: `stackbook release` stores one"
        raise StackbookError(
            f"no release {version!r}{nearest(version, releases)}; the releases are {known}"
        )
    return releases[version]


def same(one: float, other: float, size: float) -> bool:
    """Whether two of the numbers of findings of this `size` differ by rounding alone."""
    return abs(one - other) <= SAME * size


def rounded(number: float, digits: int = DIGITS) -> float:
    """`number` in that many significant digits."""
    return float(f"{number:.{digits}g}")


def _moves(before: Release, after: Release) -> Iterator[Move]:
    for chapter in [*after.chapters, *(before.chapters.keys() - after.chapters.keys())]:
        old, new = (
            one.chapters[chapter].findings if chapter in one.chapters else {}
            for one in (before, after)
        )
        for name in sorted(old.keys() | new.keys()):
            move = Move(chapter, name, old.get(name), new.get(name))
            if move.change is None or not all(
                _same(old[name], new[name], part) for part in ("value", "low", "high")
            ):
                yield move


def _same(one: Stated, other: Stated, part: str) -> bool:
    a, b = getattr(one, part), getattr(other, part)
    if a is None or b is None:
        return a is b
    return same(a, b, max(one.size, other.size))


def _causes(chapter: str, before: Release, after: Release) -> dict[str, list[str]]:
    old, new = before.chapters[chapter], after.chapters[chapter]
    found: dict[str, list[str]] = {
        "parameter": [
            f"{name}: {plain(old.parameters[name])} → {plain(value)}"
            for name, value in new.parameters.items()
            if name in old.parameters and old.parameters[name] != value
        ],
        "data": [],
        "kernel": [],
        "chapter": ["its code"] if old.code != new.code else [],
    }
    # What only one of both used, it used because its code or a module differs.
    both = [name for name in old.used if name in set(new.used)]
    differ = [name for name in both if before.digests[name] != after.digests[name]]
    for name in differ:
        if not _SHOWS.fullmatch(name):
            kind, _, what = name.partition(":")
            found[_KINDS[kind]].append(what.removeprefix("stackbook."))
    if any(found.values()):
        return {kind: names for kind, names in found.items() if names}
    weak: dict[str, list[str]] = {}
    for name in differ:
        kind, _, what = name.partition(":")
        if kind == "library":
            what += f": {before.digests[name]} → {after.digests[name]}"
        weak.setdefault(_KINDS[kind], []).append(what)
    return weak


def _folder(book: Book) -> Path:
    return book.folder / "releases"


def _number(version: str) -> tuple[int, ...]:
    """The order of versions; StackbookError for what is none."""
    found = _VERSION.fullmatch(version)
    if not found:
        raise StackbookError(f"release {version!r}: a version has three numbers, as in 0.4.0")
    return tuple(map(int, found.groups()))


def _code(notebook: dict[str, Any]) -> str:
    """Digest of what a chapter computes, whatever its prose and its parameters are."""
    parameters = {"parameters", "injected-parameters"}
    cells = [
        "".join(cell["source"])
        for cell in notebook["cells"]
        if cell["cell_type"] == "code" and parameters.isdisjoint(cell["metadata"].get("tags", []))
    ]
    return hashlib.sha256("\n".join(cells).encode()).hexdigest()[:_HASH]


def _shortened(digests: dict[str, str]) -> dict[str, str]:
    return {name: digests[name][:_HASH] for name in sorted(digests)}


def _written(one: Release) -> str:
    """As JSON that git shows well: a line for each finding, parameter and digest."""

    def lines(value: Any, depth: int) -> str:
        if not isinstance(value, dict) or depth == 5:
            return json.dumps(value, ensure_ascii=False)
        inner = [f"{' ' * depth}{json.dumps(n)}: {lines(v, depth + 1)}" for n, v in value.items()]
        return "{\n" + ",\n".join(inner) + f"\n{' ' * (depth - 1)}}}" if inner else "{}"

    chapters = {
        name: each._asdict() | {"findings": {n: _plain(f) for n, f in each.findings.items()}}
        for name, each in one.chapters.items()
    }
    return lines(one._asdict() | {"chapters": chapters}, 1) + "\n"


def _plain(finding: Stated) -> dict[str, Any]:
    return {name: each for name, each in finding._asdict().items() if each is not None}


def _read(path: Path) -> Release:
    try:
        one = Release(**json.loads(path.read_text("utf-8")))
        chapters = {name: Contents(**each) for name, each in one.chapters.items()}  # type: ignore[arg-type]
        return one._replace(
            chapters={
                name: each._replace(
                    findings={n: Stated(**f) for n, f in each.findings.items()}  # type: ignore[arg-type]
                )
                for name, each in chapters.items()
            }
        )
    except (ValueError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise StackbookError(
            f"{path} is no release: {reason}; restore it or store it anew with `stackbook release`"
        ) from None
