"""Laws of alpha over the picture: every pixel is as if the whole picture were rendered at its own mixture."""

import numpy as np
import pytest

from dnirender.engine import frame_work
from dnirender.engine.frame_work import Cutter, FrameWork, render_works
from dnirender.engine.levels import MAX_ERROR, choose_levels, level_error
from dnirender.families.loading import load_family
from dnirender.frames import Batch, Frame
from dnirender.masks.alpha_map import constant, mix, over
from dnirender.preset import Preset, preset_names
from support.toys import Toy, cpu, pictures, toy

A, B = (1.0, 0.0), (0.0, 1.0)


def rendered(engine, image, alpha_map, batch=1):
    work = FrameWork(Frame(0, 0, image))
    work.add_map("render", alpha_map, Cutter(engine))
    [done] = render_works(engine, [work], batch)
    return done.renders["render"]


def whole(engine, image, alpha):
    [(_, (found,))] = engine([Batch((Frame(0, 0, image),), alpha)])
    return found


def halves(height, width, scale, below=A, above=B):
    mask = np.zeros((height * scale, width * scale), np.float32)
    mask[:, width * scale // 2 :] = 1
    return mask > 0, over(constant(below, *mask.shape), constant(above, *mask.shape), mask, 2)


@pytest.mark.parametrize("name", [name for name in preset_names() if name != "painters-cycle"])
def test_each_half_of_a_hard_mask_is_the_render_of_its_own_mixture_in_every_family(name):
    shipped = Preset.load(name).network
    network, path = load_family(shipped.family, shipped.files, shipped.levels, shipped.styles)
    engine, count = cpu(network, path), len(path.names)
    (image,) = pictures(1, 96, 128)
    image = image // 4 + 90
    below, above = (tuple(float(k == index) for k in range(count)) for index in (0, count - 1))
    inside, alpha_map = halves(96, 128, network.scale, below, above)
    found = rendered(engine, image, alpha_map).astype(int)
    for side, alpha in ((~inside, below), (inside, above)):
        assert np.abs(found - whole(engine, image, alpha))[side].max() <= 1  # bit for bit but for rounding in crops


@pytest.mark.parametrize("scale", [1, 2])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_parts_are_cut_out_and_equal_the_whole_picture(scale, dtype):
    network, path = toy(scale=scale)
    engine = cpu(network, path)
    assert engine.planner.receptive_radius is not None
    (image,) = pictures(1, 150, 203, dtype)
    mask = np.zeros((150 * scale, 203 * scale), np.float32)
    mask[20 * scale : 60 * scale, 30 * scale : 71 * scale] = 1
    mask[110 * scale :, 170 * scale :] = 1
    Toy.seen.clear()
    found = rendered(engine, image, over(constant(A, *mask.shape), constant(B, *mask.shape), mask, 2)).astype(int)
    sizes = [shape[2] * shape[3] for shape, _ in Toy.seen[-3:]]
    assert sorted(sizes)[1] < 0.3 * max(sizes)  # two small parts and the rest
    expected = np.where(mask[..., None] > 0, whole(engine, image, B), whole(engine, image, A))
    assert np.abs(found - expected).max() <= 1


def test_a_network_that_needs_the_whole_picture_gets_it(monkeypatch):
    network, path = toy()
    engine = cpu(network, path)
    monkeypatch.setattr(engine.planner, "receptive_radius", None, raising=False)
    (image,) = pictures(1, 64, 96)
    Toy.seen.clear()
    rendered(engine, image, halves(64, 96, 1)[1])
    assert {shape for shape, _ in Toy.seen} == {(1, 3, 64, 96)}


def test_a_soft_edge_comes_near_the_reference_as_levels_grow():
    network, path = toy()
    engine = cpu(network, path)
    (image,) = pictures(1, 40, 65, np.uint16)
    ramp = np.tile(np.linspace(0, 1, 65, dtype=np.float32), (40, 1))
    reference = np.stack(
        [whole(engine, image, mix(A, B, column / 64))[:, column] for column in range(65)], axis=1
    ).astype(int)
    errors = []
    for levels in (2, 3, 5, 9, 65):
        found = rendered(engine, image, over(constant(A, 40, 65), constant(B, 40, 65), ramp, levels))
        errors.append(float(np.abs(found - reference).mean()) / 65535)
    assert errors == sorted(errors, reverse=True) and errors[-1] < 0.5 / 65535 < errors[0]


def test_levels_are_as_many_as_the_error_needs():
    network, path = toy()
    engine = cpu(network, path)
    images = pictures(1, 40, 64)
    levels = choose_levels(engine, images, [(A, B)])
    assert level_error(engine, images[0], (A, B), levels - 1) <= MAX_ERROR
    assert levels == 2 or level_error(engine, images[0], (A, B), (levels - 1) // 2) > MAX_ERROR
    strong = cpu(*_strong())
    assert choose_levels(strong, images, [(A, B)]) > levels
    assert choose_levels(strong, images, [(A, B)], share=1e-4) == 2
    assert choose_levels(strong, images, [(A, A)]) == 2 and choose_levels(strong, images, []) == 2


def _strong():
    """Networks whose mixtures are far from what lies between their renders."""
    from dnirender.networks.weights import WeightPath

    network, _ = toy()
    return network, WeightPath({"abcd"[i]: Toy(i, gain=0.9).state_dict() for i in range(2)})


def test_one_whole_render_serves_all_that_ask_for_it():
    network, path = toy()
    engine = cpu(network, path)
    (image,) = pictures(1, 32, 32)
    work = FrameWork(Frame(0, 0, image))
    work.add_whole(A)
    work.add_map("render", constant(A, 32, 32), Cutter(engine))
    assert len(work.tasks) == 1
    [done] = render_works(engine, [work], 1)
    assert done.renders[A] is done.renders["render"]


@pytest.mark.parametrize("batch", [1, 3, 7])
def test_frames_come_in_order_whatever_the_batch(batch):
    network, path = toy()
    engine = cpu(network, path)
    images = pictures(5, 32, 48)
    works, expected = [], []
    for number, image in enumerate(images):
        work = FrameWork(Frame(number, number, image))
        inside, alpha_map = halves(32, 48, 1, A, mix(A, B, number / 4))
        work.add_map("render", alpha_map, Cutter(engine))
        works.append(work)
        expected.append(
            np.where(inside[..., None], whole(engine, image, mix(A, B, number / 4)), whole(engine, image, A))
        )
    done = list(render_works(engine, works, batch))
    assert [work.frame.index for work in done] == list(range(5))
    for work, image in zip(done, expected, strict=True):
        assert np.abs(work.renders["render"].astype(int) - image).max() <= 1


def test_openvino_renders_crops_only_where_they_pay_in_pytorch(monkeypatch):
    network, path = toy()
    engine = cpu(network, path)
    layer = halves(64, 96, 1)[1].layers[1]
    image = pictures(1, 64, 96)[0]
    assert Cutter(engine).boxes(layer, image)[0].left > 0
    monkeypatch.setattr(frame_work, "OPENVINO_CROP", 1e9)
    monkeypatch.setattr(type(engine), "backend", "openvino")
    assert Cutter(engine).boxes(layer, image)[0].left == 0
