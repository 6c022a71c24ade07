"""The one place that fixes how kernels are compiled.

float64, cached on disk, no fastmath; numba's ufuncs always divide as NumPy does, without raising.
"""

import ast
import functools
import hashlib
import inspect
import operator
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, TypeVar, overload

import numpy as np
from llvmlite import ir
from numba import float64, njit, void
from numba.core.caching import Cache, make_library_cache
from numba.core.compiler_lock import global_compiler_lock
from numba.extending import intrinsic
from numba.np.ufunc.dufunc import DUFunc
from numba.np.ufunc.ufuncbuilder import _compile_element_wise_function
from numba.np.ufunc.wrappers import build_ufunc_wrapper

_F = TypeVar("_F", bound=Callable[..., Any])
_threads = ContextVar("threads", default=1)
_CHUNK = 100_000  # elements of an array that are worth a thread
_BLOCK = 8_192  # elements that stay in a processor's cache
_REPEAT = 1_000  # elements for which a number is worth repeating
LANES = 8


@contextmanager
def threads(number: int) -> Iterator[None]:
    """Within the block, formulas over long one-dimensional arrays run on `number` threads at once.

    The results are the same bits on any number. It holds for calls from the thread or task that
    entered the block; arrays of more dimensions and all other inputs take one thread, except that
    Polars brings threads of its own to expressions. Raises ValueError for less than one and
    TypeError for what is no whole number.
    """
    try:
        count = operator.index(number)
    except TypeError:
        raise TypeError(f"threads({number!r}): give a whole number, 1 or more") from None
    if count < 1:
        raise ValueError(f"threads({count}): give a whole number, 1 or more")
    token = _threads.set(count)
    try:
        yield
    finally:
        _threads.reset(token)


def on_threads(function: Callable[..., Any], *arguments: Any) -> list[Any]:
    """As `map`, on as many threads as the block `threads` says, for functions that hold no lock."""
    number = min(_threads.get(), *map(len, arguments))
    if number < 2:
        return list(map(function, *arguments))
    with ThreadPoolExecutor(number) as pool:
        return list(pool.map(function, *arguments))


def search(function: _F) -> _F:
    """A compiled function of arrays and floats, for loops that a formula has no room for.

    Compiled (or read from the cache) when first used. It holds no lock while it runs.
    """
    compiled: Any = njit(cache=True, error_model="numpy", nogil=True)(function)
    follow_imports(compiled._cache, function)
    return compiled  # type: ignore[no-any-return]


def formula(function: Callable[..., float]) -> "Formula":
    """A scalar function as a compiled ufunc.

    Takes floats, arrays, polars Series or expressions, by position or by name; other compiled
    functions can call it by position. Outside its domain a formula returns NaN, without a warning.
    """
    return Formula(function)


LoopCache = make_library_cache("loop")


class Formula(DUFunc):
    """A ufunc of float64 arguments, compiled (or read from the cache) when first used."""

    _add_loop: Any
    _dispatcher: Any
    _frozen: bool
    _keepalive: list[Any]
    _lower_me: Any

    def __init__(self, function: Callable[..., float]) -> None:
        super().__init__(function, cache=True, targetoptions={"nopython": True})
        self._dispatcher._compile_core = functools.partial(inlined, self._dispatcher._compile_core)
        self._arguments = tuple(inspect.signature(function).parameters)
        self._loops = LoopCache(function)
        for cache in (self._dispatcher.cache, self._loops):
            follow_imports(cache, function)

    @overload
    def __call__(self, *args: float, **kwargs: float) -> float: ...
    @overload
    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self._compile()
        named = tuple(kwargs.pop(a) for a in self._arguments[len(args) :] if a in kwargs)
        values = (*args, *named)
        plain = not kwargs and len(values) == len(self._arguments)
        with np.errstate(all="ignore"):
            if plain and all(map(_splits, values)):
                shape = np.broadcast_shapes(*map(np.shape, values))
                gains = _threads.get() > 1 or any(np.size(value) == 1 for value in values)
                if gains and len(shape) == 1 and shape[0] >= _REPEAT:
                    return self._in_blocks(values, shape[0])
            return super().__call__(*values, **kwargs)

    def _in_blocks(self, values: tuple[Any, ...], size: int) -> Any:
        """A one-dimensional result in slices, on threads if these are wanted.

        A number beside arrays is repeated for the length of a block: a ufunc's loop is SIMD where
        each argument is an array. It holds no lock.
        """
        result = np.empty(size)
        length = min(size, _BLOCK)
        columns = [v if np.size(v) > 1 else np.full(length, v, float) for v in values]
        number = max(1, min(_threads.get(), size // _CHUNK))
        ends = [size * i // number for i in range(number + 1)]
        call = super().__call__

        def fill(start: int, end: int) -> None:
            with np.errstate(all="ignore"):  # a thread has its own
                for at in range(start, end, _BLOCK):
                    to = min(at + _BLOCK, end)
                    part = (c[at:to] if c.size == size else c[: to - at] for c in columns)
                    call(*part, out=result[at:to])

        on_threads(fill, ends[:-1], ends[1:])
        return result

    def __reduce__(self) -> str:
        return self.__name__  # pickled as a plain function is: by module and name

    def _type_me(self, argument_types: Any, keyword_types: Any) -> Any:
        self._compile()
        return super()._type_me(argument_types, keyword_types)  # type: ignore[misc]

    def _compile(self) -> None:
        if self._frozen:
            return
        with global_compiler_lock:
            if not self._frozen:  # by another thread, while this one waited
                self._add_cached_loop(float64(*[float64] * len(self._arguments)))
                self.disable_compile()

    def _add_cached_loop(self, signature: Any) -> None:
        """As DUFunc.add, which caches the function, but compiles the loop over it each time."""
        compiled, *_ = _compile_element_wise_function(
            self._dispatcher, self.targetoptions, signature
        )
        name = f"__ufunc__.{compiled.fndesc.llvm_func_name}"
        context = compiled.target_context
        library = self._loops.load_overload(signature, context)
        pointer = library.get_pointer_to_function(name) if library else 0
        if not pointer:  # none yet, or one over the function as another process compiled it
            function = compiled.fndesc.llvm_func_name
            loop = build_ufunc_wrapper(
                compiled.library, context, function, signature, False, compiled
            )
            library = loop.library
            library.enable_object_caching()
            library.finalize()
            self._loops.save_overload(signature, library)
            pointer = library.get_pointer_to_function(name)
        self._add_loop(int(pointer), [np.dtype(np.float64).num] * (len(self._arguments) + 1))
        self._keepalive.append((pointer, library, compiled.environment))
        self._lower_me.libs.append(compiled.library)


def _splits(value: Any) -> bool:
    """Whether slices do for the whole. Subclasses of an array may hold more, as a mask."""
    return type(value) is np.ndarray or isinstance(value, float | int)


def _fma(_typing: Any, x: Any, y: Any, z: Any) -> Any:
    """x * y + z, rounded once: the same bits everywhere, one instruction on most processors."""
    return float64(float64, float64, float64), lambda _c, builder, _s, values: builder.fma(*values)


fma: Callable[[float, float, float], float] = intrinsic(_fma)  # type: ignore[assignment]


def sum_products(products: tuple[tuple[int, ...], ...]) -> Callable[..., None]:
    """A function (rows, sums): `sums[s]` is the sum over columns of the product of `rows` s.

    Columns are a multiple of LANES. Each lane adds up its own columns: SIMD without the licence of
    fastmath to choose an order, so that the sums have the same bits on every processor.
    """
    integer, vector = ir.IntType(64), ir.VectorType(ir.DoubleType(), LANES)
    used = sorted({row for product in products for row in product})

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        rows, sums = (
            context.make_array(kind)(context, builder, value)
            for kind, value in zip(signature.args, values, strict=True)
        )
        columns = builder.extract_value(rows.shape, 1)
        start, head, body, done = builder.block, *map(builder.append_basic_block, "hbd")
        builder.branch(head)

        builder.position_at_end(head)
        column = builder.phi(integer)
        column.add_incoming(integer(0), start)
        totals = [builder.phi(vector) for _ in products]
        for total in totals:
            total.add_incoming(vector([0.0] * LANES), start)
        builder.cbranch(builder.icmp_signed("<", column, columns), body, done)

        builder.position_at_end(body)
        parts: dict[tuple[int, ...], Any] = {}
        for row in used:
            at = builder.gep(rows.data, [builder.add(builder.mul(integer(row), columns), column)])
            parts[row,] = builder.load(builder.bitcast(at, vector.as_pointer()))
            parts[row,].align = 8
        for total, product in zip(totals, products, strict=True):
            for end in range(2, len(product) + 1):
                if product[:end] not in parts:
                    factor = parts[product[end - 1],]
                    parts[product[:end]] = builder.fmul(parts[product[: end - 1]], factor)
            total.add_incoming(builder.fadd(total, parts[product]), body)
        column.add_incoming(builder.add(column, integer(LANES)), body)
        builder.branch(head)

        builder.position_at_end(done)
        for number, total in enumerate(totals):
            lanes = [builder.extract_element(total, integer(lane)) for lane in range(LANES)]
            while len(lanes) > 1:
                lanes = list(map(builder.fadd, lanes[::2], lanes[1::2]))
            builder.store(lanes[0], builder.gep(sums.data, [integer(number)]))
        return context.get_dummy_value()

    def typed(_typing: Any, rows: Any, sums: Any) -> Any:
        return void(rows, sums), generate

    return intrinsic(typed)


def inlined(compile_core: Callable[..., Any], signature: Any, flags: Any, locals: Any) -> Any:
    """Compile into what calls it: LLVM makes SIMD only of loops without calls."""
    flags.forceinline = True
    return compile_core(signature, flags, locals)


def follow_imports(cache: Cache, function: Callable[..., Any]) -> None:
    """Make a function's cache stale when a kernel module changes that its module imports.

    numba alone looks only at the function's own file, and the code of others is compiled in. It
    stamps the index of what is cached, here also each file of code: a process that was stopped
    between the two, or runs on older sources, must not leave its code under the new index.
    """
    paths, todo = set[Path](), {Path(inspect.getfile(function))}
    while todo:
        paths |= todo
        todo = {p for path in todo for p in _imports(path, path.stat().st_mtime_ns)} - paths
    sources = b"".join(path.read_bytes() for path in sorted(paths))
    files: Any = cache._cache_file
    stamp = hashlib.sha256(sources).hexdigest()
    save, load, load_index = files._save_data, files._load_data, files._load_index

    def index() -> Any:
        try:
            return load_index()
        except AttributeError:  # it names a record that older sources had
            return {}

    def fresh(name: str) -> Any:
        found, data = load(name)
        if found != stamp:
            raise FileNotFoundError(f"{name} is of other sources")  # numba then compiles
        return data

    files._source_stamp = stamp
    files._save_data = lambda name, data: save(name, (stamp, data))
    files._load_data, files._load_index = fresh, index


@functools.cache
def _imports(path: Path, _mtime: int) -> frozenset[Path]:
    """The modules beside a module whose names stand in its import statements."""
    statements = [
        node
        for node in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    names = [alias.name for node in statements for alias in node.names]
    names += [node.module or "" for node in statements if isinstance(node, ast.ImportFrom)]
    stems = {part for name in names for part in name.split(".")}
    return frozenset(p for stem in stems if (p := path.with_name(f"{stem}.py")).exists())
