"""State dicts of small networks under the names of real files, for the tests and the benchmarks."""

import torch


def compact(seed=None, features=8, convs=2, scale=1):
    """A Real-ESRGAN Compact, of random weights."""
    if seed is not None:
        torch.manual_seed(seed)
    state, last = {}, 2 * convs + 2
    for index in range(last + 1):
        shape = (features if index < last else 3 * scale**2, 3 if index == 0 else features, 3, 3)
        state[f"body.{index}.weight"] = torch.randn(shape if index % 2 == 0 else features) * 0.1
        if index % 2 == 0:
            state[f"body.{index}.bias"] = torch.randn(shape[0]) * 0.1
    return state


def near(state, seed):
    """Weights that differ from these by a tenth of random ones."""
    torch.manual_seed(seed)
    return {name: tensor + 0.01 * torch.randn(tensor.shape) for name, tensor in state.items()}


DIALECTS = {
    "realesrgan": ("conv_first", "body.{}.rdb{}.conv{}", "conv_body", "conv_up{}", "conv_hr", "conv_last"),
    "modern": ("conv_first", "RRDB_trunk.{}.RDB{}.conv{}", "trunk_conv", "upconv{}", "HRconv", "conv_last"),
    "old": ("model.0", "model.1.sub.{}.RDB{}.conv{}.0", "model.1.sub.2", "model.{}", "model.{}", "model.{}"),
}
"""Names of RRDB networks: the first layer, dense blocks, the end of the trunk, upsamplings, and the last two layers."""


def rrdb(dialect, seed=0, ups=2, unshuffle=1):
    """A narrow RRDB network with two blocks in the names of a dialect, by default of 4x."""
    first, block, trunk, up, hr, last = DIALECTS[dialect]
    shapes = {first: (8, 3 * unshuffle**2)}
    for i in range(2):
        shapes |= {block.format(i, j, k): (8 if k == 5 else 32, 32 * k - 24) for j in (1, 2, 3) for k in range(1, 6)}
    shapes[trunk] = (8, 8)
    shapes |= {up.format(3 * n if dialect == "old" else n): (8, 8) for n in range(1, ups + 1)}
    shapes |= {hr.format(3 * ups + 2): (8, 8), last.format(3 * ups + 4): (3, 8)}
    torch.manual_seed(seed)
    return {
        f"{name}.{kind}": torch.randn(out, into, 3, 3) * 0.1 if kind == "weight" else torch.randn(out) * 0.1
        for name, (out, into) in shapes.items()
        for kind in ("weight", "bias")
    }


def dncnn(features=8, layers=8):
    """A DnCNN without BatchNorm, whose names all begin with `model.`."""
    shapes = [(features, 3), *[(features, features)] * (layers - 2), (3, features)]
    return {
        f"model.{2 * index}.{kind}": torch.randn(*shape, 3, 3) if kind == "weight" else torch.randn(shape[0])
        for index, shape in enumerate(shapes)
        for kind in ("weight", "bias")
    }


def batchnorm_dncnn(seed, eps=1e-4):
    """KAIR's DnCNN with BatchNorm, and the gains and shifts that it means."""
    torch.manual_seed(seed)
    state, deployed = {}, {}
    shapes, index = [(6, 3), *[(6, 6)] * 6, (3, 6)], 0
    for number, shape in enumerate(shapes):
        state[f"model.{index}.weight"], state[f"model.{index}.bias"] = torch.randn(*shape, 3, 3), torch.randn(shape[0])
        if 0 < number < len(shapes) - 1:
            norm = f"model.{index + 1}"
            gain, shift, mean, variance = torch.randn(6), torch.randn(6), torch.randn(6), torch.rand(6) + 0.1
            state |= {f"{norm}.weight": gain, f"{norm}.bias": shift, f"{norm}.running_mean": mean}
            state |= {f"{norm}.running_var": variance, f"{norm}.num_batches_tracked": torch.tensor(7)}
            deployed[f"{norm}.weight"] = gain / (variance + eps).sqrt()
            deployed[f"{norm}.bias"] = shift - mean * deployed[f"{norm}.weight"]
            index += 3
        else:
            index += 2
    return state, deployed
