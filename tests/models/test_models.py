"""Architectures of the models, their initialisation, BatchNorm, dtypes and errors."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data_redundancy import models
from data_redundancy.errors import InputError
from data_redundancy.models import residual
from data_redundancy.models.imagenet_resnet import ImageNetResNet
from data_redundancy.runtime import devices

# name: blocks per stage, width
CIFAR = {
    "resnet8": (1, 1),
    "resnet20": (3, 1),
    "resnet32": (5, 1),
    "resnet56": (9, 1),
    "wrn16_4": (2, 4),
    "wrn28_10": (4, 10),
}

# name: blocks of each stage, convolutions per block
IMAGENET = {
    "resnet18": ((2, 2, 2, 2), 2),
    "resnet34": ((3, 4, 6, 3), 2),
    "resnet50": ((3, 4, 6, 3), 3),
    "resnet101": ((3, 4, 23, 3), 3),
    "resnet152": ((3, 8, 36, 3), 3),
}


def shapes_of(name, *, num_classes=10, image_shape=(32, 32, 3), dtype=jnp.float32, width=1, batch=2, stem=None):
    """Returns the shapes of a model's variables and outputs, without computing them."""
    model = models.create(name, num_classes=num_classes, width=width, dtype=dtype, stem=stem)
    images = jax.ShapeDtypeStruct((batch, *image_shape), jnp.float32)
    init = functools.partial(model.init_with_output, train=False)
    outputs, variables = jax.eval_shape(init, jax.random.key(0), images)
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
    """A model with random variables in place of its special initial values, and images."""
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
    assert sorted(models.names()) == sorted([*CIFAR, *IMAGENET, *(f"{name}_v2" for name in IMAGENET)])


def test_unknown_name_lists_the_options():
    with pytest.raises(InputError) as caught:
        models.create("resnet9", num_classes=10, dtype=jnp.float32)
    message = str(caught.value)
    assert message.startswith("name=resnet9: must be one of ")
    assert message.endswith(". Did you mean resnet8 or resnet56?")
    assert all(name in message for name in models.names())
    assert "\n" not in message


@pytest.mark.parametrize("name", CIFAR)
@pytest.mark.parametrize(("image_shape", "num_classes"), [((32, 32, 3), 10), ((29, 27, 1), 100)])
def test_shapes_and_parameters(name, image_shape, num_classes):
    blocks, width = CIFAR[name]
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


def conv(x, kernel, stride=1, padding="SAME"):
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), padding, dimension_numbers=("NHWC", "HWIO", "NHWC"), precision="highest"
    )


def normalised(x, params, stats):
    return (x - stats["mean"]) / np.sqrt(stats["var"] + 1e-5) * params["scale"] + params["bias"]


def normalised_relu(x, params, stats):
    return np.maximum(normalised(x, params, stats), 0)


def test_is_a_pre_activation_network(resnet8):
    """Against an explicit forward pass: BN and ReLU before every convolution, and identity shortcuts."""
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


@pytest.mark.parametrize("axis_name", [devices.AXIS, None])
@pytest.mark.parametrize(
    "create",
    [
        functools.partial(models.create, "resnet8", num_classes=5, dtype=jnp.float32),
        functools.partial(ImageNetResNet, num_classes=5, blocks=(1, 1, 1, 1), bottleneck=False, stem="small"),
    ],
    ids=["resnet8", "small resnet18"],
)
def test_batch_statistics_are_of_the_global_batch(create, axis_name):
    """With the axis, eight devices normalise together; without it, each normalises by its own rows."""
    images = np.random.default_rng(2).normal(size=(16, 8, 8, 2)).astype(np.float32)
    model = create(axis_name=axis_name)
    variables = random_like(jax.eval_shape(lambda key: model.init(key, images, train=False), jax.random.key(0)))
    mapped = devices.pmap(
        lambda v, x: model.apply(v, x, train=True, mutable=["batch_stats"])[0][1], in_axes=(None, 0), out_axes=0
    )
    embedding = np.concatenate(mapped(variables, devices.stack_local(images)))
    (_, expected), _ = create().apply(variables, images, train=True, mutable=["batch_stats"])
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


# Residual networks for ImageNet


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("resnet18", 11_689_512),
        ("resnet34", 21_797_672),
        ("resnet50", 25_557_032),
        ("resnet101", 44_549_160),
        ("resnet152", 60_192_808),
    ],
)
def test_sizes_of_version_1_are_those_of_torchvision(name, published):
    """Torchvision's pages of models, `num_params`."""
    variables, (logits, embedding) = shapes_of(name, num_classes=1000, image_shape=(224, 224, 3))
    assert count(variables["params"]) == published
    assert logits.shape == (2, 1000)
    assert embedding.shape == (2, 512 if name in ("resnet18", "resnet34") else 2048)


def expected_parameters_of_version_2(blocks, convolutions, *, num_classes):
    """Layer by layer: a BatchNorm before every convolution, except before the stem and the projections."""
    total, c_in = 49 * 3 * 64, 64
    for c, n in zip((64, 128, 256, 512), blocks, strict=True):
        for _ in range(n):
            c_out = c if convolutions == 2 else 4 * c
            layers = ((9, c_in, c), (9, c, c)) if convolutions == 2 else ((1, c_in, c), (9, c, c), (1, c, c_out))
            total += sum(2 * before + taps * before * after for taps, before, after in layers)
            total += c_in * c_out if c_in != c_out else 0
            c_in = c_out
    return total + 2 * c_in + c_in * num_classes + num_classes


@pytest.mark.parametrize("name", IMAGENET)
def test_sizes_of_version_2(name):
    variables, (_, embedding) = shapes_of(f"{name}_v2", num_classes=1000, image_shape=(224, 224, 3))
    blocks, convolutions = IMAGENET[name]
    assert count(variables["params"]) == expected_parameters_of_version_2(blocks, convolutions, num_classes=1000)
    assert embedding.shape == (2, 512 if convolutions == 2 else 2048)


@pytest.mark.parametrize(("name", "width", "millions"), [("resnet50_v2", 1, 25.55), ("resnet50_v2", 3, 217.32)])
def test_published_sizes_of_version_2(name, width, millions):
    """The package timm's table of results (results-imagenet.csv): resnetv2_50 and Big Transfer's resnetv2_50x3_bit.

    Big Transfer's GroupNorm has as many parameters as BatchNorm.
    """
    variables, (_, embedding) = shapes_of(name, num_classes=1000, width=width)
    assert round(count(variables["params"]) / 1e6, 2) == millions
    assert embedding.shape == (2, 2048 * width)


@pytest.mark.parametrize(
    ("size", "stem", "stem_size", "stages"),
    [
        (224, None, 112, (56, 28, 14, 7)),
        (224, "imagenet", 112, (56, 28, 14, 7)),
        (32, "small", 32, (32, 16, 8, 4)),
        (28, "small", 28, (28, 14, 7, 4)),
    ],
)
def test_sizes_of_activations(size, stem, stem_size, stages):
    """The stride of a bottleneck is in its 3x3 convolution."""
    model = models.create("resnet50", num_classes=10, dtype=jnp.float32, stem=stem)
    images = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    init = functools.partial(model.init_with_output, train=False, capture_intermediates=True, mutable=True)
    _, variables = jax.eval_shape(init, jax.random.key(0), images)
    inside = variables["intermediates"]
    shape = lambda layers: layers["__call__"][0].shape[1:]  # noqa: E731
    assert shape(inside["stem"]) == (stem_size, stem_size, 64)
    for stage, (blocks, side) in enumerate(zip((3, 4, 6, 3), stages, strict=True), start=1):
        last = inside[f"stage{stage}_block{blocks}"]
        assert shape(last) == (side, side, 128 * 2**stage)
    for stage in (2, 3, 4):
        first = inside[f"stage{stage}_block1"]
        assert shape(first["conv1"])[0] == stages[stage - 2]
        assert shape(first["conv2"])[0] == stages[stage - 1]


def test_stems_are_of_torchvision_or_of_small_images():
    for stem, shape in ((None, (7, 7, 3, 64)), ("imagenet", (7, 7, 3, 64)), ("small", (3, 3, 3, 64))):
        variables, _ = shapes_of("resnet18", stem=stem)
        assert variables["params"]["stem"]["kernel"].shape == shape
    assert models.STEMS == ("imagenet", "small")


@pytest.mark.parametrize("name", ["resnet20", "wrn16_4"])
def test_networks_for_small_images_have_no_large_stem(name):
    assert models.create(name, num_classes=3, dtype=jnp.float32, stem="small") == models.create(
        name, num_classes=3, dtype=jnp.float32
    )
    with pytest.raises(InputError) as caught:
        models.create(name, num_classes=3, dtype=jnp.float32, stem="imagenet")
    assert str(caught.value) == f"stem=imagenet: must be None or small for {name}, a model for small images"


@pytest.mark.parametrize("name", ["resnet20", "resnet50"])
@pytest.mark.parametrize("stem", ["cifar", ""])
def test_unknown_stem_lists_the_options(name, stem):
    with pytest.raises(InputError) as caught:
        models.create(name, num_classes=3, dtype=jnp.float32, stem=stem)
    assert (caught.value.argument, caught.value.value) == ("stem", stem)
    assert str(caught.value).endswith(": must be one of None, imagenet, small")


def small_network(**settings):
    """Returns an ImageNet network of few blocks, one with an identity shortcut, random variables and images."""
    model = ImageNetResNet(num_classes=5, blocks=(2, 1, 1, 1), **settings)
    images = np.random.default_rng(0).normal(size=(6, 32, 32, 2)).astype(np.float32)
    shapes = jax.eval_shape(lambda key: model.init(key, images, train=False), jax.random.key(0))
    return model, random_like(shapes), images


def forward_by_hand(variables, images, *, bottleneck, pre_activation, stem):
    """Computes the embedding, with paddings, strides and the order of layers of the papers and of torchvision."""
    params, stats = variables["params"], variables["batch_stats"]

    def padded_conv(x, layer, stride=1):
        side = layer["kernel"].shape[0] // 2
        return conv(np.pad(x, ((0, 0), (side, side), (side, side), (0, 0))), layer["kernel"], stride, "VALID")

    x = padded_conv(images, params["stem"], 2 if stem == "imagenet" else 1)
    if not pre_activation:
        x = normalised_relu(x, params["stem_norm"], stats["stem_norm"])
    if stem == "imagenet":
        size = x.shape[1]
        x = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-np.inf)
        x = np.max([x[:, i : i + size : 2, j : j + size : 2] for i in range(3) for j in range(3)], axis=0)
    for stage, block, stride in ((1, 1, 1), (1, 2, 1), (2, 1, 2), (3, 1, 2), (4, 1, 2)):
        p, s = params[f"stage{stage}_block{block}"], stats[f"stage{stage}_block{block}"]
        strides = (1, stride, 1) if bottleneck else (stride, 1)
        y = activated = normalised_relu(x, p["norm1"], s["norm1"]) if pre_activation else x
        for i, stride_i in enumerate(strides, start=1):
            if pre_activation:
                y = normalised_relu(y, p[f"norm{i}"], s[f"norm{i}"]) if i > 1 else y
                y = padded_conv(y, p[f"conv{i}"], stride_i)
            else:
                y = normalised(padded_conv(y, p[f"conv{i}"], stride_i), p[f"norm{i}"], s[f"norm{i}"])
                y = np.maximum(y, 0) if i < len(strides) else y
        if "projection" in p:
            x = padded_conv(activated, p["projection"], stride)
            x = x if pre_activation else normalised(x, p["projection_norm"], s["projection_norm"])
        x = x + y if pre_activation else np.maximum(x + y, 0)
    if pre_activation:
        x = normalised_relu(x, params["final_norm"], stats["final_norm"])
    return np.mean(x, axis=(1, 2))


@pytest.mark.parametrize(
    ("bottleneck", "pre_activation", "stem"),
    [
        (False, False, "small"),
        (True, False, "imagenet"),
        (False, True, "imagenet"),
        (True, True, "small"),
    ],
)
def test_is_the_network_of_the_papers(bottleneck, pre_activation, stem):
    """Against an explicit forward pass; sizes are even, so that padding of one side only would be detected."""
    settings = {"bottleneck": bottleneck, "pre_activation": pre_activation, "stem": stem}
    model, variables, images = small_network(**settings)
    expected = forward_by_hand(variables, images[:2], **settings)
    logits, embedding = jax.jit(functools.partial(model.apply, train=False))(variables, images[:2])
    assert np.allclose(embedding, expected, rtol=1e-4, atol=1e-4)
    assert (np.abs(expected[0] - expected[1]) > 1e-2).mean() > 0.5, "a reference that tells the images apart"
    head = variables["params"]["head"]
    assert np.allclose(logits, expected @ head["kernel"] + head["bias"], rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("name", ["resnet18", "resnet50_v2"])
def test_imagenet_networks_compute_in_bfloat16_but_do_not_keep_it(name):
    model = models.create(name, num_classes=5, dtype=jnp.bfloat16)
    images = jax.ShapeDtypeStruct((2, 64, 64, 3), jnp.float32)
    variables = jax.eval_shape(functools.partial(model.init, train=False), jax.random.key(0), images)
    apply = functools.partial(model.apply, train=True, capture_intermediates=True, mutable=True)
    (logits, embedding), updated = jax.eval_shape(apply, variables, images)
    dtypes = lambda tree: {str(x.dtype) for x in jax.tree.leaves(tree)}  # noqa: E731
    inside = updated.pop("intermediates")
    assert dtypes((variables, updated, logits, embedding, inside.pop("head"), inside.pop("__call__"))) == {"float32"}
    assert dtypes(inside) == {"bfloat16"}


def test_bfloat16_is_near_float32():
    settings = {"bottleneck": False, "stem": "imagenet"}
    exact, variables, images = small_network(**settings)
    embeddings = [
        jax.jit(functools.partial(model.apply, train=False))(variables, images)[1]
        for model in (exact, exact.clone(dtype=jnp.bfloat16))
    ]
    error = np.abs(embeddings[0] - embeddings[1]).max()
    assert 0 < error < 0.05 * np.abs(embeddings[0]).max()


@pytest.mark.parametrize(("block", "channels_in"), [(residual.BasicBlock, 16), (residual.BottleneckBlock, 12)])
def test_blocks_of_version_1_begin_as_their_shortcuts(block, channels_in):
    conv = functools.partial(residual.conv, dtype=jnp.float32)
    norm = residual.batch_norm(train=True, dtype=jnp.float32, axis_name=None)
    channels = 16 if block is residual.BasicBlock else 4
    x = np.random.default_rng(0).normal(size=(3, 6, 6, channels_in)).astype(np.float32)
    init = functools.partial(block(channels, 1, conv, norm).init_with_output, capture_intermediates=True, mutable=True)
    output, variables = jax.jit(init)(jax.random.key(0), x)
    inside = variables["intermediates"]
    shortcut = x if channels_in == 16 else inside["projection_norm"]["__call__"][0]
    assert np.array_equal(output, np.maximum(shortcut, 0))
    branch = "conv2" if block is residual.BasicBlock else "conv3"
    assert np.std(inside[branch]["__call__"][0]) > 0.1, "what the zero hides"


def first_values(model, images):
    """Initial variables, except that NumPy draws the kernels: drawing them with JAX would take most of the time."""
    init = functools.partial(model.init, train=False)
    is_kernel = lambda path: path[-1].key == "kernel"  # noqa: E731
    others = jax.jit(
        lambda key: jax.tree_util.tree_map_with_path(lambda p, x: 0 if is_kernel(p) else x, init(key, images))
    )(jax.random.key(0))
    random = random_like(jax.eval_shape(init, jax.random.key(0), images))
    return jax.tree_util.tree_map_with_path(lambda p, x, y: x if is_kernel(p) else y, random, others)


@pytest.mark.parametrize(("pre_activation", "stem"), [(False, "imagenet"), (True, "small")])
def test_zero_scales_hold_up_only_what_is_before_them_and_for_one_step(pre_activation, stem):
    model = ImageNetResNet(5, (1, 1, 1, 1), bottleneck=False, pre_activation=pre_activation, stem=stem)
    images = np.random.default_rng(0).normal(size=(10, 16, 16, 2)).astype(np.float32)
    variables = first_values(model, images)

    @jax.jit
    @jax.grad
    def gradient(params):
        everything = {**variables, "params": params}
        (logits, _), _ = model.apply(everything, images, train=True, mutable=["batch_stats"])
        return -jnp.mean(jax.nn.log_softmax(logits)[jnp.arange(10), jnp.arange(10) % 5])

    leaves = jax.tree_util.tree_leaves_with_path(variables["params"])
    paths = [tuple(key.key for key in path) for path, _ in leaves]
    zeros = lambda tree: {p for p, x in zip(paths, jax.tree.leaves(tree), strict=True) if not np.any(x)}  # noqa: E731
    biases = {path for path in paths if path[-1] == "bias"}
    if pre_activation:
        held_up, zero_scales = set(), set()
    else:
        held_up = {p for p in paths if "block" in p[0] and p[1] in ("conv1", "norm1", "conv2")}
        zero_scales = {(f"stage{stage}_block1", "norm2", "scale") for stage in (1, 2, 3, 4)}
    assert zeros(variables["params"]) == biases | zero_scales
    gradients = gradient(variables["params"])
    assert zeros(gradients) == held_up
    gradients = gradient(jax.tree.map(lambda p, g: p - 0.1 * g, variables["params"], gradients))
    assert zeros(gradients) == set()
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(gradients))


def test_initial_kernels_of_imagenet_networks():
    """He's variance by fan-out, which is far larger than fan-in for the stem; another variance for the head."""
    model = models.create("resnet18", num_classes=200, dtype=jnp.float32)
    params = jax.jit(
        lambda key: [
            model.init(key, jnp.zeros((1, 8, 8, 3)), train=False)["params"][name]["kernel"] for name in ("stem", "head")
        ]
    )(jax.random.key(0))
    stem, head = map(np.asarray, params)
    assert stem.std() == pytest.approx(np.sqrt(2 / (49 * 64)), rel=0.03)
    assert np.abs(stem).max() > 3 * stem.std(), "not truncated"
    assert head.std() == pytest.approx(0.01, rel=0.03)
