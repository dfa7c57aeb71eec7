import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data_redundancy import models, parallel
from data_redundancy.errors import InputError

# name: blocks per stage, width
ARCHITECTURES = {
    "resnet8": (1, 1),
    "resnet20": (3, 1),
    "resnet32": (5, 1),
    "resnet56": (9, 1),
    "wrn16_4": (2, 4),
    "wrn28_10": (4, 10),
}


def shapes_of(name, *, num_classes=10, image_shape=(32, 32, 3), dtype=jnp.float32, width=1, batch=2):
    """The model with the shapes of its variables and outputs; nothing is computed."""
    model = models.create(name, num_classes=num_classes, width=width, dtype=dtype)
    images = jax.ShapeDtypeStruct((batch, *image_shape), jnp.float32)
    variables = jax.eval_shape(lambda key, x: model.init(key, x, train=False), jax.random.key(0), images)
    outputs = jax.eval_shape(lambda v, x: model.apply(v, x, train=False), variables, images)
    return variables, outputs


def count(params):
    return sum(np.prod(x.shape, dtype=int) for x in jax.tree.leaves(params))


def expected_parameters(blocks, width, *, num_classes, channels_in):
    """Layer by layer, from the papers' tables."""
    total, c_in = 9 * channels_in * 16, 16
    for c in (16 * width, 32 * width, 64 * width):
        for _ in range(blocks):
            total += 2 * c_in + 9 * c_in * c + 2 * c + 9 * c * c
            total += c_in * c if c_in != c else 0
            c_in = c
    return total + 2 * c_in + c_in * num_classes + num_classes


@pytest.fixture(scope="module")
def resnet8():
    """A model whose variables no longer have their special first values, and images."""
    model = models.create("resnet8", num_classes=5, dtype=jnp.float32)
    images = np.random.default_rng(0).normal(size=(6, 8, 8, 2)).astype(np.float32)
    shapes = jax.eval_shape(lambda key: model.init(key, images, train=False), jax.random.key(0))
    return model, random_like(shapes), images


def random_like(shapes):
    rng = np.random.default_rng(1)

    def draw(path, x):
        if path[-1].key == "kernel":
            return (rng.normal(size=x.shape) / np.sqrt(np.prod(x.shape[:-1]))).astype(np.float32)
        return rng.uniform(0.5, 1.5, x.shape).astype(np.float32)

    return jax.tree_util.tree_map_with_path(draw, shapes)


def test_names_are_the_known_architectures():
    assert models.names() == sorted(ARCHITECTURES)


def test_unknown_name_lists_the_options():
    with pytest.raises(InputError) as caught:
        models.create("resnet50", num_classes=10, dtype=jnp.float32)
    message = str(caught.value)
    assert message.startswith("model.name='resnet50': ")
    assert all(name in message for name in models.names())
    assert "\n" not in message


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize(("image_shape", "num_classes"), [((32, 32, 3), 10), ((29, 27, 1), 100)])
def test_shapes_and_parameters(name, image_shape, num_classes):
    blocks, width = ARCHITECTURES[name]
    variables, (logits, embedding) = shapes_of(name, num_classes=num_classes, image_shape=image_shape)
    assert logits.shape == (2, num_classes)
    assert embedding.shape == (2, 64 * width)
    expected = expected_parameters(blocks, width, num_classes=num_classes, channels_in=image_shape[-1])
    assert count(variables["params"]) == expected


@pytest.mark.parametrize(("name", "millions"), [("resnet20", 0.27), ("resnet32", 0.46), ("resnet56", 0.85)])
def test_published_sizes_of_residual_networks(name, millions):
    """He et al. (2016), "Deep Residual Learning for Image Recognition", table 6, where shortcuts have no parameters."""
    variables, _ = shapes_of(name)
    projections = 16 * 32 + 32 * 64
    assert round((count(variables["params"]) - projections) / 1e6, 2) == millions


@pytest.mark.parametrize(("name", "millions"), [("wrn16_4", 2.7), ("wrn28_10", 36.5)])
def test_published_sizes_of_wide_networks(name, millions):
    """Zagoruyko and Komodakis (2016), the tables of CIFAR results."""
    variables, _ = shapes_of(name)
    assert round(count(variables["params"]) / 1e6, 1) == millions


def test_width_multiplies():
    variables, (_, embedding) = shapes_of("resnet20", width=3)
    assert embedding.shape == (2, 192)
    assert variables["params"]["stem"]["kernel"].shape[-1] == 16
    assert variables["params"]["stage1_block1"]["conv1"]["kernel"].shape[-1] == 48
    _, (_, embedding) = shapes_of("wrn16_4", width=2)
    assert embedding.shape == (2, 512)


def conv(x, kernel, stride=1):
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"), precision="highest"
    )


def normalised_relu(x, params, stats):
    x = (x - stats["mean"]) / np.sqrt(stats["var"] + 1e-5) * params["scale"] + params["bias"]
    return np.maximum(x, 0)


def test_is_a_pre_activation_network(resnet8):
    """Against a forward pass written out by hand: BN and ReLU before every convolution, shortcuts left bare."""
    model, variables, images = resnet8
    params, stats = variables["params"], variables["batch_stats"]
    x = conv(images, params["stem"]["kernel"])
    for stage, stride in ((1, 1), (2, 2), (3, 2)):
        p, s = params[f"stage{stage}_block1"], stats[f"stage{stage}_block1"]
        activated = normalised_relu(x, p["norm1"], s["norm1"])
        y = conv(activated, p["conv1"]["kernel"], stride)
        y = conv(normalised_relu(y, p["norm2"], s["norm2"]), p["conv2"]["kernel"])
        x = y + (conv(activated, p["projection"]["kernel"], stride) if stage > 1 else x)
    expected = normalised_relu(x, params["final_norm"], stats["final_norm"]).mean((1, 2))
    logits, embedding = model.apply(variables, images, train=False)
    assert np.allclose(embedding, expected, rtol=1e-4, atol=1e-5)
    assert (np.ptp(expected, axis=0) > 1e-3).mean() > 0.8, "a reference that tells the images apart"
    assert np.allclose(logits, expected @ params["head"]["kernel"] + params["head"]["bias"], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("name", "stages"), [("resnet20", (2, 3)), ("wrn16_4", (1, 2, 3))])
def test_shortcuts_project_only_where_channels_change(name, stages):
    variables, _ = shapes_of(name)
    projecting = {name for name, block in variables["params"].items() if "projection" in block}
    assert projecting == {f"stage{stage}_block1" for stage in stages}


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_embedding_is_the_input_of_the_head(resnet8, dtype):
    _, variables, images = resnet8
    model = models.create("resnet8", num_classes=5, dtype=dtype)
    (logits, embedding), captured = model.apply(variables, images, train=False, capture_intermediates=True)
    head = variables["params"]["head"]
    assert np.allclose(embedding @ head["kernel"] + head["bias"], logits, atol=1e-5)
    assert np.array_equal(captured["intermediates"]["head"]["__call__"][0], logits)


def test_bfloat16_computes_but_does_not_keep(resnet8):
    _, variables, images = resnet8
    model = models.create("resnet8", num_classes=5, dtype=jnp.bfloat16)
    exact = models.create("resnet8", num_classes=5, dtype=jnp.float32)
    own, _ = shapes_of("resnet8", dtype=jnp.bfloat16)
    assert {x.dtype for x in jax.tree.leaves(own)} == {jnp.dtype("float32")}
    (logits, embedding), captured = model.apply(variables, images, train=False, capture_intermediates=True)
    assert logits.dtype == embedding.dtype == jnp.float32
    inside = captured["intermediates"]
    assert inside["stem"]["__call__"][0].dtype == jnp.bfloat16
    assert inside["stage3_block1"]["conv2"]["__call__"][0].dtype == jnp.bfloat16
    _, exact_embedding = exact.apply(variables, images, train=False)
    error = np.abs(embedding - exact_embedding).max()
    assert 0 < error < 0.05 * np.abs(exact_embedding).max()


def test_training_updates_the_running_averages(resnet8):
    model, variables, images = resnet8
    _, updated = model.apply(variables, images, train=True, mutable=["batch_stats"])
    stem = np.asarray(conv(images, variables["params"]["stem"]["kernel"]))
    old, new = (tree["stage1_block1"]["norm1"] for tree in (variables["batch_stats"], updated["batch_stats"]))
    assert np.allclose(new["mean"], 0.9 * old["mean"] + 0.1 * stem.mean((0, 1, 2)), atol=1e-5)
    assert np.allclose(new["var"], 0.9 * old["var"] + 0.1 * stem.var((0, 1, 2)), atol=1e-5)


def test_evaluation_treats_every_image_alone(resnet8):
    model, variables, images = resnet8
    together = model.apply(variables, images, train=False)
    alone = [model.apply(variables, images[i : i + 1], train=False) for i in range(2)]
    for whole, *parts in zip(together, *alone, strict=True):
        assert np.allclose(whole[:2], np.concatenate(parts), atol=1e-5)


@pytest.mark.parametrize("axis_name", [parallel.AXIS, None])
def test_batch_statistics_are_of_the_global_batch(resnet8, axis_name):
    """The axis is what makes eight devices one: without it, each normalises by its own rows."""
    _, variables, _ = resnet8
    images = np.random.default_rng(2).normal(size=(16, 8, 8, 2)).astype(np.float32)
    model = models.create("resnet8", num_classes=5, dtype=jnp.float32, axis_name=axis_name)
    mapped = parallel.pmap(
        lambda v, x: model.apply(v, x, train=True, mutable=["batch_stats"])[0][1], in_axes=(None, 0), out_axes=0
    )
    embedding = np.concatenate(mapped(variables, parallel.split_batch(images)))
    alone = models.create("resnet8", num_classes=5, dtype=jnp.float32)
    (_, expected), _ = alone.apply(variables, images, train=True, mutable=["batch_stats"])
    assert np.allclose(embedding, expected, atol=1e-3) == (axis_name is not None)


def test_initial_kernels_have_hes_variance():
    model = models.create("wrn16_4", num_classes=10, dtype=jnp.float32)
    params = jax.jit(lambda key: model.init(key, jnp.zeros((1, 8, 8, 3)), train=False)["params"]["stage1_block1"])(
        jax.random.key(0)
    )
    kernel = np.asarray(params["conv2"]["kernel"])
    assert kernel.std() == pytest.approx(np.sqrt(2 / (9 * 64)), rel=0.03)
    assert set(params["conv2"]) == {"kernel"}
    assert np.array_equal(params["norm1"]["scale"], np.ones(16))
