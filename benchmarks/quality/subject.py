"""Figures of `--subject` and `--sky`, on pictures that their network was not trained on.

    python benchmarks/quality/subject.py [--data ../shared/data] [--json FILE] [--sheet FILE.jpg]

The true masks are polygons drawn by hand, in hundredths of the width and height, accurate to about a hundredth: of
eight photographs of people and two frames of a cartoon bird, and of the sky in seven pictures. Hair is cut to its
outline, and small gaps between leaves do not count.

IoU: intersection over union of the mask, from 0.5 on, with the polygon. False: mean of the mask over pictures without
a subject, or without a sky. Clips: three that are made of the photographs, 48 frames of 640x360: a person, cut out
along the polygon, moves over a clip or a photograph that moves too. Of their frames the mean and the least IoU;
flicker, the mean change of the mask, in codes of 255, from one frame to the next once the person's motion is undone,
within the person and 8 pixels around; each with tracking, and with every frame alone.
"""

import argparse
import json
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np

from dnirender.decoding.open import open_source
from dnirender.frames import Frame
from dnirender.masks.found import FoundMask
from dnirender.masks.tracking import REACH
from dnirender.media.images import read_image

SUBJECTS = {
    "clic/0369d229ba4c": (
        "0,97 5,91 10,87 13,83 11,79 10,72 11,62 15,50 18,42 22,36 30,31 38,28 48,27.5 58,29.5 66,34 72,39 77,44 82,50 "
        "87,57 89,63 91,69 89,76 85,80 88,84 93,90 97,96 97,100 0,100",
    ),
    "clic/097cb426910b": (
        "3,100 3,90 5,80 6,70 5,62 4,52 5,44 9,40 17,37 24,34 29,31 31,28 30,24 31,21 33,16 38,13 46,12 53,13 58,17 "
        "59,21 57,24 55,26 54,31 51,34 54,36 55,40 57,45 58,50 57.5,55 59,62 59,68 57,72 53,75 50,76 49,80 52,83 58,85 "
        "67,87 80,88 90,91 96,94 99,98 100,100",
    ),
    "clic/11f2b039b293": (
        "13,100 16,94 11,92 13,85 13,78 15,70 18,64 19,60 23,54 27,47 28,42 30,35 31,28 34,23 39,19.5 47,18.5 55,20 "
        "61,24 64,29 66,36 69,43 71,50 77,53 82,60 85,68 87,78 89,90 89,100",
    ),
    "clic/14ab4af28901": (
        "39,6 33,8 27,13 22,20 18,28 15,35 12,42 8,50 6,56 4,62 1,68 0,72 0,100 100,100 100,84 97,80 93,74 95,63 96,55 "
        "94,47 89,38 83,30 77,22 70,16 62,12 54,10 45,7",
    ),
    "clic/1cba10ad9bb4": (
        "0,82 10,77 22,73.5 33,71 33,66 30,61 27,55 25,49 24,45 18,39 15,34 18,29 17,24 22,19 28,17 35,16 38,12 44,9 "
        "52,7.5 60,7 66,9 69,14 75,18 79,24 79,31 78,40 77.5,45 76,52 73,57 71,62 70,69 77,72 88,76 96,79 100,81 "
        "100,100 0,100",
    ),
    "cid22/pexels-photo-3155588": (
        "18,0 17,24 14.5,28 14,36 16,42 16,52 14,62 10,74 11,83 15,88.5 0,88.5 0,100 100,100 100,89 83,89 82,82 83,74 "
        "84,66 88,58 88,51 85,45 86,37 88,30 86,25 83,22 82,0",
        "21,52 26,58 27,62 24,68 23,76 22,86 18,87 14,83 13,76 16,68 20,60",
        "78,48 83,48 81,57 79,65 74,60 75,55",
        "32.5,63 34.5,75 30,85 30,75",
    ),
    "cid22/pexels-photo-4352249": (
        "10,0 10,20 8,24 11,32 14,42 15,50 18,58 20,66 23,69 26,70 26,80 25,90 24,100 100,100 100,97 97,92 92,86 90,80 "
        "88,72 87,65 89,62 89,58 90,53 87,50 86,43 85,35 84,20 84,8 82,0",
    ),
    "cid22/333963": (
        "44,40 48,41 48,45 49.5,46 49.5,51 48,53 48.5,59 47.5,60 47,66 46.5,70 46,72.5 45,72.5 44,68 43.5,60 42,58.5 "
        "43,50 42,49 42.5,45.5 43.5,44 43.5,41",
    ),
    "free/bunny_0425": (
        "50,8.5 54,12 56,17 60,21 61,28 66,25 72,21 77,19.5 79,21 77,28 73,36 67,43 61,47 59.5,46 59,55 57,65 54,71 "
        "50,74 48,75 48.5,80 50,82 49.5,84 46.5,83.5 47,80 47.5,75 44,71 41,66 39.5,66 37,69 35,76 34,74 32,71 35,69 "
        "39,64 40.5,57 40.5,52 37.5,48 41,45 38,43 33,37 28,30 26,22 30,20.5 36,23 41,26 45.5,30 46,22 46,14 47,10",
    ),
    "free/bunny_0455": (
        "45,23 49,26 51,32 52,40 51,48 53,53 54,58 53,62 53,66 53,74 51,80 50,84 46.5,84 46,81.5 42,81.5 41.5,84 38,84 "
        "37,80 35.5,74 34.5,68 35.5,62 34,59 34,55 36,50 37.5,45 37.5,39 39.5,32 42,26",
    ),
}
SKIES = {  # the first polygon without the others
    "cid22/1001682": ("0,0 100,0 100,34.8 0,34.8",),
    "cid22/670530": (
        "0,0 100,0 100,100 0,100",
        "14,20 13,18 14.5,15 16.5,16 17,19 16.2,20 16.8,31 18,29 18,27.5 21.5,27 25,29 26,30.5 24,33 24.5,36 26,38 "
        "28,42.5 31,41 32,43 30,47 29,51 27.5,52 28,62 27,69.5 28,71 28.3,75 30.5,75.5 30,80 29.5,93 31,95 31,100 "
        "8,100 8.5,94 10,93 10,80 9.5,75.5 12,75 12,71.5 14,69.5 15,60 15,46 16,40 14,36 14,33 15.5,31 15,25",
    ),
    "cid22/2738653": ("35,0 40,3.5 47,5.5 50,8 56,13 62,16.5 69,17.5 76,20 80,18 86,15 91,17.5 95,18 100,17 100,0",),
    "cid22/4666751": (
        "0,0 100,0 100,62 92,59 83,54 75,48 67,43 66,40 66.5,30 62,26.5 56,31 51,36 45,33 35,27.5 27,22.5 20,17 17,11 "
        "10,3 6,1",
    ),
    "cid22/1938351": (
        "0,0 100,0 100,65 92,66 85,69 80,72 70,71 60,71.5 50,70.5 42,70 36,68.5 31,67 27,68.5 22,65.5 15,62 10,59 5,54 "
        "0,50",
    ),
    "free/road_720p_0017": (
        "42,0 39,9 35,14 34,19 28,22 23,27 17,33 18,40 25,41 33,45 38,44 42,38 44,33 48,31 51,34 53,42 55,46 58,50 "
        "63,49 65,48 66,38 68,27 71,23 74,22 77,25 79,33 81,39 79,43 80,48 84,48 88,45 94,40 100,35 100,0",
    ),
    "free/bunny_0485": (
        "15,0 100,0 100,69 85,71 75,74 68,78 60,81 55,81.5 40,81.5 33,79.5 25,77 17,74 15,60",
        "48,15 51,19 52,27 52.5,39 56,41 60,49 61.5,56 60,61 54.5,61.5 53.5,70 51,77 50,84 47,84 46.5,79 42,79 41,84 "
        "38,84 38,79 36,70 36,60 35,58 29,58.5 25,53 26,46 29,39 36,37 38.5,32 41,24 45,17",
        "100,51 92,54 85,57 78,59 72,63 64,67 60,69.5 57,74 55.5,80 56.5,80.5 58,75 61,71 65,69 78,61 85,59 92,56 "
        "100,53",
    ),
}
NO_SUBJECT = (
    *("cid22/1001682", "cid22/1173777", "cid22/162511", "cid22/1938351", "cid22/2290070", "cid22/2599868"),
    *("cid22/2738653", "cid22/3705529", "free/road_720p_0017", "free/stream_0030"),
)
NO_SKY = (
    *("cid22/1173777", "cid22/1546166", "cid22/162511", "cid22/2123337", "cid22/2290070", "cid22/2599868"),
    *("cid22/3705529", "cid22/551991", "cid22/pexels-photo-7078290", "free/stream_0030", "free/skimage_coffee"),
)
CLIPS = {  # person, what moves behind, height in parts of the picture's, start and end of the middle, swing
    "walk": ("clic/097cb426910b", "clips/road.mp4", 0.9, (0.25, 0.7), 0.02),
    "near": ("clic/11f2b039b293", "photos/cid22/2290070.jpg", 1.1, (0.4, 0.6), 0.04),
    "by the river": ("clic/0369d229ba4c", "photos/cid22/2738653.jpg", 0.8, (0.75, 0.35), 0.01),
}
SIZE, LENGTH, AROUND = (640, 360), 48, 8


def polygon(texts, width, height):
    """The first polygon without the others, 0 or 1."""
    mask = np.zeros((height, width), np.uint8)
    for number, text in enumerate(texts):
        points = np.array([[float(part) for part in point.split(",")] for point in text.split()])
        scaled = np.rint(points * (width, height) / 100).astype(np.int32)
        cv2.fillPoly(mask, [scaled], int(number == 0))
    return mask


class Frames:
    """Images in memory as a source of a clip."""

    def __init__(self, images):
        self._images = images
        self.metadata = SimpleNamespace(still=len(images) == 1, pts=range(len(images)))

    def again(self):
        return self

    def frames(self, indices):
        return (Frame(index, index, self._images[index]) for index in indices)


def masks_of(images, name, reach=REACH):
    return list(FoundMask(Frames(images), (name,), reach).masks(range(len(images))))


def mean(values):
    return round(float(np.mean(list(values))), 3)


def overlap(mask, truth):
    hard = mask >= 0.5
    return float((hard & (truth > 0)).sum() / max((hard | (truth > 0)).sum(), 1))


def behind(data, name, number):
    if name.endswith(".mp4"):
        image = next(open_source(data / name).frames([2 * number])).image
        return cv2.resize(image, SIZE, interpolation=cv2.INTER_AREA)
    image = cv2.resize(read_image(data / name)[0], (SIZE[0] * 6 // 5, SIZE[0] * 6 // 5), interpolation=cv2.INTER_AREA)
    x, y = round(number / LENGTH * (image.shape[1] - SIZE[0])), (image.shape[0] - SIZE[1]) // 2
    return image[y : y + SIZE[1], x : x + SIZE[0]]


def made(data, person, back, height, ends, swing):
    """The frames of a clip, the person's mask in each, and its place in pixels."""
    image = read_image(data / "photos" / f"{person}.jpg")[0]
    mask = polygon(SUBJECTS[person], image.shape[1], image.shape[0]).astype(np.float32)
    scale = height * SIZE[1] / image.shape[0]
    images, truths, places = [], [], []
    for number in range(LENGTH):
        t = number / (LENGTH - 1)
        x = (ends[0] + (ends[1] - ends[0]) * t) * SIZE[0] - scale * image.shape[1] / 2
        y = SIZE[1] * (1 + abs(swing * np.sin(8 * np.pi * t))) - scale * image.shape[0]
        matrix = np.float32([[scale, 0, x], [0, scale, y]])
        front = cv2.warpAffine(image, matrix, SIZE, flags=cv2.INTER_AREA)
        cover = cv2.GaussianBlur(cv2.warpAffine(mask, matrix, SIZE, flags=cv2.INTER_LINEAR), (0, 0), 0.8)[..., None]
        images.append(np.rint(behind(data, back, number) * (1 - cover) + front * cover).astype(np.uint8))
        truths.append((cover[..., 0] > 0.5).astype(np.uint8))
        places.append((x, y))
    return images, truths, places


def flicker(masks, truths, places):
    kernel = np.ones((2 * AROUND + 1,) * 2)
    changes = []
    for number in range(1, len(masks)):
        x, y = (now - before for now, before in zip(places[number], places[number - 1], strict=True))
        move = np.float32([[1, 0, x], [0, 1, y]])
        before = cv2.warpAffine(masks[number - 1], move, SIZE, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        near = cv2.dilate(truths[number], kernel) > 0
        near[:, :AROUND], near[:, -AROUND:] = False, False
        changes.append(np.abs(masks[number] - before)[near].mean())
    return 255 * float(np.mean(changes))


def outlined(image, mask, color):
    image = image.copy()
    edges, _ = cv2.findContours((mask >= 0.5).astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(image, edges, -1, color, max(1, image.shape[0] // 200))
    return image


def cell(image, mask, truth):
    """The picture with what is found tinted, and the polygon as a line."""
    tint = np.rint(image * (1 - 0.5 * mask[..., None]) + 127 * mask[..., None] * (1, 0.1, 0.9)).astype(np.uint8)
    shown = outlined(tint, truth, (255, 255, 0)) if truth is not None else tint
    canvas = np.zeros((240, 320, 3), np.uint8)
    scale = min(320 / image.shape[1], 240 / image.shape[0])
    small = cv2.resize(shown, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    canvas[: small.shape[0], : small.shape[1]] = small
    return canvas


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--sheet", type=Path)
    given = parser.parse_args()
    report, cells = {}, []
    for kind, drawn, empty in (("subject", SUBJECTS, NO_SUBJECT), ("sky", SKIES, NO_SKY)):
        scores, false = {}, {}
        for name in [*drawn, *empty]:
            image = read_image(given.data / "photos" / f"{name}.jpg")[0]
            (mask,) = masks_of([image], kind)
            truth = polygon(drawn[name], image.shape[1], image.shape[0]) if name in drawn else None
            if truth is None:
                false[name] = round(float(mask.mean()), 3)
            else:
                scores[name] = round(overlap(mask, truth), 3)
            cells.append(cell(image, mask, truth))
        means = {"IoU": mean(scores.values()), "false": mean(false.values())}
        report[kind] = {**means, "pictures": scores, "without": false}
    report["clips"] = {}
    for name, (person, back, *motion) in CLIPS.items():
        images, truths, places = made(given.data, person, back, *motion)
        row = {}
        for how, reach in (("tracked", REACH), ("alone", 0)):
            masks = masks_of(images, "subject", reach)
            scores = [overlap(mask, truth) for mask, truth in zip(masks, truths, strict=True)]
            changes = flicker(masks, truths, places)
            row[how] = {"IoU": mean(scores), "least": round(min(scores), 3), "flicker": round(changes, 2)}
            if how == "tracked":
                cells += [cell(images[number], masks[number], truths[number]) for number in (0, 16, 32, 47)]
        report["clips"][name] = row
    print(json.dumps(report, indent=1))
    if given.json:
        given.json.write_text(json.dumps(report, indent=1) + "\n")
    if given.sheet:
        cells += [np.zeros_like(cells[0])] * (-len(cells) % 6)
        sheet = np.vstack([np.hstack(cells[start : start + 6]) for start in range(0, len(cells), 6)])
        cv2.imwrite(str(given.sheet), sheet[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])


if __name__ == "__main__":
    main()
