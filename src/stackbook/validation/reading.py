"""How a stranger's rows are read: names of models and accelerators, numbers, what is left out."""

import re
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from math import isfinite
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from stackbook import StackbookError, facts, inputs, nearest
from stackbook.kernels.transformer import Transformer, transformer

M = TypeVar("M")
EMPTY = {"", "n/a", "na", "nan", "null", "none", "-", "?"}
VOCABULARY = 50_304  # of a model known by its numbers alone: GPT-2's, padded
ASPECT = 100  # width over layers of a model known by its parameters alone; GPT-3 has 128


class Unread(NamedTuple):
    """A row that cannot be computed, and why."""

    line: int
    model: str
    reason: str


def read(
    path: str, table: str, required: Iterable[str], measured: Iterable[str]
) -> tuple[list[dict[str, Any]], list[str]]:
    """The rows of a CSV file in the layout of a table, and a hint at each column likely misspelt.

    It needs the `required` columns and one of the `measured`.
    """
    found = inputs.cells(path)
    missing = [name for name in required if name not in found.columns]
    if missing or not set(measured) & set(found.columns):
        wanted = ", ".join(missing) or f"any of {', '.join(measured)}"
        raise StackbookError(f"{path} lacks {wanted}; its columns are {', '.join(found.columns)}")
    known = facts.package().resource(table)["schema"]["fields"]
    names = [field["name"] for field in known]
    unread = [each for each in found.columns if each not in names]
    hints = {each: nearest(each, [n for n in names if n not in found.columns]) for each in unread}
    told = [f"column {each} is not read{hint}" for each, hint in hints.items() if hint]
    return list(found.iter_rows(named=True)), told


def measurements(
    rows: Iterable[Mapping[str, Any]], measurement: Callable[[int, Mapping[str, Any]], M]
) -> tuple[list[M], list[Unread]]:
    """Rows that can be computed, and those that cannot, numbered as lines of a file."""
    found, unread = [], []
    for line, row in enumerate(rows, start=2):
        try:
            found.append(measurement(line, row))
        except facts.FactsError:
            raise
        except (StackbookError, ValueError) as error:
            unread.append(Unread(line, str(row.get("model")), str(error)))
    return found, unread


def sizes(errors: NDArray[np.float64]) -> dict[str, float]:
    """How large errors are, and whether one side prevails."""
    size = np.abs(errors)
    return {
        "median_error": float(np.median(size)),
        "mean_error": float(size.mean()),
        "p90_error": float(np.quantile(size, 0.9)),
        "bias": float(np.median(errors)),
    }


def plain(name: str) -> str:
    """A name in small letters, without spaces and signs."""
    return re.sub(r"[^a-z0-9.]", "", name.lower())


@cache
def accelerator(name: str) -> str:
    """The row of table `accelerators` that a usual spelling means: h100_80gb, DGX-GB300, v5p."""
    if len(re.findall(r"\(x\d+\)", name)) > 1:
        raise StackbookError(f"accelerator {name!r} is of several kinds; give rows of one kind")
    names: list[str] = facts.table("accelerators").collect()["name"].to_list()
    words = re.sub(r"[^a-z0-9.]+", " ", name.lower())
    for nickname, version in (("trillium", "v6e"), ("ironwood", "v7"), ("tpu7x", "v7")):
        words = words.replace(nickname, version)
    words = re.sub(r"(?<![a-z])v(\d[ep]?)(?!\d)", r"tpuv\1", re.sub(r"tpu ?v", "v", words))
    said = plain(words)
    exact = [each for each in names if plain(each) == said]
    if exact:
        return exact[0]
    cores = {each: _core(each) for each in names}
    words = words.replace("blackwell ", "")
    near = {each: core for each, core in cores.items() if _starts(core, words)}
    if not near:
        raise StackbookError(f"accelerator {name!r} is not in table accelerators")
    longest = max(map(len, near.values()))
    among = [each for each, core in near.items() if len(core) == longest]
    wanted = [w for w in ("pcie", "nvl", "sxm", "16gb", "32gb", "40gb", "80gb") if w in said]
    wanted += [f"{size}gb" for size in re.findall(r"(\d\d)g(?!b)", said)]

    def fit(each: str) -> tuple[int, bool, bool]:
        key = plain(each)
        return sum(word in key for word in wanted), "sxm" in key, "80gb" in key

    return max(among, key=fit)


def _core(name: str) -> str:
    """A name without what tells a chip's boards apart."""
    return re.sub(r"(sxm\d?|pcie|nvl|\d+gb|blackwell)", "", plain(name))


def _starts(core: str, words: str) -> bool:
    """Whether a core starts one of the words, be it after a count: L4 is not in dual 48 GB."""
    return re.search(r"(?<![a-wyz])" + " ?".join(map(re.escape, core)), words) is not None


def architecture(row: Mapping[str, Any]) -> Transformer:
    """A row's model: by its name in table `transformers`, or built from its numbers."""
    name = named(str(row["model"]))
    return inputs.architecture(name) if name else _by_numbers(row)


def read_as(row: Mapping[str, Any], model: Transformer) -> str:
    """How a row's model was understood: its name in table `transformers`, or its shape."""
    shape = f"dense, {model.layers} layers, {model.width:,} wide"
    return named(str(row["model"])) or shape


def _bare(name: str) -> str:
    """A model's name without remarks and owner."""
    return re.sub(r"\(.*?\)", "", name).split("/")[-1]


@cache
def named(said: str) -> str | None:
    """The model of table `transformers` that a usual spelling means, if any."""
    table = facts.table("transformers").select("name", "spellings", "parameters_published")
    known = table.collect().rows()
    best = None
    for name in dict.fromkeys((said, _bare(said))):
        for each, spellings, parameters in known:
            for spelling in (each, *(spellings.split(";") if spellings else ())):
                match = _likeness(_unremarked(name), spelling, parameters)
                if match and (best is None or match > best[0]):
                    best = match, each
    return best[1] if best else None


def _unremarked(name: str) -> str:
    """A name without an accuracy of MLPerf, precision or tuning; its version with a point."""
    name = re.sub(r"-99(\.9)?$", "", name.lower())
    remarks = r"(nv|mx)?fp\d+|bf16|int\d|w\da\d+|awq|gptq|thinking|hf|it"
    name = re.sub(rf"[-_ ]({remarks})(?![a-z0-9])", "", name)
    return re.sub(r"(?<=\d)_(?=\d[-_ ])", ".", name)


def _likeness(name: str, spelling: str, parameters: float) -> int:
    """How well a name means a spelling: 3 exactly, 2 but for a version's tail, 1 with a size."""
    if plain(name) == plain(spelling):
        return 3
    said, meant = _parts(name), _parts(spelling)
    if len(said) == len(meant) and all(map(_same, said, meant)):
        return 2
    size = re.search(r"([\d.]+)([mbt])$", plain(name))
    if size and said[: len(meant)] == meant and len(said) == len(meant) + 2:
        told = float(size[1]) * {"m": 1e6, "b": 1e9, "t": 1e12}[size[2]]
        return int(abs(told / parameters - 1) < 0.06)
    return 0


def _parts(name: str) -> list[str]:
    name = re.sub(
        r"meta|nvidia|google|mosaicml|instruct|base|chat|dense|pretrain", "", name.lower()
    )
    return re.findall(r"[a-z]+|\d+(?:\.\d+)?", name)


def _same(said: str, meant: str) -> bool:
    """Whether two parts are equal, or one is a version that stops before its point: 3 for 3.1."""
    return said == meant or ("." in meant and meant.split(".")[0] == said)


def _by_numbers(row: Mapping[str, Any]) -> Transformer:
    name, billions = _bare(str(row["model"])), number(row, "params_b")
    size = re.search(r"(\d+(?:\.\d+)?)\s*([mbt])\b", name.lower())
    if billions is None and size:
        billions = float(size[1]) * {"m": 1e-3, "b": 1.0, "t": 1e3}[size[2]]
    active = number(row, "active_params_b")
    mixed = re.search(r"a\d+(\.\d+)?b|\dx\d", plain(name))  # A3B, 8x7B
    if mixed or (active and billions and active < 0.9 * billions):
        raise StackbookError(
            f"model {row['model']!r} is sparse and not in table transformers; add its architecture"
        )
    layers, width = whole(row, "layers"), whole(row, "hidden")
    if not (layers and width):
        if billions is None:
            raise StackbookError(
                f"model {row['model']!r} is not in table transformers; "
                "give its layers and hidden, or params_b"
            )
        layers = max(1, round((billions * 1e9 / 12 / ASPECT**2) ** (1 / 3)))
        width = 128 * max(1, round(ASPECT * layers / 128))
    heads = whole(row, "heads") or max(1, width // 128)
    ffn = 4 * width
    if billions:  # what attention and the embedding leave, if that is no ungated network of 4
        rest = (billions * 1e9 - VOCABULARY * width) / layers - 4 * width**2
        if not 0.8 < rest / (2 * width * ffn) < 1.25 and rest > 0:
            ffn = max(1, round(rest / (2 * width)))
    sizes = {"layers": layers, "width": width, "heads": heads, "kv_heads": heads, "ffn": ffn}
    shape = {"head_size": max(1, width // heads), "vocabulary": VOCABULARY}
    return transformer(**sizes, **shape, gated=False, tied=True)


def year(row: Mapping[str, Any]) -> int | None:
    """The first year that a row's source names."""
    years = re.findall(r"(?<!\d)20[12]\d(?!\d)", f"{row.get('source')} {row.get('as_of') or ''}")
    return min(map(int, years)) if years else None


def number(row: Mapping[str, Any], name: str, least: float = 0.0) -> float | None:
    """A cell's number, None where it is empty; ValueError where it is no number in range."""
    cell = row.get(name)
    if cell is None or str(cell).strip().lower() in EMPTY:
        return None
    try:
        value = float(str(cell).replace(",", ""))
    except ValueError:
        raise StackbookError(f"{name} is {cell!r}, no number") from None
    if not (isfinite(value) and value >= least):
        raise StackbookError(f"{name} is {cell!r}; give {least:g} or more")
    return value


def whole(row: Mapping[str, Any], name: str, least: float = 1.0) -> int | None:
    value = number(row, name, least)
    if value is not None and value % 1:
        raise StackbookError(f"{name} is {row[name]!r}, no whole number")
    return None if value is None else int(value)
