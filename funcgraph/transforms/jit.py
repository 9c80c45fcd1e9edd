"""Compilation for users: `jit`, on the NumPy engine or on XLA.

A compiled function is one primitive, `jit_call`, whose graph is an attribute: its derivatives and
batches are graphs too, compiled once each. May import `core`, `engines`, `ops`, `tree`,
`transforms`.
"""

from __future__ import annotations

import functools
import importlib
import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from funcgraph import tree
from funcgraph.core.budget import MemoryReport, bytes_of
from funcgraph.core.graph import Graph
from funcgraph.core.origin import named
from funcgraph.core.primitive import General, Primitive
from funcgraph.core.simplify import simplify
from funcgraph.core.trace import KIND
from funcgraph.errors import StaticArgumentError, user_line
from funcgraph.ops.buffers import Scope, scope
from funcgraph.transforms.arguments import (
    all_finite,
    are_plain,
    name_of,
    run,
    snapshot,
    static_set,
)
from funcgraph.transforms.cache_keys import difference, leaf_aval, leaf_key
from funcgraph.transforms.collectives import axis_sizes
from funcgraph.transforms.entries import (
    NO_STATIC,
    CacheInfo,
    Entry,
    Static,
    derivatives_of,
    late,
    spread,
)
from funcgraph.transforms.inspection import DESCENTS, inspection
from funcgraph.transforms.partial import batch_graph, cached, compiled, split, tangent_graph
from funcgraph.transforms.stage import StrongZeros, stage_closed, strong_zeros
from funcgraph.transforms.straight import Straight
from funcgraph.tree.exact import fixed

if TYPE_CHECKING:
    from funcgraph.transforms.source import Source

__all__ = ["CacheInfo", "Jitted", "clear_caches", "jit", "jit_call"]

BACKENDS = ("numpy", "xla")
_MAX_ENTRIES = 128  # of each function; the one that was not used for the longest time goes
_SOME = 3  # calls after which a shortcut to a program pays


# --- the primitive -------------------------------------------------------------------------------


def _call_numpy(*args: Any, graph: Graph, backend: str, **_: Any) -> tuple[Any, ...]:
    return compiled(graph, backend)(*args)


def _call_jax(jax: Any, *args: Any, graph: Graph, backend: str, **_: Any) -> tuple[Any, ...]:
    if backend == "xla" and not any(isinstance(x, jax.core.Tracer) for x in args):
        return compiled(graph, backend)(*args)
    return tuple(graph.run(*args))


def _jvp(
    tangents: Any, y: Any, *args: Any, graph: Graph, backend: str, safe: bool, **_: Any
) -> Any:
    args = args[: len(graph.inputs)]
    varying = tuple(t is not None for t in tangents[: len(args)])
    given = [t for t in tangents if t is not None]
    return jit_call(*args, *given, graph=tangent_graph(graph, varying, safe), backend=backend)


def _augment(args: Any, attrs: dict[str, Any], varying: tuple[bool, ...]) -> Any:
    graph, backend = attrs["graph"], attrs["backend"]
    passes = split(graph, varying)
    outs = jit_call(*args, graph=passes.forward, backend=backend)
    n = len(graph.outputs)
    places = (*args, *outs[n:])
    residuals = [places[k] for k in passes.sources]
    return outs[:n], residuals, {**attrs, "passes": passes, "varying": varying}


def _vjp(
    g: Any,
    y: Any,
    *args: Any,
    graph: Graph,
    backend: str,
    passes: Any,
    varying: tuple[bool, ...],
    safe: bool,
) -> Any:
    n = len(graph.inputs)
    residuals: Any = args[n:]
    if safe:  # other residuals: the forward pass runs again
        passes = split(graph, varying, safe)
        outs = jit_call(*args[:n], graph=passes.forward, backend=backend)
        places = (*args[:n], *outs[len(graph.outputs) :])
        residuals = [places[k] for k in passes.sources]
    cts = jit_call(*g, *residuals, graph=passes.backward, backend=backend)
    found = iter([ct if has else None for ct, has in zip(cts, passes.reached, strict=True)])
    return tuple(next(found) if flag else None for flag in varying)


def _batch(primitive: Any, size: int, args: Any, batched: Any, attrs: Any) -> Any:
    graph = batch_graph(attrs["graph"], size, tuple(batched[: len(attrs["graph"].inputs)]))
    return jit_call(*args, graph=graph, backend=attrs["backend"])


DESCENTS["jit_call"] = lambda *args, graph, **_: tuple(graph.run(*args))

jit_call: Primitive = Primitive(
    "jit_call",
    _call_numpy,
    _call_jax,
    lambda *avals, graph, backend, **_: graph.output_avals,
    General(_jvp, _vjp),
    _batch,
    many=True,
    augment=_augment,
)


# --- the function --------------------------------------------------------------------------------


_functions: weakref.WeakSet[Jitted] = weakref.WeakSet()


class Jitted:
    """A compiled function: what `jit` returns. Called like the function itself."""

    def __init__(
        self, fun: Callable[..., Any], backend: str, static: frozenset[Any], options: dict[str, Any]
    ) -> None:
        functools.update_wrapper(self, fun)
        self._fun = fun
        self._backend = backend
        self._static = static
        self._options = options
        self._entries: OrderedDict[Any, Entry] = OrderedDict()
        self._compilations: list[tuple[Any, str]] = []  # keys and lines
        self._hits = 0
        self._straight = Straight()  # on NumPy: past all that a call has to find out
        _functions.add(self)

    def __repr__(self) -> str:
        return f"<jit of {name_of(self._fun)}, backend {self._backend!r}>"

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        """Return the method of an instance, where a method is decorated."""
        return self if instance is None else functools.partial(self, instance)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the compiled program for these arguments; stage and compile it first if need be."""
        if inspection.get() is not None:
            return self._inspected(args, kwargs)
        if self._straight.known:
            found = self._straight(args, kwargs)
            if found is not NotImplemented:
                self._hits += 1
                return found
        leaves, structure, static = self._flatten(*snapshot((args, kwargs)))
        entry = self._entry(leaves, structure, static)
        if entry.closed_over or not are_plain(leaves, self._backend):
            if (names := named.get()) is not None and names.whole:  # people read lines, no calls
                return run(self._fun, args, kwargs)
            outs = jit_call(*leaves, *entry.closed_over, graph=entry.graph, backend=self._backend)
        elif entry.kept and self._takes_shortcut():
            self._hits -= 1
            return self(*args, **kwargs)
        else:
            outs = entry.run(*leaves)
            if entry.run.calls == _SOME and self._may_go_straight(entry):
                self._straight.add(leaves, structure, entry.structure, entry.run.program)
            if outs is None:  # a derivative is not finite
                outs = self._entry(leaves, structure, static, safe=True).run(*leaves)
        return tree.unflatten(entry.structure, outs)

    def _may_go_straight(self, entry: Entry) -> bool:
        return entry.kept and self._backend == "numpy" and not self._static

    def _takes_shortcut(self) -> bool:
        """Return whether a shortcut past all this was made just now."""
        return False

    def _inspected(self, args: Any, kwargs: Any) -> Any:
        """Run the function itself, operation by operation, on its arguments under inspection."""
        now = inspection.get()
        assert now is not None
        if not now.inside:
            outs = now.inspector.call(self, *args, **kwargs)
            return tree.map(lambda y: y.copy() if type(y) is np.ndarray else y, outs)
        leaves, structure, static = self._flatten(*snapshot((args, kwargs)))
        paths = [path for path, _ in tree.leaves_with_path(tree.unflatten(structure, leaves))]
        for k, (x, path) in enumerate(zip(leaves, paths, strict=True)):
            leaf_key(x, self._fun)
            x = self._on_device(x) if isinstance(x, np.ndarray | np.generic) else x
            name = f"argument {tree.keystr(path[1:])} of {name_of(self._fun)}"
            leaves[k] = now.inspector.enter(x, functools.partial(str, name))
        outs = run(self._fun, *self._arguments(structure, leaves, static))
        return tree.map(lambda y: y if KIND[type(y)] else self._on_device(np.asarray(y)[()]), outs)

    def _on_device(self, x: Any) -> Any:
        """Return an array as one of the backend's."""
        if self._backend == "numpy":
            return x
        return importlib.import_module("funcgraph.engines.xla").asarray(x)

    def _flatten(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any, Static]:
        """Return leaves and structure of the dynamic arguments, and the static ones."""
        if not self._static:
            return *tree.flatten((args, kwargs)), NO_STATIC
        fixed: list[tuple[Any, Any]] = []
        dynamic: list[Any] = []
        for k, x in enumerate(args):
            at = k if k in self._static else k - len(args)
            if at in self._static:
                fixed.append((k, x))
            else:
                dynamic.append(x)
        named = {n: x for n, x in kwargs.items() if n not in self._static}
        fixed += [(n, x) for n, x in kwargs.items() if n in self._static]
        for at, x in fixed:
            try:
                hash(x)
            except TypeError:
                raise StaticArgumentError(
                    f"static argument {at!r} of {name_of(self._fun)} is a {type(x).__name__}, "
                    "which has no hash, so its compiled program could not be found again. Pass a "
                    "number, a string or a tuple, or make the argument dynamic."
                ) from None
        return *tree.flatten((tuple(dynamic), named)), Static.of(fixed)

    def _arguments(self, structure: Any, leaves: Any, static: Static) -> Any:
        args, kwargs = tree.unflatten(structure, leaves)
        args = list(args)
        for at, x in static.values:
            if isinstance(at, int):
                args.insert(at, x)
            else:
                kwargs[at] = x
        return args, kwargs

    def _entry(
        self, leaves: list[Any], structure: Any, static: Static, safe: bool = False
    ) -> Entry:
        axes = axis_sizes()
        avals = tuple([leaf_key(x, self._fun) for x in leaves])
        key = (structure, avals, static, safe, axes, fixed(structure.spec))
        entry = self._entries.get(key)
        if entry is not None:
            self._hits += 1
            self._entries.move_to_end(key)
            return entry
        self._compilations.append((key, user_line()))
        del self._compilations[:-_MAX_ENTRIES]
        plan = StrongZeros(safe)
        token = strong_zeros.set(plan)
        around = Scope()
        here = scope.set(around)
        try:
            entry = self._stage(leaves, structure, static, plan)
        finally:
            scope.reset(here)
            strong_zeros.reset(token)
        # Another call may close over other tracers, or over other contents of the same array.
        if not entry.closed_over and not around.foreign:
            self._entries[key] = entry = entry._replace(kept=not axes)
            if len(self._entries) > _MAX_ENTRIES:
                self._entries.popitem(last=False)
        return entry

    def _stage(self, leaves: list[Any], structure: Any, static: Static, plan: StrongZeros) -> Entry:
        found = None

        def flat(*tracers: Any) -> list[Any]:
            nonlocal found
            args, kwargs = self._arguments(structure, tracers, static)
            outs, found = tree.flatten(run(self._fun, args, kwargs))
            return outs

        graph, closed = stage_closed(flat, [leaf_aval(x) for x in leaves])
        options = self._leaf_options(structure, static, found)
        if self._backend == "numpy" and plan.derivatives and not plan.safe:
            options |= {"finite": all_finite, "derivatives": derivatives_of(graph, plan)}
        return Entry(graph, found, closed, late(graph, self._backend, options))

    def _leaf_options(self, structure: Any, static: Static, outputs: Any) -> dict[str, Any]:
        """Return the options for the engine; what stands for arguments is spread to leaves."""
        options = dict(self._options)
        if not options:
            return options
        args, _ = tree.unflatten(structure, range(structure.num_leaves))
        if "donate_argnums" in options:
            donated, held = options["donate_argnums"], [k for k, _ in static.values]
            every, _ = self._arguments(structure, range(structure.num_leaves), static)
            n = len(every)
            if any(not -n <= k < n or k % n in held for k in donated):
                raise ValueError(
                    f"donate_argnums={donated!r}, but {name_of(self._fun)} was called with {n} "
                    f"positional argument(s), of which {held} are static."
                )
            options["donate_argnums"] = tuple(tree.leaves([every[k] for k in donated]))
        if "in_shardings" in options:
            options["in_shardings"] = tuple(spread(options["in_shardings"], args))
        if "out_shardings" in options:
            out = tree.unflatten(outputs, range(outputs.num_leaves))
            options["out_shardings"] = tuple(spread(options["out_shardings"], out))
        return options

    def memory_report(self, *args: Any, **kwargs: Any) -> MemoryReport:
        """Return how much memory the program for these arguments needs, and what a budget cost.

        Bytes are those of values that are alive at one time; what an engine fuses takes less.

        Returns:
          A report that prints: peak (with and without memory_budget), what is computed again, at
          which lines, for how many FLOPs more, and what is alive at the peak.

        Raises:
          MemoryBudgetError: No program was found that stays within the budget.

        Example:
          >>> import numpy as np
          >>> import funcgraph as fg
          >>> f = lambda x: np.sum(np.sin(np.sin(np.sin(np.sin(np.sin(np.sin(x)))))))
          >>> report = fg.jit(fg.grad(f), memory_budget="40kB").memory_report(np.ones(1000))
          >>> report.before, report.peak
          (56000, 40000)
        """
        leaves, structure, static = self._flatten(args, kwargs)
        entry = self._entry(leaves, structure, static)
        engine = importlib.import_module(f"funcgraph.engines.{self._backend}")
        options = self._leaf_options(structure, static, entry.structure)
        key = ("memory", self._backend, *sorted(options.items()))
        report: MemoryReport = cached(
            entry.graph, key, lambda: engine.memory_of(entry.graph, **options)
        )
        return report

    def graph(self, *args: Any, **kwargs: Any) -> Graph:
        """Return the simplified graph that runs for these arguments."""
        return simplify(self._entry(*self._flatten(args, kwargs)).graph)

    def source(self, *args: Any, **kwargs: Any) -> Source:
        """Return the program for these arguments as text that needs NumPy alone.

        `fg.source(f)(*args)` of the compiled function: see there.

        Raises:
          NoSourceError: An operation is a function of JAX (from_jax), or the function closes over
            traced values.

        Example:
          >>> import numpy as np
          >>> import funcgraph as fg
          >>> text = fg.jit(fg.grad(lambda x: np.sum(np.sin(x)))).source(np.ones(2))
          >>> text.function()(np.zeros(2))
          array([1., 1.])
        """
        return self.__source__("numpy", *args, **kwargs)  # type: ignore[no-any-return]

    def __source__(self, style: str, *args: Any, **kwargs: Any) -> Any:
        """Write the function in a style of `source`."""
        _, _, static = self._flatten(args, kwargs)
        written = importlib.import_module("funcgraph.transforms.source").written
        return written(self._fun, args, kwargs, dict(static.values), style)

    def lower(self, *args: Any, **kwargs: Any) -> Any:
        """Return JAX's lowered program for these arguments (backend "xla"); it has .compile()."""
        if self._backend != "xla":
            raise ValueError("lower needs jit(..., backend='xla'); see graph(...) for the other.")
        leaves, structure, static = self._flatten(args, kwargs)
        entry = self._entry(leaves, structure, static)
        engine = importlib.import_module("funcgraph.engines.xla")
        return engine.lower(
            entry.graph, leaves, **self._leaf_options(structure, static, entry.structure)
        )

    def cache_info(self) -> CacheInfo:
        """Return hits, misses, maximal and current size of the cache of compiled programs."""
        return CacheInfo(self._hits, len(self._compilations), _MAX_ENTRIES, len(self._entries))

    def clear_cache(self) -> None:
        """Forget all compiled programs of this function."""
        self._entries.clear()
        self._compilations.clear()
        self._hits = 0
        self._straight = Straight()

    def explain_recompiles(self) -> str:
        """Return one line for each compilation: where it was asked for, and what was new."""
        lines = []
        for k, (key, line) in enumerate(self._compilations):
            why = "first call" if k == 0 else difference(self._compilations[k - 1][0], key)
            lines.append(f"{line}: {why}")
        return "\n".join(lines)


def jit(
    fun: Callable[..., Any] | None = None,
    *,
    backend: str = "numpy",
    static_argnums: int | tuple[int, ...] = (),
    static_argnames: str | tuple[str, ...] = (),
    donate_argnums: int | tuple[int, ...] = (),
    memory_budget: int | str | None = None,
    **options: Any,
) -> Any:
    """Return a compiled version of `fun`.

    The function is run once on tracers for every new combination of shapes, dtypes, tree structure
    and static values; later calls run the compiled program.

    Args:
      fun: A pure function of arrays (pytrees). Its Python control flow may depend on shapes and
        static arguments, not on values.
      backend: "numpy": one flat Python function that calls NumPy; "xla": one jax.jit, with NumPy's
        dtypes (float64 stays float64), whose results are JAX arrays that stay on the device.
      static_argnums: Positions of arguments that are part of the program; they must be hashable.
      static_argnames: Names of such arguments.
      donate_argnums: Positions of arguments that are not needed after the call: their memory may
        be used for the results, so do not read them afterwards. On NumPy, `w - 0.1 * g` is written
        into w, if it owns its memory, is writable and overlaps no other argument.
      memory_budget: How much may be alive at one time, with arguments and results: bytes, or a
        string such as "200MB" or "1.5GiB". Where it would be more, values are computed again
        instead of being kept: those that a minimum cut of the program finds the cheapest. See
        memory_report. It holds for calls of the compiled function itself; another transformation of
        it makes another program, which has no budget: put the jit outside.
      **options: Passed on to jax.jit (backend "xla"): device, in_shardings, out_shardings.

    Returns:
      The compiled function (also a decorator: `@jit`, `@jit(backend="xla")`). It has graph(*args),
      source(*args), memory_report(*args), cache_info(), clear_cache(), explain_recompiles(), and
      lower(*args) on XLA.

    Raises:
      ConcretizationError: Python control flow depends on values.
      StaticArgumentError: An argument is no array and not static, or a static one has no hash.
      MissingPackageError: backend="xla" without JAX.
      MemoryBudgetError: At the first call: no program was found that stays within the budget.
      ValueError: An argument of jit is not what it must be, such as a budget without a unit.

    Example:
      >>> import numpy as np
      >>> import funcgraph as fg
      >>> step = fg.jit(lambda w, x: w - 0.1 * fg.grad(lambda w: np.sum((x @ w) ** 2))(w))
      >>> step(np.ones(2), np.array([[1.0, 2.0]]))
      array([ 0.4, -0.2])
    """
    if backend not in BACKENDS:
        raise ValueError(f"backend of jit must be one of {BACKENDS}, got {backend!r}")
    if options and backend != "xla":
        raise ValueError(f"jit got {sorted(options)}, which only backend='xla' knows.")
    if fun is None:
        return functools.partial(
            jit,
            backend=backend,
            static_argnums=static_argnums,
            static_argnames=static_argnames,
            donate_argnums=donate_argnums,
            memory_budget=memory_budget,
            **options,
        )
    if not callable(fun):
        raise TypeError(f"jit needs a function, got a {type(fun).__name__}.")
    if donate_argnums != ():
        numbers = (donate_argnums,) if isinstance(donate_argnums, int) else tuple(donate_argnums)
        options["donate_argnums"] = numbers
    if memory_budget is not None:
        options["memory_budget"] = bytes_of(memory_budget)
    cls = Jitted
    if backend == "xla":
        cls = importlib.import_module("funcgraph.transforms.on_xla").OnXLA
    return cls(fun, backend, static_set(fun, static_argnums, static_argnames), options)


def clear_caches() -> None:
    """Forget all compiled programs of all functions.

    Example:
      >>> clear_caches()
    """
    for function in list(_functions):
        function.clear_cache()
