"""Pictures: that they show what they say, for every kind of network."""

import importlib
import sys

import numpy as np
import pytest

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

import pn_gpu as pn  # noqa: E402
from pn_gpu import plot  # noqa: E402
from pn_gpu.animation import ParticleRecorder  # noqa: E402
from pn_gpu.animation import _hold_still as hold_still  # noqa: E402
from pn_gpu.backends import to_numpy  # noqa: E402
from pn_gpu.data.target_coding import Classes, Numbers  # noqa: E402


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    plt.close("all")


def network(dim=2, sizes=(16, 5, 3), **options):
    return pn.ParticleNetwork(sizes, dim, seed=0, backend="numpy", **options)


def trained(net, epochs=3, **options):
    rng = np.random.default_rng(0)
    x, y = rng.random((30, 16), np.float32), rng.integers(0, 3, 30)
    return net.fit(x, y, epochs=epochs, seed=0, validation_data=(x, y), progress=False, **options)


def offsets(ax):
    """The points [N, n] of every node set in the picture."""
    if ax.name == "3d":
        return [np.stack(points._offsets3d, axis=1) for points in ax.collections if hasattr(points, "_offsets3d")]
    return [points.get_offsets() for points in ax.collections if type(points).__name__ == "PathCollection"]


@pytest.mark.parametrize("dim", [2, 3])
def test_particles_are_where_they_are(dim):
    net = network(dim)
    ax = plot.particles(net)
    for points, nodes in zip(offsets(ax), net.particles, strict=True):
        np.testing.assert_allclose(points, nodes.positions, rtol=1e-6)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["inputs (16)", "hidden (5)", "outputs (3)"]


def test_one_dimension_has_a_row_for_every_set():
    net = network(1)
    ax = plot.particles(net)
    for index, (points, nodes) in enumerate(zip(offsets(ax), net.particles, strict=True)):
        np.testing.assert_allclose(points[:, 0], nodes.positions[:, 0], rtol=1e-6)
        assert set(points[:, 1]) == {-index}


def test_more_dimensions_are_projected_on_principal_axes():
    net = network(6, (40, 30))
    for nodes in net.particles:
        nodes.positions = to_numpy(nodes.positions) * np.array([1, 1, 9, 1, 5, 3], np.float32)
    ax = plot.particles(net)
    for points, nodes in zip(offsets(ax), net.particles, strict=True):
        for shown, axis in enumerate((2, 4, 5)):
            assert abs(np.corrcoef(points[:, shown], nodes.positions[:, axis])[0, 1]) > 0.9
    assert "first three principal axes" in ax.get_title()


def test_dipoles_are_arrows():
    net = network(2, (4, 3))
    arrows = [item for item in plot.particles(net).collections if type(item).__name__ == "Quiver"]
    for arrow, nodes in zip(arrows, net.particles, strict=True):
        directions = np.stack([arrow.U, arrow.V], axis=1)
        np.testing.assert_allclose(directions / nodes.dipoles, directions[0, 0] / nodes.dipoles[0, 0], rtol=1e-5)


@pytest.mark.parametrize(
    ("dim", "dipole_dim", "title"),
    [
        (1, 6, "n = 1, d = 6 (dipoles: first of 6 principal axes)"),
        (2, 4, "n = 2, d = 4 (dipoles: first two of 4 principal axes)"),
        (3, 5, "n = 3, d = 5 (dipoles: first three of 5 principal axes)"),
        (5, 7, "(first three principal axes; dipoles: first three of 7 principal axes)"),
        (3, 2, "n = 3, d = 2 (without dipoles)"),
        (2, 2, "16-5-3, n = 2"),
    ],
)
def test_dipoles_of_other_dimensions(dim, dipole_dim, title, tmp_path):
    net = network(dim, dipole_dim=dipole_dim)
    for nodes in net.particles:  # nearly all of every dipole along two axes: those are drawn first
        nodes.dipoles = to_numpy(nodes.dipoles) * np.array([9, 5, *(1e-3,) * 9][:dipole_dim], np.float32)
    ax = plot.particles(net, path=tmp_path / "particles.png")
    assert title in ax.get_title()
    arrows = [item for item in ax.collections if type(item).__name__ == "Quiver"]
    if dim >= 3:
        return
    assert len(arrows) == 3
    for arrow, nodes in zip(arrows, net.particles, strict=True):
        assert abs(np.corrcoef(arrow.U, nodes.dipoles[:, 0])[0, 1]) > 0.9


def test_arrows_of_every_set_are_seen():
    net = network(2, (4000, 3000, 10))  # dipoles from 1 down to 0.03
    for arrow in (item for item in plot.particles(net).collections if type(item).__name__ == "Quiver"):
        assert np.hypot(arrow.U, arrow.V) == pytest.approx(0.2, rel=1e-3)


@pytest.mark.parametrize(("dim", "arrows"), [(2, 4), (3, 0)])
def test_charge_phase_and_unshared(dim, arrows):
    net = network(dim, model="charge_phase", shared=False)
    ax = plot.particles(net)
    assert len(offsets(ax)) == 4
    assert sum(type(item).__name__ == "Quiver" for item in ax.collections) == arrows
    assert "layer 1 inputs (5)" in [text.get_text() for text in ax.get_legend().get_texts()]


def test_weights_are_the_implicit_ones():
    net = network(3)
    ax = plot.weights(net, 1)
    np.testing.assert_allclose(ax.images[0].get_array(), net.weight(1), rtol=1e-5)
    dense = net.to_dense()
    np.testing.assert_allclose(plot.weights(dense, 0).images[0].get_array(), net.weight(0), rtol=1e-5)


def test_wide_layers_are_sampled():
    """A million by a million weights: only what is shown may be computed."""
    net = network(2, (1_000_000, 1_000_000))
    ax = plot.weights(net)
    assert ax.images[0].get_array().shape == (1024, 1024)
    assert ax.images[0].get_extent() == [-0.5, 999_999.5, 999_999.5, -0.5]
    assert "1024 x 1024 of them shown" in ax.get_title()


def test_receptive_fields():
    net = network(3)
    figure = plot.receptive_fields(net, count=3)
    images = [ax.images[0].get_array() for ax in figure.axes if ax.images]
    for node, image in enumerate(images[:3]):
        np.testing.assert_allclose(image, net.weight(0)[:, node].reshape(4, 4), rtol=1e-5)
    assert plot.receptive_fields(net, (2, 8)).axes[0].images[0].get_array().shape == (2, 8)


def test_training_history():
    history = trained(network())
    ax = plot.training_history(history)
    np.testing.assert_allclose(ax.lines[0].get_ydata(), 100 * np.array(history["accuracy"]))
    np.testing.assert_allclose(ax.lines[1].get_ydata(), 100 * np.array(history["val_accuracy"]))
    axes = plt.figure().add_subplot()
    assert plot.training_history(history, "loss", ax=axes) is axes
    np.testing.assert_allclose(axes.lines[0].get_ydata(), history["loss"])
    assert len(plot.training_history(history, "lr").lines) == 1


@pytest.mark.parametrize("net", [network(1), network(3), network(3).to_dense()], ids=["n1", "n3", "dense"])
def test_summary_is_a_file(net, tmp_path):
    path = tmp_path / "net.png"
    plot.summary(net, trained(net), path)
    image = plt.imread(path)
    assert image.ndim == 3
    assert image[..., :3].std() > 0.05  # not blank
    assert [file.name for file in tmp_path.iterdir()] == ["net.png"]


@pytest.mark.parametrize("dim", [2, 4])
def test_animation(dim, tmp_path, caplog):
    from PIL import Image

    recorder = ParticleRecorder(every=2)
    trained(network(dim, (16, 400, 3)), epochs=4, callbacks=[recorder])
    assert recorder.epochs == [0, 2, 4]
    recorder.save(tmp_path / "move.gif")
    with Image.open(tmp_path / "move.gif") as image:
        assert image.n_frames == 3
    assert caplog.text == ""  # such as limits that matplotlib did not keep
    assert [file.name for file in tmp_path.iterdir()] == ["move.gif"]


def test_a_resumed_run_has_the_whole_animation(tmp_path):
    settings = {"optimizer": pn.Adam(0.01), "checkpoint": tmp_path / "run.safetensors"}
    whole, first, second = (ParticleRecorder() for _ in range(3))
    trained(network(), callbacks=[whole], optimizer=pn.Adam(0.01), epochs=4)
    trained(network(), callbacks=[first], epochs=2, **settings)
    trained(network(), callbacks=[second], epochs=4, resume=True, **settings)
    assert second.epochs == [0, 1, 2, 3, 4]
    np.testing.assert_array_equal(np.stack(second.frames), np.stack(whole.frames))


def test_bad_input(tmp_path):
    net = network(3)
    with pytest.raises(TypeError, match="network: got a DenseNetwork, want a ParticleNetwork"):
        plot.particles(net.to_dense())
    with pytest.raises(ValueError, match="ax: got axes of the kind 'rectilinear', want three-dimensional"):
        plot.particles(net, ax=plt.figure().add_subplot())
    with pytest.raises(ValueError, match=r"image_shape: got \(3, 3\), want two numbers whose product is 16"):
        plot.receptive_fields(net, (3, 3))
    with pytest.raises(ValueError, match="layer: got 2"):
        plot.weights(net, 2)
    with pytest.raises(ValueError, match="without an epoch"):
        plot.training_history(pn.History())
    with pytest.raises(ValueError, match="quantity: got 'speed', want one of loss, accuracy, lr"):
        plot.training_history(trained(net), "speed")
    with pytest.raises(ValueError, match=r"net\.docx: want a file that ends in one of \..*png"):
        plot.weights(net, path=tmp_path / "net.docx")
    with pytest.raises(ValueError, match=r"want a file that ends in \.gif"):
        ParticleRecorder().save("net.mp4")
    with pytest.raises(ValueError, match="nothing was recorded"):
        ParticleRecorder().save("net.gif")
    with pytest.raises(TypeError, match="want a ParticleNetwork"):
        trained(net.to_dense(), callbacks=[ParticleRecorder()])


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    for module in ("pn_gpu.plot", "pn_gpu.animation"):
        monkeypatch.delitem(sys.modules, module)
        monkeypatch.delitem(sys.modules, "pn_gpu.figures", raising=False)
        with pytest.raises(ImportError, match=r"pip install 'pn-gpu\[plot\]'"):
            importlib.import_module(module)


@pytest.mark.parametrize("dim", [1, 2])
def test_arrows_are_seen_whole(dim):
    net = network(dim, (8, 6, 3))
    ax = plot.particles(net)
    ax.figure.canvas.draw()
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    for nodes in net.particles:
        heads = nodes.positions + 0.3 * nodes.dipoles
        assert left < heads[:, 0].min()
        assert heads[:, 0].max() < right
        if dim == 2:
            assert bottom < heads[:, 1].min()
            assert heads[:, 1].max() < top


def test_an_axis_seen_end_on_has_no_labels(tmp_path):
    net, recorder = network(3), ParticleRecorder()
    trained(net, callbacks=[recorder])
    figure = plt.figure()
    ax = figure.add_subplot(projection="3d")
    labels = {}
    for frame in (0, 50):  # seen from -60 and from 0 degrees
        hold_still(ax, np.full(3, -1.0), np.full(3, 1.0), frame)
        figure.canvas.draw()
        labels[frame] = [any(text.get_text() for text in axis.get_ticklabels()) for axis in (ax.xaxis, ax.yaxis)]
    assert labels == {0: [True, True], 50: [False, True]}


def test_a_confusion_matrix_counts(tmp_path):
    true, predicted = np.array(["a", "a", "b", "c", "c", "c"]), np.array(["a", "b", "b", "c", "c", "a"])
    ax = plot.confusion_matrix(true, predicted, path=tmp_path / "c.png")
    shown = {tuple(map(int, text.get_position())): int(text.get_text()) for text in ax.texts}
    assert shown == {(0, 0): 1, (1, 0): 1, (1, 1): 1, (2, 2): 2, (0, 2): 1}
    assert [text.get_text() for text in ax.get_yticklabels()] == ["a", "b", "c"]
    np.testing.assert_allclose(ax.images[0].get_array().sum(axis=1), 1)
    assert ax.get_title() == "4 of 6 right, 66.7 %"
    assert (tmp_path / "c.png").stat().st_size > 1000
    with pytest.raises(ValueError, match=r"predicted: got shape \(2,\), want that of true, \(6,\)"):
        plot.confusion_matrix(true, predicted[:2])


def test_predicted_against_true(tmp_path):
    true = np.arange(6.0).reshape(3, 2)
    ax = plot.predicted_against_true(true, true + np.array([1.0, -1.0]), path=tmp_path / "p.png")
    for column, points in enumerate(offsets(ax)):
        np.testing.assert_array_equal(points, np.stack([true[:, column], true[:, column] + 1 - 2 * column], axis=1))
    assert ax.get_title() == "root mean squared error 1"
    with pytest.raises(ValueError, match="at least one"):
        plot.predicted_against_true(true[:0], true[:0])


@pytest.mark.parametrize("output", ["softmax", "linear"])
def test_a_summary_shows_the_test_part(tmp_path, output):
    net = network(output=output)
    history = trained(net) if output == "softmax" else net.fit(np.ones((4, 16)), np.ones((4, 3)), progress=False)
    if output == "softmax":
        test = Classes(("a", "b", "c")), np.array([0, 1, 2]), np.array([0, 1, 1])
    else:
        test = Numbers(np.full(3, 5.0), np.ones(3)), np.zeros((4, 3)), np.ones((4, 3))
    figure = plot.summary(net, history, tmp_path / "s.png", test=test)
    ax = figure.axes[-1] if output == "linear" else next(ax for ax in figure.axes if ax.get_xlabel() == "predicted")
    assert ax.get_title() == ("2 of 3 right, 66.7 %" if output == "softmax" else "root mean squared error 1")
