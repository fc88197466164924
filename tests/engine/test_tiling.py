import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dnirender.engine import memory_usage
from dnirender.engine.memory_usage import free_memory, peak_bytes
from dnirender.engine.receptive_field import receptive_radius
from dnirender.engine.tiling import choose_tile_size, render_tiled, split_into_tiles
from dnirender.errors import RenderError
from dnirender.networks.architectures.paint import PaintNet
from dnirender.networks.architectures.relight import RelightNet
from dnirender.networks.loading import load
from dnirender.networks.network import Network

PRESETS = Path(__file__).parents[2] / "presets/weights"
CPU = torch.device("cpu")


def compact(folder, scale=1, features=8, layers=3):
    """A random Real-ESRGAN Compact with layers + 2 convolutions of 3x3."""
    rng = torch.Generator().manual_seed(scale)
    sizes = [3, *[features] * (layers + 1), 3 * scale**2]
    state = {}
    for number, (a, b) in enumerate(itertools.pairwise(sizes)):
        state[f"body.{2 * number}.weight"] = torch.randn(b, a, 3, 3, generator=rng) * 0.5 / math.sqrt(9 * a)
        state[f"body.{2 * number}.bias"] = torch.zeros(b)
        if number <= layers:
            state[f"body.{2 * number + 1}.weight"] = torch.full((b,), 0.25)
    torch.save(state, folder / "compact.pth")
    return load({"a": folder / "compact.pth"})[0]


def relight(widths=(4, 4), *, grain=False):
    """A RelightNet whose receptive radius fits small frames, far from the identity."""
    torch.manual_seed(0)
    net = RelightNet(widths, grain=grain)
    nn.init.normal_(net.last.weight, 0, 0.1)
    if grain:
        nn.init.normal_(net.stem.grain)
    return Network("relight", net, multiple=net.multiple, fp32_input=True)


def picture(height, width, dtype=np.uint8):
    rng = np.random.default_rng(height * 1000 + width)
    return rng.integers(0, np.iinfo(dtype).max, (height, width, 3), dtype, endpoint=True)


def runner(network, seen=None):
    def run(pixels):
        assert pixels.is_contiguous()
        if seen is not None:
            seen.append(pixels.shape)
        with torch.inference_mode():
            return network.render(network.module.eval(), pixels)

    return run


def batch(*images):
    return torch.from_numpy(np.stack(images))


def differences(network, image, tile, radius):
    """By how many codes a frame rendered in tiles differs from one without tiling, per value; and the number of tiles."""
    pixels = batch(image, image[::-1])
    whole = runner(network)(pixels)[0].numpy()
    seen = []
    cut = split_into_tiles(*image.shape[:2], *tile, radius, network.multiple)
    tiled, _ = render_tiled(runner(network, seen), pixels, cut, network.scale)
    assert tiled.shape == whole.shape
    assert tiled.numpy().dtype == image.dtype
    assert len(set(seen)) == 1
    return np.abs(tiled.numpy().astype(int) - whole.astype(int)), len(seen)


def alike(network, image, tile, radius):
    """Whether two or more tiles differ from no tiling by rounding only: by one code, once in a thousand values."""
    difference, count = differences(network, image, tile, radius)
    return count > 1 and difference.max() <= 1 and difference.mean() <= 1e-3


# --- the receptive field


def chain(*modules, **metadata):
    return Network("chain", nn.Sequential(*modules), **metadata)


def conv(size, **options):
    return nn.Conv2d(3, 3, size, **options)


CHAINS = {
    "a point": (chain(conv(1)), 0),
    "two of 3x3": (chain(conv(3, padding=1), nn.PReLU(), conv(3, padding=1)), 2),
    "5x5, dilated by three": (chain(conv(3, padding=1), nn.LeakyReLU(), conv(5, padding=6, dilation=3)), 7),
    "far with nothing between": (chain(conv(3, padding=200, dilation=200)), 200),
    "other widths than heights": (chain(conv((1, 9), padding=(0, 4)), conv((3, 1), padding=(1, 0))), 4),
    "looks only up": (chain(nn.ZeroPad2d((0, 0, 5, 0)), conv((6, 1))), 5),
    "borders repeated": (chain(nn.ReflectionPad2d(4), nn.ReLU(), conv(9)), 4),
    # Half j looks at 2j - 1 to 2j + 1: a block of 2 is seen by its own half and the next, and so 2 below itself.
    "half and back": (chain(conv(3, stride=2, padding=1), nn.Upsample(scale_factor=2), multiple=2), 2),
    # In blocks of 2: one beyond the own.
    "in groups of 2x2": (
        chain(nn.PixelUnshuffle(2), nn.Conv2d(12, 12, 3, padding=1), nn.PixelShuffle(2), multiple=2),
        2,
    ),
    "four times as large": (chain(nn.Conv2d(3, 48, 3, padding=1), nn.PixelShuffle(4), scale=4), 1),
    # A fine pixel j lies at (j + 0.5) / 2 - 0.5, so a coarse one is seen from 1 beyond.
    "twice as large, bilinear": (chain(nn.Upsample(scale_factor=2, mode="bilinear"), scale=2), 1),
    # Each of 4x4 comes from the block of 4 alone; the last one looks 1 further.
    "a quarter and back": (chain(conv(4, stride=4), nn.ConvTranspose2d(3, 3, 4, 4), conv(3, padding=1), multiple=4), 1),
    "gray": (chain(nn.Conv2d(1, 1, 5, padding=2), channels=1), 2),
    "at least 300": (chain(conv(3, padding=1), minimum=300), 1),
}


@pytest.mark.parametrize(("network", "expected"), CHAINS.values(), ids=CHAINS)
def test_the_receptive_radius_is_the_sum_of_the_layers(network, expected):
    assert receptive_radius(network) == expected


def test_the_receptive_radius_of_a_compact_net_is_its_number_of_convolutions(tmp_path):
    assert receptive_radius(compact(tmp_path, 4, layers=6)) == 8


def test_the_receptive_radius_does_not_depend_on_the_weights_and_leaves_them(tmp_path):
    network = compact(tmp_path, 2)
    for parameter in network.module.parameters():
        parameter.data.zero_()
    assert receptive_radius(network) == 5
    assert not any(parameter.any() for parameter in network.module.parameters())


class Mean(nn.Module):
    def forward(self, x):
        return x - x.mean(dim=(2, 3), keepdim=True)


class Place(nn.Module):
    """Darker towards the top."""

    def forward(self, x):
        return x * torch.linspace(0, 1, x.shape[2])[:, None]


class Eights(nn.Module):
    """Pads by itself to a multiple of 8, as networks of windows do, and subtracts the mean of every 8x8 block."""

    def forward(self, x):
        height, width = x.shape[2:]
        x = F.pad(x, (0, -width % 8, 0, -height % 8), "reflect")
        return (x - F.interpolate(F.avg_pool2d(x, 8), scale_factor=8.0))[:, :, :height, :width]


def test_what_depends_on_the_whole_frame_has_no_receptive_radius():
    assert receptive_radius(Network("paint", PaintNet((4, 4, 4)), multiple=8, minimum=16, fp32_input=True)) is None
    assert receptive_radius(chain(conv(3, padding=1), Mean())) is None
    assert receptive_radius(chain(conv((4001, 1), padding=(2000, 0)))) is None


def test_what_depends_on_the_position_in_the_frame_has_no_receptive_radius():
    assert receptive_radius(chain(Place())) is None
    assert receptive_radius(chain(Eights())) is None
    assert receptive_radius(chain(Eights(), multiple=8)) == 0
    assert receptive_radius(chain(conv(1), square=True)) is None


# --- the tiles

TABLE = np.random.default_rng(0)
CUTS = [
    (int(TABLE.integers(1, 90)), int(TABLE.integers(1, 90)), int(TABLE.integers(0, 9)), int(multiple))
    for multiple in TABLE.choice([1, 2, 4, 7, 8], 60)
]


def tile_sides(length, radius, multiple):
    """Every tile that a length can be cut into, and two that cover it."""
    smallest = -(-2 * radius // multiple) * multiple + multiple
    return [*range(smallest, length, multiple), length, length + 3]


@pytest.mark.parametrize(("height", "width", "radius", "multiple"), CUTS)
def test_inner_parts_cover_the_frame_once_and_are_a_radius_away_from_cuts(height, width, radius, multiple):
    grown = tuple(-(-side // multiple) * multiple for side in (height, width))
    heights, widths = (tile_sides(side, radius, multiple) for side in (height, width))
    for number in range(max(len(heights), len(widths))):
        tile = heights[number % len(heights)], widths[number % len(widths)]
        parts = split_into_tiles(height, width, *tile, radius, multiple)
        times = np.zeros((height, width), int)
        for part in parts:
            times[part.inner_rows, part.inner_columns] += 1
            for outer, inner, length, most in zip(
                (part.rows, part.columns), (part.inner_rows, part.inner_columns), (height, width), grown, strict=True
            ):
                assert outer.start % multiple == 0
                assert outer.start <= inner.start < inner.stop <= min(outer.stop, length)
                assert outer.start == 0 or inner.start - outer.start >= radius
                assert outer.stop in (length, most) or outer.stop - inner.stop >= radius
                assert outer.stop <= most
        assert (times == 1).all()
        sizes = {(part.rows.stop - part.rows.start, part.columns.stop - part.columns.start) for part in parts}
        assert sizes == {(min(tile[0], height), min(tile[1], width))}


def test_a_tile_that_covers_the_frame_is_the_frame():
    [tile] = split_into_tiles(31, 45, 31, 64, 100, 8)
    assert (tile.rows, tile.columns) == (tile.inner_rows, tile.inner_columns) == (slice(0, 31), slice(0, 45))


def test_a_tile_too_small_for_the_receptive_radius_is_refused():
    with pytest.raises(
        ValueError, match="^tile height 16: expected a multiple of 8 above 16, twice the receptive radius of 5$"
    ):
        split_into_tiles(100, 100, 16, 100, 5, 8)
    with pytest.raises(
        ValueError, match="^tile width 30: expected a multiple of 8 above 16, twice the receptive radius of 5$"
    ):
        split_into_tiles(100, 100, 24, 30, 5, 8)
    assert len(split_into_tiles(100, 100, 24, 100, 5, 8)) == 11


# --- frames in tiles


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("scale", [1, 2, 4])
def test_a_compact_net_in_tiles_equals_the_net_without_tiles(tmp_path, scale, dtype):
    network = compact(tmp_path, scale)
    radius = receptive_radius(network)
    assert radius == 5
    for height, width, tile in [(47, 61, (23, 61)), (47, 61, (47, 11)), (33, 40, (13, 17)), (12, 12, (11, 11))]:
        assert alike(network, picture(height, width, dtype), tile, radius)


@pytest.mark.parametrize("grain", [False, True])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(
    ("height", "width", "tile"), [(231, 150, (160, 150)), (129, 255, (129, 192)), (225, 193, (160, 192))]
)
def test_relight_in_tiles_equals_relight_without_tiles(height, width, tile, dtype, grain):
    network = relight(grain=grain)
    radius = receptive_radius(network)
    assert radius is not None
    assert alike(network, picture(height, width, dtype), tile, radius)


def test_a_tile_has_the_mirrored_border_of_the_frame():
    """The network moves a picture up by 6, so that what lies below it shows: five mirrored lines, and then nothing."""
    network = chain(nn.ZeroPad2d((0, 0, 0, 6)), nn.Conv2d(3, 3, (7, 1), bias=False), multiple=8)
    network.module[1].weight.data.zero_()
    network.module[1].weight.data[:, :, 6, 0] = torch.eye(3)
    radius = receptive_radius(network)
    assert radius == 6
    image = picture(43, 20)
    below = np.concatenate([image[6:], image[41:36:-1], np.zeros_like(image[:1])])
    assert np.array_equal(runner(network)(batch(image))[0][0], below)
    difference, count = differences(network, image, (24, 20), radius)
    assert count == 4
    assert not difference.any()


def test_less_than_the_receptive_radius_shows_seams():
    network = relight()
    radius = receptive_radius(network)
    difference, _ = differences(network, picture(231, 40), (160, 40), radius // 4)
    assert difference.max() > 1


def test_shipped_weights_in_tiles_equal_no_tiling():
    network, _ = load({"a": PRESETS / "detail/crisp.safetensors"})
    assert alike(network, picture(60, 81), (32, 48), receptive_radius(network))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_in_one_tile_is_not_finite_in_the_sum_of_its_frame(value):
    sums = iter([1.0, value, 2.0, 3.0])
    cut = split_into_tiles(20, 20, 11, 11, 1, 1)
    pixels = batch(picture(20, 20), picture(20, 20))
    out, totals = render_tiled(lambda part: (part, torch.tensor([next(sums), 2.5])), pixels, cut, 1)
    assert torch.equal(out, pixels)
    assert not math.isfinite(totals[0])
    assert totals[1] == 10


# --- the memory


def allocated(network, height, width, dtype, path):
    """The most bytes that PyTorch's allocator has given out at once, as its profiler tells."""
    module = network.module.eval().to(dtype)
    x = torch.zeros((1, height, width, 3), dtype=torch.uint8)
    with torch.inference_mode():
        network.render(module, x, dtype)
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profiler:
            network.render(module, x, dtype)
    profiler.export_chrome_trace(str(path))
    events = [
        event["args"]["Bytes"] for event in json.loads(path.read_text())["traceEvents"] if event["name"] == "[memory]"
    ]
    return x.numel() + int(np.cumsum(events).max())


@pytest.mark.usefixtures("one_lane")  # what kernels take for themselves grows with the threads
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ["compact 1", "compact 4", "relight", "paint"])
def test_the_peak_is_what_the_allocator_gives_out(tmp_path, name, dtype):
    network = {
        "compact 1": lambda: compact(tmp_path, 1),
        "compact 4": lambda: compact(tmp_path, 4),
        "relight": relight,
        "paint": lambda: Network("paint", PaintNet((8, 16, 16)), multiple=8, minimum=16, fp32_input=True),
    }[name]()
    peak = peak_bytes(network, 131, 200, dtype)
    assert peak == pytest.approx(allocated(network, 131, 200, dtype, tmp_path / "trace.json"), rel=0.1)


def test_the_peak_grows_with_the_pixels(tmp_path):
    network = compact(tmp_path, 4)
    small, large = (peak_bytes(network, side, 2 * side, torch.float32) for side in (100, 3000))
    assert large == pytest.approx(900 * small, rel=0.01)
    assert all(parameter.device == CPU for parameter in network.module.parameters())


def rendered_pixels(network, height, width, tile, radius):
    return len(split_into_tiles(height, width, *tile, radius, network.multiple)) * math.prod(network.padded_size(*tile))


@pytest.mark.parametrize(("height", "width"), [(300, 401), (150, 900), (700, 130)])
@pytest.mark.parametrize("make", [lambda folder: compact(folder, 2), lambda _: relight()], ids=["compact", "relight"])
def test_the_tiles_chosen_fit_the_memory_and_less_memory_takes_more_work(tmp_path, make, height, width):
    network = make(tmp_path)
    radius = receptive_radius(network)
    whole = peak_bytes(network, height, width, torch.float32)
    kept = 3 * height * width * (1 + network.scale**2)
    assert choose_tile_size(network, height, width, torch.float32, whole, radius) == (height, width)
    work = [math.prod(network.padded_size(height, width))]
    for share in (0.999, 0.8, 0.6, 0.5):
        tile = choose_tile_size(network, height, width, torch.float32, int(share * whole), radius)
        assert tile != (height, width)
        assert kept + peak_bytes(network, *tile, torch.float32) <= share * whole
        work.append(rendered_pixels(network, height, width, tile, radius))
    assert work == sorted(work)


@pytest.mark.parametrize(("multiple", "radius"), [(1, 5), (8, 1), (4, 0)])
def test_no_tile_that_fits_renders_fewer_pixels(multiple, radius):
    network = chain(nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 3, 3, padding=1), multiple=multiple)
    height, width = 61, 90
    heights, widths = (tile_sides(side, radius, multiple)[:-1] for side in (height, width))
    sizes = {(h, w): rendered_pixels(network, height, width, (h, w), radius) for h in heights for w in widths}
    whole = peak_bytes(network, height, width, torch.float32)
    pixel = whole / math.prod(network.padded_size(height, width))
    for budget in range(whole // 2, whole, whole // 20):
        tile = choose_tile_size(network, height, width, torch.float32, budget, radius)
        room = (budget - 2 * 3 * height * width) / pixel
        assert sizes[tile] == min(
            pixels for size, pixels in sizes.items() if math.prod(network.padded_size(*size)) <= room
        )


def test_no_tile_is_smaller_than_the_network_takes():
    network = chain(conv(3, padding=1), minimum=40)
    least = 2 * 3 * 100 * 100 + peak_bytes(network, 40, 40, torch.float32)
    assert choose_tile_size(network, 100, 100, torch.float32, least, 1) == (40, 40)
    with pytest.raises(
        RenderError, match="the smallest tiles that its receptive radius of 1 pixels allows, 40x40, need"
    ):
        choose_tile_size(network, 100, 100, torch.float32, least * 99 // 100, 1)


def test_what_cannot_be_cut_says_so():
    network = Network("paint", PaintNet((4, 4, 4)), multiple=8, minimum=16, fp32_input=True)
    text = (
        r"^paint: 640x480 needs \d+\.\d MB of memory, expected at most 1\.0 MB; its output depends on the whole frame "
        r"\(it computes statistics over it, as InstanceNorm does\), so it cannot be tiled; use a smaller width, such as width=\d+$"
    )
    with pytest.raises(RenderError, match=text):
        choose_tile_size(network, 480, 640, torch.float32, 1_000_000, None)
    assert choose_tile_size(network, 480, 640, torch.float32, 10**9, None) == (480, 640)


def test_what_fits_in_no_tile_says_so(tmp_path):
    text = (
        r"^RealESRGAN Compact: 640x480 needs \d+\.\d MB of memory, expected at most 1\.0 MB; the smallest tiles that its "
        r"receptive radius of 5 pixels allows, 11x11, need \d+\.\d MB; use a smaller width, such as width=\d+$"
    )
    with pytest.raises(RenderError, match=text):
        choose_tile_size(compact(tmp_path, 1), 480, 640, torch.float32, 1_000_000, 5)


# --- what is free


@pytest.fixture
def linux(tmp_path, monkeypatch):
    """Writes files of a Linux with 8 GB available: `linux(**{path: text})`."""
    monkeypatch.setattr(memory_usage, "PROC", tmp_path / "proc")
    monkeypatch.setattr(memory_usage, "CGROUPS", tmp_path / "cgroup")

    def write(**files):
        meminfo = "MemTotal: 16000000 kB\nMemAvailable:    8000000 kB\nHugePages_Total: 0\n"
        for path, text in ({"proc/meminfo": meminfo, "proc/self/cgroup": "0::/\n"} | files).items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(text)

    return write


def test_memory_without_limits_is_what_linux_calls_available(linux):
    linux()
    assert free_memory(CPU) == 8_000_000 * 1024


@pytest.mark.parametrize("group", ["", "/a"])
@pytest.mark.parametrize(("cached", "free"), [(0, 1_000_000_000), (200_000_000, 1_200_000_000)])
def test_a_control_group_and_those_above_it_limit_the_memory(linux, group, cached, free):
    limit = f"cgroup{group}/memory"
    linux(
        **{
            "proc/self/cgroup": "0::/a/b\n",
            "cgroup/a/b/memory.max": "max\n",
            "cgroup/a/b/memory.current": "1\n",
            "cgroup/a/b/memory.stat": "anon 1\n",
            f"{limit}.max": "3000000000\n",
            f"{limit}.current": "2000000000\n",
            f"{limit}.stat": f"anon 5\ninactive_file {cached}\n",
        }
    )
    assert free_memory(CPU) == free


def test_a_control_group_of_the_first_version_limits_the_memory(linux):
    groups = "9:cpu:/x\n4:memory:/x\n0::/\n"
    limits = {
        "limit_in_bytes": "3000000000\n",
        "usage_in_bytes": "2500000000\n",
        "stat": "inactive_file 1\ntotal_inactive_file 100\n",
    }
    linux(**{"proc/self/cgroup": groups}, **{f"cgroup/memory/x/memory.{name}": text for name, text in limits.items()})
    assert free_memory(CPU) == 500_000_100


def test_memory_that_is_overdrawn_is_none(linux):
    linux(**{f"cgroup/memory.{name}": text for name, text in {"max": "5", "current": "9", "stat": "anon 1"}.items()})
    assert free_memory(CPU) == 0


def test_where_the_system_does_not_tell_it_is_4_gib(linux):
    assert free_memory(CPU) == 4 * 1024**3


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
def test_memory_of_a_gpu_counts_what_pytorch_keeps_for_itself():
    device = torch.device("cuda", 0)
    before = free_memory(device)
    big = torch.empty(1 << 28, device=device, dtype=torch.uint8)
    assert before - free_memory(device) == pytest.approx(1 << 28, rel=0.5)
    del big
    assert free_memory(device) == pytest.approx(before, rel=0.01)
