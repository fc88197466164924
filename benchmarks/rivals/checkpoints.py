"""The rules by which other tools mix two files, as a few lines each, and files that show where they differ."""

import torch


def chainner(a, b, folder):
    """chaiNNer's *Interpolate Models*: half and half by name; refuses unless a white picture of 3 x 3 stays brighter
    than 0.5."""
    a, b = (torch.load(path, map_location="cpu", weights_only=True) for path in (a, b))
    a, b = (state.get("params_ema", state.get("params", state)) for state in (a, b))  # as spandrel's loader does
    if a.keys() != b.keys():
        return "refuses: other names"
    try:
        mixture = {name: 0.5 * a[name] + 0.5 * b[name] for name in a}
    except (RuntimeError, TypeError):
        return "refuses: other shapes"
    torch.save(mixture, folder / "chainner.pth")
    try:
        import spandrel

        model = spandrel.ModelLoader().load_from_file(folder / "chainner.pth")
    except Exception as error:  # noqa: BLE001 - whatever it is, the file does not load
        return f"cannot load it ({type(error).__name__})"
    with torch.inference_mode():
        brightness = float(model.model.eval()(torch.ones(1, model.input_channels, 3, 3)).mean())
    return f"mixes (white gives {brightness:.2f})" if brightness > 0.5 else f"refuses: white gives {brightness:.2f}"


def trainner(a, b, alpha=0.5):
    """traiNNer's `net_interp.py`: by the names of A; an alpha of 0 is none."""
    a, b = (torch.load(path, map_location="cpu", weights_only=True) for path in (a, b))
    alpha = alpha or 0.5
    try:
        mixture = {name: (1 - alpha) * tensor + alpha * b[name] for name, tensor in a.items()}
    except KeyError as error:
        return f"stops at {error}"
    except (RuntimeError, TypeError) as error:
        return f"stops ({type(error).__name__})"
    lost = len(b.keys() - a.keys())
    floats = sum(1 for name, tensor in mixture.items() if tensor.is_floating_point() != a[name].is_floating_point())
    variances = any(name.endswith("running_var") for name in a)
    faults = [f"loses {lost} tensors of B silently"] * bool(lost)
    faults += ["averages raw variances"] * variances + [f"{floats} counters become floats"] * bool(floats)
    return "; ".join(["mixes", *faults])


def darkening(bias):
    """A network that changes nothing but brightness, a legal effect."""
    shapes = {"body.0": (8, 3, 3, 3), "body.2": (8, 8, 3, 3), "body.4": (3, 8, 3, 3)}
    state = {f"{key}.weight": torch.zeros(shape) for key, shape in shapes.items()}
    state |= {f"{key}.bias": torch.zeros(shape[0]) for key, shape in shapes.items()}
    state |= {f"body.{i}.weight": torch.full((8,), 0.25) for i in (1, 3)}
    return state | {"body.4.bias": torch.full((3,), float(bias))}


def made(folder):
    """(what it is, A, B) of files made here."""
    from support.states import batchnorm_dncnn, rrdb  # of the tests

    modern = rrdb("modern")
    states = {
        "RRDB, old and modern names": (rrdb("old"), modern),
        "one behind `module.`": (modern, {f"module.{name}": tensor for name, tensor in modern.items()}),
        "one under `params_ema`": (modern, {"params_ema": modern}),
        "B has a layer more": (modern, modern | {"extra.weight": torch.ones(3)}),
        "BatchNorm": (batchnorm_dncnn(0)[0], batchnorm_dncnn(1)[0]),
        "day and night (darkens)": (darkening(0), darkening(-0.9)),
    }
    for number, (what, pair) in enumerate(states.items()):
        paths = [folder / f"{number}{name}.pth" for name in "ab"]
        for path, state in zip(paths, pair, strict=True):
            torch.save(state, path)
        yield what, *paths
