"""Makes the modules beside this file: what JAX 0.10.2 lowers, and what XLA makes of it for eight CPU devices.

    python tests/data/hlo/make.py          (needs jax and jaxlib 0.10.2)

They hold, in few instructions, every kind of attribute that ribosome's HLO text has to carry. Each NAME.hlo.pb has its
text in NAME.hlo.txt, written by ribosome: `RIBOSOME_BLESS=1 cargo test --test hlo_text`, then tests/hlo_parser.py
proves that XLA reads the text as the very same module.
"""

import os
import pathlib

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax, shard_map
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_traceback_in_locations_limit", 0)  # no paths of this machine
HERE = pathlib.Path(__file__).parent
MESH = Mesh(np.array(jax.devices()).reshape(4, 2), ("data", "model"))


def shape(dtype, *dimensions):
    return jax.ShapeDtypeStruct(dimensions, dtype)


def over(*axes):
    return NamedSharding(MESH, P(*axes))


def save(name, lowered, compiled=True):
    module = lowered.compiler_ir("hlo")
    (HERE / f"{name}.hlo.pb").write_bytes(module.as_serialized_hlo_module_proto())
    if compiled:
        module = lowered.compile().runtime_executable().hlo_modules()[0]
        (HERE / f"{name}_compiled.hlo.pb").write_bytes(module.as_serialized_hlo_module_proto())


def layers(weights, ids):
    """A loop over sharded layers with its gradient: gather, dots, pins, a mask hashed from positions."""

    def loss(weights):
        x = weights["table"][ids].astype(jnp.bfloat16)

        def layer(x, w):
            h = lax.with_sharding_constraint(x @ w.astype(x.dtype), over("data", None, "model"))
            i = lax.iota(jnp.uint32, x.size).reshape(x.shape) * jnp.uint32(0x9E3779B9)
            keep = (i ^ (i >> 16)) > jnp.uint32(0x19999999)
            return jnp.where(keep, jax.nn.relu(h), 0), None

        with jax.named_scope("encoder"):
            x, _ = lax.scan(jax.checkpoint(layer), x, weights["layers"])
        return jnp.mean(jax.nn.log_softmax(x.astype(jnp.float32))[..., 0])

    value, gradients = jax.value_and_grad(loss)(weights)
    return jax.tree.map(lambda w, g: w - 0.1 * g, weights, gradients), value


def convolution(x, kernel):
    window = dict(window_strides=(2, 1), padding=((1, 2), (0, 1)), rhs_dilation=(1, 2))
    numbers = ("NHWC", "HWIO", "NHWC")
    y = lax.conv_general_dilated(
        x, kernel, dimension_numbers=numbers, feature_group_count=2, **window
    )
    return lax.reduce_window(y, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "SAME").sum()


def collectives(x):
    gathered = lax.all_gather(x, "model", axis=0, tiled=True)
    return (
        lax.psum(x, "data"),
        gathered,
        lax.psum_scatter(gathered, "model", scatter_dimension=0, tiled=True),
        lax.ppermute(x, "data", [(0, 1), (1, 2), (2, 3), (3, 0)]),
        lax.all_to_all(x, "data", 0, 0, tiled=True),
    )


def assorted(x, ids, words, scalar):
    index = (ids[0], ids[1])
    rows = lax.GatherDimensionNumbers((1,), (0,), (0,))
    window = lax.dynamic_slice(x, index, (2, 3))
    return (
        x.at[ids].add(x[:4] * 2),
        lax.top_k(x, 3),
        lax.sort((x, lax.broadcasted_iota(jnp.int32, x.shape, 1)), num_keys=1, is_stable=True),
        jnp.array([[1.5, -jnp.inf, 3e-7], [jnp.nan, 0.1, -1e20]], jnp.bfloat16),
        jnp.array([0.1, 1 / 3, -1e-300, jnp.inf]),
        jnp.array([True, False, True]),
        jnp.zeros((0, 3)),
        jnp.array([1, -2], jnp.int8),
        lax.while_loop(lambda c: c[0] < 10, lambda c: (c[0] + 2, c[1] * 1.1), (jnp.int32(0), scalar)),
        lax.cond(scalar > 0, lambda y: y + 1, lambda y: y * 2, scalar),
        lax.switch(ids[0], [lambda y: y, lambda y: -y, lambda y: y * 3], scalar),
        lax.cumsum(x, axis=0),
        lax.rev(x, (0,)),
        lax.pad(x, jnp.float32(0), ((1, 2, 0), (0, -1, 1))),
        lax.dynamic_update_slice(x, window, index),
        lax.bitcast_convert_type(x, jnp.uint32),
        lax.reduce_precision(x, 5, 2),
        x[1:5:2, ::2],
        lax.population_count(words),
        jnp.argmax(x, -1),
        jnp.fft.fft(x.astype(jnp.complex64)),
        lax.optimization_barrier((x, scalar)),
        lax.rng_bit_generator(jnp.zeros(4, jnp.uint32), (3,)),
        jnp.linalg.cholesky(x @ x.T),
        lax.gather(x, ids[:, None], rows, (1, 8), indices_are_sorted=True),
        lax.dot_general(x, x, (((1,), (1,)), ((), ())), precision=lax.Precision.HIGHEST),
        jax.vmap(lambda row, i: row[i])(x, ids[:1].repeat(6)),
    )


if __name__ == "__main__":
    f32, s32 = jnp.float32, jnp.int32
    weights = dict(table=shape(f32, 24, 32), layers=shape(f32, 3, 32, 32))
    placed = dict(table=over(), layers=over(None, "model", "data"))
    step = jax.jit(layers, in_shardings=(placed, over("data")), donate_argnums=0)
    save("layers", step.lower(weights, shape(s32, 8, 16)))
    gradient = jax.jit(jax.grad(convolution, (0, 1)))
    save("convolution", gradient.lower(shape(f32, 2, 12, 10, 8), shape(f32, 3, 3, 4, 16)), False)
    spread = dict(mesh=MESH, in_specs=P("data"), out_specs=P("data"), check_vma=False)
    save("collectives", jax.jit(shard_map(collectives, **spread)).lower(shape(f32, 32, 8)))
    arguments = (shape(f32, 6, 8), shape(s32, 4), shape(jnp.uint32, 5), shape(jnp.float64))
    save("assorted", jax.jit(assorted).lower(*arguments), False)
