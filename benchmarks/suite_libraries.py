"""The subjects of the suite: libraries, in what one workload needs of them, and how they compile.

A workload is written once with a `Library` as its argument: `np` is a namespace like NumPy's, the
other methods are what such a namespace lacks. Each library overrides those for which it has a
function of its own, so that everybody is timed on what its users would call. What a library cannot
do raises NotImplementedError. A library's packages are imported when it is made, not before: the
memory and the start of a process are measured too.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
from collections.abc import Callable
from typing import Any, NamedTuple

__all__ = ["SUBJECTS", "Library", "Subject", "installed", "leaves"]

Function = Callable[..., Any]


def leaves(result: Any) -> list[Any]:
    """Return the arrays of nested tuples, lists and dicts, the latter by sorted keys."""
    if isinstance(result, dict):
        result = [result[key] for key in sorted(result)]
    if isinstance(result, (tuple, list)):
        return [leaf for part in result for leaf in leaves(part)]
    return [result]


class Library:
    """What workloads call; scans are Python loops, and layers are written with `np`."""

    np: Any

    # --- derivatives of f(params, *data); params: an array or a dict of arrays ---

    def value(self, f: Function) -> Function:
        return f

    def value_and_grad(self, f: Function) -> Function:
        """Value and gradient by the first argument."""
        raise NotImplementedError

    def hessian(self, f: Function) -> Function:
        raise NotImplementedError

    def jacobian(self, f: Function) -> Function:
        raise NotImplementedError

    def per_example(self, f: Function) -> Function:
        """Gradients for each element of the data."""
        raise NotImplementedError

    def arrays(self, args: Any) -> Any:
        """Return NumPy's arguments as the library wants them."""
        return args

    def ready(self, result: Any) -> Any:
        """Wait until a result is there."""
        return result

    def compiled(self, derivative: Function) -> Function:
        return derivative

    def run(self, function: Callable[[Any], Function], kind: str, args: Any) -> Callable[[], Any]:
        """Return what computes the derivative once."""
        derivative = self.compiled(getattr(self, kind)(function(self)))
        arrays = self.arrays(args)
        return lambda: self.ready(derivative(*arrays))

    # --- what namespaces lack ---

    def scan(self, step: Function, carry: Any, xs: Any, length: int | None = None) -> Any:
        """As jax.lax.scan for one array of xs and of results; either may be None."""
        ys = []
        for k in range(length if xs is None else len(xs)):
            carry, y = step(carry, None if xs is None else xs[k])
            ys.append(y)
        return carry, None if ys[0] is None else self.np.stack(ys)

    def solve_triangular(self, a: Any, b: Any) -> Any:
        """Solve with a lower triangle."""
        raise NotImplementedError

    def take(self, rows: Any, index: Any) -> Any:
        return rows[index]

    def relu(self, x: Any) -> Any:
        return self.np.maximum(x, 0)

    def gelu(self, x: Any) -> Any:
        """By tanh."""
        inner = math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)
        return 0.5 * x * (1 + self.np.tanh(inner))

    def sigmoid(self, x: Any) -> Any:
        return 0.5 * (self.np.tanh(0.5 * x) + 1)

    def softmax(self, z: Any) -> Any:
        """Along the last axis."""
        e = self.np.exp(z - self.np.max(z, axis=-1, keepdims=True))
        return e / self.np.sum(e, axis=-1, keepdims=True)

    def cross_entropy(self, z: Any, onehot: Any) -> Any:
        """Mean over a batch of logits (batch, classes)."""
        z = z - self.np.max(z, axis=1, keepdims=True)
        z = z - self.np.log(self.np.sum(self.np.exp(z), axis=1, keepdims=True))
        return -self.np.sum(z * onehot) / len(onehot)

    def normalised(self, x: Any, axes: Any, scale: Any, bias: Any) -> Any:
        np = self.np
        centred = x - np.mean(x, axis=axes, keepdims=True)
        variance = np.mean(centred * centred, axis=axes, keepdims=True)
        return centred / np.sqrt(variance + 1e-5) * scale + bias

    def batch_norm(self, x: Any, scale: Any, bias: Any) -> Any:
        return self.normalised(x, (0, 1, 2), scale, bias)

    def layer_norm(self, x: Any, scale: Any, bias: Any) -> Any:
        return self.normalised(x, -1, scale, bias)

    def attention(self, q: Any, k: Any, v: Any) -> Any:
        """Of arrays (batch, time, heads, features)."""
        np = self.np
        q, k, v = (np.swapaxes(x, 1, 2) for x in (q, k, v))
        scores = np.matmul(q, np.swapaxes(k, 2, 3)) * (q.shape[-1] ** -0.5)
        return np.swapaxes(np.matmul(self.softmax(scores), v), 1, 2)

    def conv(self, x: Any, w: Any, stride: int = 1, padding: int = 0) -> Any:
        """NHWC, HWIO."""
        raise NotImplementedError

    def max_pool(self, x: Any) -> Any:
        """Of windows of 2 by 2."""
        raise NotImplementedError

    def rnn(self, p: Any, xs: Any, zero: Any) -> Any:
        """Return the states (time, batch, features)."""

        def step(h: Any, x: Any) -> Any:
            h = self.np.tanh(x @ p["x"] + h @ p["h"] + p["b"])
            return h, h

        return self.scan(step, zero, xs)[1]

    def lstm(self, p: Any, xs: Any, zero: Any) -> Any:
        """The same; gates: input, forget, candidate, output."""
        size = zero.shape[1]

        def step(carry: Any, x: Any) -> Any:
            h, c = carry
            z = x @ p["x"] + h @ p["h"] + p["b"]
            i, f, g, o = (z[:, k * size : (k + 1) * size] for k in range(4))
            c = self.sigmoid(f) * c + self.sigmoid(i) * self.np.tanh(g)
            h = self.sigmoid(o) * self.np.tanh(c)
            return (h, c), h

        return self.scan(step, (zero, zero), xs)[1]


class Funcgraph(Library):
    """Ours: eager, or compiled by an engine."""

    def __init__(self, backend: str = "") -> None:
        import funcgraph as fg
        import funcgraph.numpy as fnp

        self.fg, self.nn, self.np, self.backend = fg, fg.nn, fnp, backend
        self.value_and_grad = fg.value_and_grad
        self.hessian, self.jacobian, self.scan = fg.hessian, fg.jacobian, fg.scan
        self.relu, self.gelu, self.sigmoid = fg.nn.relu, fg.nn.gelu, fg.nn.sigmoid
        self.softmax, self.max_pool = fg.nn.softmax, lambda x: fg.nn.max_pool(x, 2)
        if backend == "xla":
            jax = Jax()
            self.arrays, self.ready = jax.arrays, jax.ready

    def per_example(self, f: Function) -> Function:
        return self.fg.vmap(self.fg.grad(f), (None, 0, 0))

    def compiled(self, derivative: Function) -> Function:
        return self.fg.jit(derivative, backend=self.backend) if self.backend else derivative

    def solve_triangular(self, a: Any, b: Any) -> Any:
        return importlib.import_module("funcgraph.scipy.linalg").solve_triangular(a, b, lower=True)

    def cross_entropy(self, z: Any, onehot: Any) -> Any:
        return self.np.mean(self.fg.losses.softmax_cross_entropy(z, onehot))

    def layer_norm(self, x: Any, scale: Any, bias: Any) -> Any:
        return self.nn.layer_norm(x, scale, bias)

    def attention(self, q: Any, k: Any, v: Any) -> Any:
        return self.nn.attention(q, k, v)

    def conv(self, x: Any, w: Any, stride: int = 1, padding: int = 0) -> Any:
        return self.nn.conv(x, w, stride, padding)


class Jax(Library):
    """JAX: eager, or under jax.jit."""

    def __init__(self, jit: bool = False) -> None:
        import jax

        jax.config.update("jax_enable_x64", True)
        self.jax, self.np, self.jit = jax, jax.numpy, jit
        self.value_and_grad, self.hessian = jax.value_and_grad, jax.hessian
        self.jacobian, self.ready = jax.jacobian, jax.block_until_ready
        self.relu, self.gelu, self.sigmoid = jax.nn.relu, jax.nn.gelu, jax.nn.sigmoid
        self.softmax, self.attention = jax.nn.softmax, jax.nn.dot_product_attention

    def per_example(self, f: Function) -> Function:
        return self.jax.vmap(self.jax.grad(f), (None, 0, 0))

    def compiled(self, derivative: Function) -> Function:
        return self.jax.jit(derivative) if self.jit else derivative

    def arrays(self, args: Any) -> Any:
        return self.jax.tree.map(self.np.asarray, args)

    def scan(self, step: Function, carry: Any, xs: Any, length: int | None = None) -> Any:
        return self.jax.lax.scan(step, carry, xs, length)

    def solve_triangular(self, a: Any, b: Any) -> Any:
        return importlib.import_module("jax.scipy.linalg").solve_triangular(a, b, lower=True)

    def cross_entropy(self, z: Any, onehot: Any) -> Any:
        return -self.np.sum(self.jax.nn.log_softmax(z) * onehot) / len(onehot)

    def conv(self, x: Any, w: Any, stride: int = 1, padding: int = 0) -> Any:
        pads, axes = ((padding, padding),) * 2, ("NHWC", "HWIO", "NHWC")
        conv = self.jax.lax.conv_general_dilated
        return conv(x, w, (stride, stride), pads, dimension_numbers=axes)

    def max_pool(self, x: Any) -> Any:
        window, lax = (1, 2, 2, 1), self.jax.lax
        return lax.reduce_window(x, -self.np.inf, lax.max, window, window, "VALID")


class Autograd(Library):
    """Autograd, which has no convolutions to speak of and no map over batches."""

    def __init__(self) -> None:
        autograd = importlib.import_module("autograd")
        self.np = importlib.import_module("autograd.numpy")
        self.value_and_grad, self.hessian = autograd.value_and_grad, autograd.hessian
        self.jacobian = autograd.jacobian

    def solve_triangular(self, a: Any, b: Any) -> Any:
        linalg = importlib.import_module("autograd.scipy.linalg")
        return linalg.solve_triangular(a, b, lower=True)


class MyGrad(Library):
    """MyGrad: gradients of scalars alone."""

    def __init__(self) -> None:
        self.np = importlib.import_module("mygrad")
        self.layers = importlib.import_module("mygrad.nnet.layers")
        self.np.turn_memory_guarding_off()  # as its documentation advises for speed

    def value_and_grad(self, f: Function) -> Function:
        def derivative(params: Any, *data: Any) -> Any:
            single = not isinstance(params, dict)
            named = {"": params} if single else params
            tensors = {key: self.np.tensor(value) for key, value in named.items()}
            value = f(tensors[""] if single else tensors, *data)
            value.backward()
            return value.data, [tensors[key].grad for key in sorted(tensors)]

        return derivative

    def conv(self, x: Any, w: Any, stride: int = 1, padding: int = 0) -> Any:
        x, w = self.np.transpose(x, (0, 3, 1, 2)), self.np.transpose(w, (3, 2, 0, 1))
        y = self.layers.conv_nd(x, w, stride=stride, padding=padding)
        return self.np.transpose(y, (0, 2, 3, 1))

    def max_pool(self, x: Any) -> Any:
        y = self.layers.max_pool(self.np.transpose(x, (0, 3, 1, 2)), (2, 2), 2)
        return self.np.transpose(y, (0, 2, 3, 1))


class TorchNumPy:
    """Torch's functions under NumPy's names; most have them already."""

    def __init__(self, torch: Any) -> None:
        self.torch, self.max = torch, torch.amax

    def __getattr__(self, name: str) -> Any:
        return getattr(self.torch, name)


class Torch(Library):
    """PyTorch: eager, or under torch.compile."""

    def __init__(self, compile: bool = False) -> None:
        self.torch = torch = importlib.import_module("torch")
        self.f = torch.nn.functional
        self.np, self.compile = TorchNumPy(torch), compile
        self.func, self.relu, self.sigmoid = torch.func, torch.relu, torch.sigmoid
        torch.set_num_threads(2)

    def arrays(self, args: Any) -> Any:
        def tensor(x: Any) -> Any:
            x = self.torch.tensor(x)
            return x if x.is_floating_point() else x.long()

        return [
            {k: tensor(v) for k, v in a.items()} if type(a) is dict else tensor(a) for a in args
        ]

    def compiled(self, derivative: Function) -> Function:
        return derivative

    def maybe(self, f: Function) -> Function:
        """Compile a function, if that is the mode."""
        return self.torch.compile(f) if self.compile else f

    def value_and_grad(self, f: Function) -> Function:
        f = self.maybe(f)

        def derivative(params: Any, *data: Any) -> Any:
            wanted = [x.requires_grad_() for x in leaves(params)]
            value = f(params, *data)
            return value, self.torch.autograd.grad(value, wanted)

        return derivative

    def hessian(self, f: Function) -> Function:
        return self.maybe(self.func.hessian(f))

    def jacobian(self, f: Function) -> Function:
        return self.maybe(self.func.jacrev(f))

    def per_example(self, f: Function) -> Function:
        return self.maybe(self.func.vmap(self.func.grad(f), (None, 0, 0)))

    def solve_triangular(self, a: Any, b: Any) -> Any:
        return self.torch.linalg.solve_triangular(a, b[:, None], upper=False)[:, 0]

    def take(self, rows: Any, index: Any) -> Any:
        return self.f.embedding(index, rows)

    def gelu(self, x: Any) -> Any:
        return self.f.gelu(x, approximate="tanh")

    def softmax(self, z: Any) -> Any:
        return self.torch.softmax(z, -1)

    def cross_entropy(self, z: Any, onehot: Any) -> Any:
        return self.f.cross_entropy(z, onehot)

    def batch_norm(self, x: Any, scale: Any, bias: Any) -> Any:
        y = self.f.batch_norm(x.permute(0, 3, 1, 2), None, None, scale, bias, training=True)
        return y.permute(0, 2, 3, 1)

    def layer_norm(self, x: Any, scale: Any, bias: Any) -> Any:
        return self.f.layer_norm(x, scale.shape, scale, bias)

    def attention(self, q: Any, k: Any, v: Any) -> Any:
        q, k, v = (x.transpose(1, 2) for x in (q, k, v))
        return self.f.scaled_dot_product_attention(q, k, v).transpose(1, 2)

    def conv(self, x: Any, w: Any, stride: int = 1, padding: int = 0) -> Any:
        x, w = x.permute(0, 3, 1, 2), w.permute(3, 2, 0, 1)  # channels last: no copies of images
        return self.f.conv2d(x, w, stride=stride, padding=padding).permute(0, 2, 3, 1)

    def max_pool(self, x: Any) -> Any:
        return self.f.max_pool2d(x.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)

    def recurrent(self, kernel: Function, p: Any, xs: Any, state: Any) -> Any:
        weights = [p["x"].T, p["h"].T, p["b"], self.torch.zeros_like(p["b"])]
        return kernel(xs, state, weights, True, 1, 0.0, True, False, False)[0]

    def rnn(self, p: Any, xs: Any, zero: Any) -> Any:
        return self.recurrent(self.torch.rnn_tanh, p, xs, zero[None])

    def lstm(self, p: Any, xs: Any, zero: Any) -> Any:
        return self.recurrent(self.torch.lstm, p, xs, (zero[None], zero[None]))


class ByHand(Library):
    """NumPy, with the derivative written out by hand: workloads bring it (`by_hand`)."""


class Subject(NamedTuple):
    """A row of the table of results."""

    name: str
    package: str  # that must be installed
    make: Callable[[], Library]
    eager: bool = False  # the first call takes about as long as the next
    value: bool = False  # the function by itself, beside its gradient


SUBJECTS: dict[str, Subject] = {
    row.name: row
    for row in (
        Subject("jax.jit", "jax", lambda: Jax(jit=True)),
        Subject("funcgraph xla", "jax", lambda: Funcgraph("xla")),
        Subject("funcgraph numpy", "numpy", lambda: Funcgraph("numpy")),
        Subject("numpy, value", "numpy", lambda: Funcgraph("numpy"), value=True),
        Subject("funcgraph eager", "numpy", Funcgraph, eager=True),
        Subject("numpy by hand", "numpy", ByHand, eager=True),
        Subject("torch", "torch", Torch, eager=True),
        Subject("torch.compile", "torch", lambda: Torch(compile=True)),
        Subject("autograd", "autograd", Autograd, eager=True),
        Subject("mygrad", "mygrad", MyGrad, eager=True),
        Subject("jax eager", "jax", Jax),
    )
}


def installed() -> list[Subject]:
    """Return the subjects whose package is there."""
    return [row for row in SUBJECTS.values() if importlib.util.find_spec(row.package)]
