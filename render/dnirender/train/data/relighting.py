"""The analytic relighting model: what a picture taken by day looks like later on the same day.

It makes the targets of the day-to-night effect. It needs to be told where the sky is and where lamps are; the network
that learns from it is not told. All light is linear (sRGB decoded), and everything that depends on the time of day is a
`Light`, interpolated over alpha between four keys: day 0, golden hour 1/3, blue hour 2/3, night 1.

For a pixel of color I, sky coverage S and the sky's own color B behind it, the scene's part is F = max(I - S B, 0),

    out = (1 - S dim(height)) grade(F) + S sky(height, detail) + lamps and the light they throw

grade(F) sets exposure, contrast (a power of the luminance), a shoulder, saturation and a tint that goes from shadows to
lit parts. At alpha 0 the result is the picture itself. The night is the film maker's: blue, as eyes see it (Thompson et
al. 2002, "A spatial post-processing algorithm for images of night scenes"), bright enough to tell shapes, with the
lights on, which are few and warm; what they light by day stays lit.
"""

from dataclasses import dataclass, fields, replace

import torch
import torch.nn.functional as F
from torch import Tensor

Color = tuple[float, float, float]
LUMA = (0.2126, 0.7152, 0.0722)


@dataclass(frozen=True)
class Light:
    """One time of day. Colors are linear RGB factors; `stops` is the exposure in powers of two.

    `shade` and `sun` tint dark and bright parts; `own_color` is how much of the tint spares a pixel's chroma, so that
    skin stays skin; `contrast` is the power of luminance about `PIVOT`; `shoulder` s divides the light by 1 + s Y, so
    that sunlit walls and white shirts do not shine; the sky goes from `horizon` over `middle` to `zenith`; `new_sky` is
    how much of the sky is replaced by that gradient, `clouds` the power of the picture's own sky luminance that stays
    visible in it, `dim` how much the sky's own light is taken away overhead, and half as much at the horizon, as by a
    graduated filter; `lamps` is the power of lamps.
    """

    stops: float
    shade: Color
    sun: Color
    saturation: float
    own_color: float
    contrast: float
    shoulder: float
    horizon: Color
    middle: Color
    zenith: Color
    new_sky: float
    clouds: float
    dim: float
    lamps: float


DAY = Light(
    stops=0.0,
    shade=(1, 1, 1),
    sun=(1, 1, 1),
    saturation=1.0,
    own_color=0.0,
    contrast=1.0,
    shoulder=0.0,
    horizon=(0.80, 0.80, 0.78),
    middle=(0.55, 0.62, 0.70),
    zenith=(0.28, 0.42, 0.66),
    new_sky=0.0,
    clouds=1.0,
    dim=0.0,
    lamps=0.0,
)
GOLDEN = Light(
    stops=-0.9,
    shade=(0.97, 0.93, 1.02),
    sun=(1.36, 0.96, 0.56),
    saturation=1.08,
    own_color=0.0,
    contrast=1.15,
    shoulder=0.0,
    horizon=(0.92, 0.53, 0.23),
    middle=(0.58, 0.43, 0.35),
    zenith=(0.18, 0.25, 0.38),
    new_sky=0.88,
    clouds=0.7,
    dim=0.0,
    lamps=0.12,
)
DUSK = Light(
    stops=-2.1,
    shade=(0.74, 0.92, 1.40),
    sun=(0.92, 0.92, 1.16),
    saturation=0.72,
    own_color=0.3,
    contrast=1.0,
    shoulder=0.0,
    horizon=(0.34, 0.18, 0.165),
    middle=(0.095, 0.11, 0.22),
    zenith=(0.027, 0.052, 0.145),
    new_sky=0.65,
    clouds=0.5,
    dim=0.35,
    lamps=0.7,
)
NIGHT = Light(
    stops=-2.85,
    shade=(0.30, 0.82, 1.85),
    sun=(0.48, 0.83, 1.48),
    saturation=1.18,
    own_color=0.4,
    contrast=1.45,
    shoulder=1.6,
    horizon=(0.018, 0.048, 0.100),
    middle=(0.006, 0.021, 0.056),
    zenith=(0.0025, 0.009, 0.029),
    new_sky=0.2,
    clouds=1.0,
    dim=0.75,
    lamps=1.0,
)
PATH = (DAY, GOLDEN, DUSK, NIGHT)
NAMES = ("day", "golden", "dusk", "night")
PIVOT = 0.18  # linear luminance of a mid-gray card
TOE = 0.03  # of luminance: far below it contrast leaves the ratios of shadows as they are


@dataclass(frozen=True)
class Scene:
    """Pictures with what the model must be told about them; all n c h w, float, and of one size.

    picture: 3 channels, sRGB 0..1.
    sky: 1 channel, how much of the pixel is sky, 0..1.
    height: 1 channel, 0 at the horizon to 1 overhead; free outside the sky.
    behind: 3 channels, linear, the sky's color as it is behind the pixel.
    detail: 1 channel, luminance of the sky at the pixel over its mean in the picture.
    lamps: 3 channels, linear light of lamps as the camera sees it at night, bloom included.
    glow: 3 channels, linear light that lamps throw on what surrounds them.
    """

    picture: Tensor
    sky: Tensor
    height: Tensor
    behind: Tensor
    detail: Tensor
    lamps: Tensor
    glow: Tensor


def light(alpha: float) -> Light:
    """The time of day at `alpha` (0..1): interpolated between the two neighbouring keys."""
    position = min(max(alpha, 0.0), 1.0) * (len(PATH) - 1)
    first = min(int(position), len(PATH) - 2)
    t = position - first
    a, b = PATH[first], PATH[first + 1]
    values = {f.name: _mix(getattr(a, f.name), getattr(b, f.name), t) for f in fields(Light)}
    return replace(a, **values)


def relight(scene: Scene, alpha: float) -> Tensor:
    """The scene's pictures at the time of day `alpha`: n 3 h w, sRGB 0..1, float32."""
    now = light(alpha)
    linear = to_linear(scene.picture)
    sky = scene.sky * now.new_sky
    ground = (linear - sky * scene.behind).clamp(min=0)
    filtered = 1 - now.dim * scene.sky * (0.5 + 0.5 * scene.height)
    lit = filtered * _grade(ground, now) + sky * _sky(scene, now)
    surface = linear * (1 - scene.sky) + 0.01
    lit = lit + surface * scene.glow * now.lamps
    lit = lit + (1 - lit).clamp(min=0) * (1 - torch.exp(-scene.lamps * now.lamps))
    return to_srgb(lit)


def describe(picture: Tensor, sky: Tensor, emission: Tensor, lit: Tensor | None = None) -> Scene:
    """Measure what `relight` needs from a picture (n 3 h w, sRGB), its sky (n 1 h w) and its lamps (n 3 h w, linear).

    `emission` is what lamps emit, zero elsewhere. Bloom and glow are Gaussians of it, with radii in picture
    heights; the glow g becomes g / (1 + g), so that many windows do not make a day. `lit` (n 1 h w, 0..1) is the least
    glow, where a picture is lit by lamps already.
    """
    rows = picture.shape[-2]
    linear = to_linear(picture)
    radius = rows / 20
    cover = blur(sky, radius)
    behind = (blur(linear * sky, radius) + 1e-4 * linear) / (cover + 1e-4)
    mean = (luminance(linear) * sky).sum((-2, -1), keepdim=True) / sky.sum((-2, -1), keepdim=True).clamp(min=1.0)
    detail = (luminance(linear) / mean.clamp(min=0.02)).clamp(0.25, 2.0)
    lamps, glow = lamplight(emission)
    return Scene(picture, sky, _height(sky), behind, detail, lamps, glow if lit is None else torch.maximum(glow, lit))


def lamplight(emission: Tensor) -> tuple[Tensor, Tensor]:
    """The `lamps` and the `glow` of a scene whose lamps emit n 3 h w."""
    rows = emission.shape[-2]
    bloom = 0.30 * blur(emission, rows / 150) + 0.22 * blur(emission, rows / 50) + 0.16 * blur(emission, rows / 16)
    strong = emission * (emission.amax(1, keepdim=True) / 1.5).clamp(max=1)  # a window lights little around it
    glow = 10 * blur(strong, rows / 20) + 1.2 * blur(strong, rows / 9)
    return emission + bloom, glow / (1 + glow)


def to_linear(x: Tensor) -> Tensor:
    """sRGB 0..1 to linear light (IEC 61966-2-1)."""
    x = x.clamp(0, 1)
    return torch.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)


def to_srgb(x: Tensor) -> Tensor:
    """Linear light, clamped to 0..1, to sRGB (IEC 61966-2-1)."""
    x = x.clamp(0, 1)
    return torch.where(x <= 0.0031308, x * 12.92, 1.055 * x.clamp(min=0.0031308) ** (1 / 2.4) - 0.055)


def luminance(linear: Tensor) -> Tensor:
    """Relative luminance (BT.709 primaries), n 1 h w."""
    return (linear * _color(LUMA, linear)).sum(1, keepdim=True)


def blur(x: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of every channel, borders repeated; wide ones are computed on a smaller grid."""
    step = max(1, int(sigma / 4))
    small = F.interpolate(x, scale_factor=1 / step, mode="area") if step > 1 else x
    sigma = sigma / step
    reach = max(1, int(3 * sigma))
    taps = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, dtype=x.dtype) / sigma) ** 2)
    taps = taps / taps.sum()
    n, c, h, w = small.shape
    rows = F.pad(small.reshape(n * c, 1, h, w), (reach, reach, reach, reach), mode="replicate")
    smooth = F.conv2d(F.conv2d(rows, taps.view(1, 1, -1, 1)), taps.view(1, 1, 1, -1)).view(n, c, h, w)
    return F.interpolate(smooth, size=x.shape[-2:], mode="bilinear", align_corners=False) if step > 1 else smooth


def _grade(linear: Tensor, now: Light) -> Tensor:
    y = luminance(linear)
    part = y / (y + PIVOT)
    shade, sun = _color(now.shade, linear), _color(now.sun, linear)
    tint = shade + (sun - shade) * part
    chroma = torch.lerp(tint, luminance(tint), now.own_color) * now.saturation * (linear - y)
    exposure = 2.0**now.stops * ((y + TOE) / (PIVOT + TOE)) ** (now.contrast - 1) / (1 + now.shoulder * y)
    return (tint * y + chroma).clamp(min=0) * exposure


def _sky(scene: Scene, now: Light) -> Tensor:
    low, mid, top = (_color(c, scene.height) for c in (now.horizon, now.middle, now.zenith))
    h = scene.height
    lower, upper = (h / 0.4).clamp(0, 1), ((h - 0.4) / 0.6).clamp(0, 1)
    gradient = torch.lerp(torch.lerp(low, mid, _smooth(lower)), top, _smooth(upper))
    return gradient * scene.detail**now.clouds


def _height(sky: Tensor) -> Tensor:
    rows = sky.shape[-2]
    y = torch.arange(rows, dtype=sky.dtype).view(1, 1, rows, 1)
    filled = (sky.mean(3, keepdim=True) > 0.04).to(sky.dtype)
    horizon = (y * filled).amax(2, keepdim=True).clamp(min=1.0)
    return ((horizon - y) / horizon.clamp(min=rows / 2)).clamp(0, 1).expand_as(sky)


def _smooth(t: Tensor) -> Tensor:
    return t * t * (3 - 2 * t)


def _color(color: Color, like: Tensor) -> Tensor:
    return torch.tensor(color, dtype=like.dtype, device=like.device).view(1, 3, 1, 1)


def _mix(a: float | Color, b: float | Color, t: float) -> float | Color:
    """Numbers arithmetically; colors, which are factors of light, geometrically, as exposures are in stops."""
    if isinstance(a, tuple) and isinstance(b, tuple):
        red, green, blue = (x ** (1 - t) * y**t for x, y in zip(a, b, strict=True))
        return (red, green, blue)
    if isinstance(a, tuple) or isinstance(b, tuple):
        raise TypeError("a color and a number cannot be mixed")
    return a + t * (b - a)
