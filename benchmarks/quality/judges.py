"""Judges of renders: a day/night judge, distances between sets of pictures, structure kept, and flicker.

Pictures are h w 3 RGB uint8. Deep features are SqueezeNet's (`dnirender.train.features`), on pictures brought to a
short side of `SIDE` so that a camera's resolution tells nothing.
"""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
import numpy.typing as npt
import torch

from dnirender.frames import Image
from dnirender.media.resize import resize_to
from dnirender.train.features import Features, gram

SIDE = 256
LUMA = np.array((0.2126, 0.7152, 0.0722))  # BT.709
PENALTY = 0.1  # of 0.01, 0.1, 1 and 10 the strongest that is best on the training pictures of cameras left out

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Look:
    """How n pictures look to a feature network whose layers have c_1 .. c_L channels.

    pooled: n x 2 sum(c_l), mean and standard deviation over space of every channel.
    top: n x c_L, the means of the last layer alone.
    grams: of each layer the pictures' mean Gram matrix, c_l x c_l.
    """

    pooled: Array
    top: Array
    grams: tuple[Array, ...]


@torch.inference_mode()
def look(features: Features, pictures: Iterable[Image]) -> Look:
    """Looks at every picture once."""
    pooled: list[Array] = []
    top: list[Array] = []
    sums: list[Array] = []
    for picture in pictures:
        maps = features(_tensor(picture))
        moments = [moment for x in maps for moment in (x.mean((2, 3)), x.std((2, 3)))]
        pooled.append(torch.cat(moments, 1)[0].double().numpy())
        top.append(maps[-1].mean((2, 3))[0].double().numpy())
        grams = [gram(x)[0].double().numpy() for x in maps]
        sums = [total + matrix for total, matrix in zip(sums, grams, strict=True)] if sums else grams
    return Look(np.stack(pooled), np.stack(top), tuple(total / len(top) for total in sums))


@dataclass(frozen=True)
class Judge:
    """A linear judge of day and night."""

    centre: Array
    scale: Array
    weights: Array
    bias: float

    def score(self, pooled: Array) -> Array:
        """The logit of "night" for n x d features: above 0 where night is likelier than day."""
        return (pooled - self.centre) / self.scale @ self.weights + self.bias


def train_judge(pooled: Array, night: Mask, penalty: float = PENALTY) -> Judge:
    """Logistic regression on standardised features z (n x d) with y = 1 by night and -1 by day: the w, b that minimise

        mean log(1 + exp(-y (w z + b))) + penalty / 2 |w|^2

    found by Newton's method. The best w lies in the span of the n rows of z, so there are at most n + 1 unknowns.
    """
    centre, scale = pooled.mean(0), pooled.std(0) + 1e-6
    left, lengths, axes = np.linalg.svd((pooled - centre) / scale, full_matrices=False)
    x = np.hstack([left * lengths, np.ones((len(left), 1))])
    ridge = np.append(np.full(len(lengths), penalty), 1e-9)
    theta = np.zeros(len(ridge))
    for _ in range(50):
        p = probability(x @ theta)
        gradient = x.T @ (p - night) / len(x) + ridge * theta
        curvature = (x.T * (p * (1 - p))) @ x / len(x) + np.diag(ridge)
        theta = theta - np.linalg.solve(curvature, gradient)
    return Judge(centre, scale, axes.T @ theta[:-1], float(theta[-1]))


def probability(logits: Array) -> Array:
    """1 / (1 + exp(-logit))."""
    return 1 / (1 + np.exp(-logits))


class CameraJudges:
    """Judges that are strangers to what they judge: a picture's judge was trained on the pictures of other cameras.

    pooled: n x d features of the training pictures; night and cameras: n labels and n names.
    """

    def __init__(self, pooled: Array, night: Mask, cameras: npt.NDArray[np.str_]) -> None:
        @cache
        def judge(camera: str) -> Judge:
            others = cameras != camera
            return train_judge(pooled[others], night[others])

        self._judge = judge

    def score(self, pooled: Array, cameras: Sequence[str]) -> Array:
        """The logits of "night" for n x d features of pictures of these n cameras."""
        rows = zip(pooled, cameras, strict=True)
        return np.array([self._judge(str(camera)).score(row[None])[0] for row, camera in rows])


def frechet(a: Array, b: Array) -> float:
    """Frechet distance of the Gaussians of two sets of features, n x d (Heusel et al., NeurIPS 2017):

        |mean_a - mean_b|^2 + tr(A + B - 2 (A^1/2 B A^1/2)^1/2)

    with covariances A and B shrunk as by `shrunk_covariance`, since there are fewer pictures than features.
    """
    first, second = shrunk_covariance(a), shrunk_covariance(b)
    root = _root(first)
    values = np.linalg.eigvalsh(root @ second @ root)
    shift = a.mean(0) - b.mean(0)
    return float(shift @ shift + np.trace(first) + np.trace(second) - 2 * np.sqrt(values.clip(0)).sum())


def shrunk_covariance(x: Array) -> Array:
    """The covariance of n x d features, moved to a multiple of the identity as far as Ledoit and Wolf advise
    ("A well-conditioned estimator for large-dimensional covariance matrices", J. Multivariate Analysis, 2004)."""
    x = x - x.mean(0)
    n, d = x.shape
    sample = x.T @ x / n
    mean = np.trace(sample) / d
    spread = (sample**2).sum() - d * mean**2
    error = (((x**2).sum(1) ** 2).sum() / n - (sample**2).sum()) / n
    share = float(np.clip(error / max(spread, 1e-12), 0, 1))
    return (1 - share) * sample + share * mean * np.eye(d)


def gram_distance(a: Look, b: Look) -> float:
    """|G_a - G_b| / |G_b| of the mean Gram matrices (Frobenius norms), averaged over layers; b are the real ones."""
    return float(np.mean([np.linalg.norm(p - q) / np.linalg.norm(q) for p, q in zip(a.grams, b.grams, strict=True)]))


def luma(picture: Image) -> Array:
    """BT.709 luma of coded RGB, h w, 0..1."""
    return picture @ LUMA / 255


def structure(render: Image, source: Image, logarithmic: bool = False) -> float:
    """Pearson correlation of the gradient magnitudes (Sobel 3x3) of the lumas, or of log(luma + 1/255)."""
    values = [np.log(luma(picture) + 1 / 255) if logarithmic else luma(picture) for picture in (render, source)]
    slopes = [np.hypot(cv2.Sobel(y, cv2.CV_64F, 1, 0), cv2.Sobel(y, cv2.CV_64F, 0, 1)).ravel() for y in values]
    return float(np.corrcoef(*slopes)[0, 1])


Motion = list[tuple[npt.NDArray[np.float32], Mask]]
"""For each frame but the first: where every pixel was in the frame before (h w 2: x, y), and whether that is sure."""


def motion(frames: Sequence[Image]) -> Motion:
    """Dense flow between consecutive frames (Kroeger et al., ECCV 2016, "DIS"). A pixel is sure when the flow there
    and back, w and v, returns to it: |w + v|^2 < 0.01 (|w|^2 + |v|^2) + 0.5 (Sundaram et al., ECCV 2010)."""
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    gray = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
    height, width = gray[0].shape
    grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1).astype(np.float32)
    found: Motion = []
    for before, now in itertools.pairwise(gray):
        back, forth = dis.calc(now, before, None), dis.calc(before, now, None)
        origin = grid + back
        forth = _at(forth, origin)
        inside = (origin >= 0).all(-1) & (origin <= (width - 1, height - 1)).all(-1)
        limit = 0.01 * ((back**2).sum(-1) + (forth**2).sum(-1)) + 0.5
        found.append((origin, inside & (((back + forth) ** 2).sum(-1) < limit)))
    return found


def warp_error(frames: Sequence[Image], moved: Motion) -> float:
    """Mean |frame - frame before, moved along| over RGB, sure pixels and frames, in the frames' own units."""
    errors: list[float] = []
    for (before, now), (origin, sure) in zip(itertools.pairwise(frames), moved, strict=True):
        errors.append(abs(now - _at(before.astype(np.float32), origin))[sure].mean())
    return float(np.mean(errors))


@dataclass(frozen=True)
class Flicker:
    """A render's error along the motion over its source's.

    raw: as it is.
    matched: the source first brought to the render's contrast, a x + b for the whole clip; b cancels, so it is raw / a.
        a fits the slopes of the source to those of the render, over all pixels, RGB and frames (Sobel 3x3):
        a = sum(grad render . grad source) / sum(|grad source|^2). A curve put on every pixel then gives about 1,
        however dark it is, and noise, whose slopes are not the source's, cannot hide itself. Meaningless where the
        render is no regrade of its source.
    spread: as matched, with a = std(render) / std(source) over all values of the clip. Light skies over dark ground
        make up most of that contrast, and a night that darkens the sky loses it without any flicker.
    """

    raw: float
    matched: float
    spread: float


def flicker(render_frames: Sequence[Image], source_frames: Sequence[Image], moved: Motion | None = None) -> Flicker:
    """How much less steady a render is than its source along the source's motion, which is found unless it is given.

    1 means that the render changes along the motion as much as its source does, above 1 that it flickers more.
    """
    moved = motion(source_frames) if moved is None else moved
    raw = warp_error(render_frames, moved) / warp_error(source_frames, moved)
    common = total = 0.0
    for render, source in zip(render_frames, source_frames, strict=True):
        slopes, own = _slopes(render), _slopes(source)
        common += float((slopes * own).mean())
        total += float((own * own).mean())
    spread = np.std(np.stack(source_frames)) / np.std(np.stack(render_frames))
    return Flicker(raw, raw * total / common, raw * float(spread))


def _slopes(image: Image) -> npt.NDArray[np.float32]:
    return np.stack([cv2.Sobel(image, cv2.CV_32F, 1, 0), cv2.Sobel(image, cv2.CV_32F, 0, 1)])


def _at(image: npt.NDArray[np.float32], places: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return cv2.remap(image, places, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _root(matrix: Array) -> Array:
    values, axes = np.linalg.eigh(matrix)
    return (axes * np.sqrt(values.clip(0))) @ axes.T


def _tensor(picture: Image) -> torch.Tensor:
    height, width = picture.shape[:2]
    scale = SIDE / min(height, width)
    small = resize_to(picture, round(width * scale), round(height * scale))
    return torch.from_numpy(small).permute(2, 0, 1)[None].float() / 255
