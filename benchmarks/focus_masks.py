"""Masks of subjects in photographs, for the training of `focus`.

    pip install mediapipe==0.10.21 'numpy<2'        # in an environment of its own
    python benchmarks/focus_masks.py --data DATA --out focus.training/masks

Writes NAME.png, 8 bit gray, for every photograph listed here: 255 is the subject, and all is 0 where nothing stands
out. People are found by MediaPipe's selfie segmentation, whose 256 x 256 map is the start of GrabCut (Rother et al.
2004); things and animals by GrabCut alone, from boxes drawn by hand. Both then get soft edges by a guided filter (He
et al. 2013). Photographs that are not listed have no clear subject or a bad mask, and are not trained on.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np


def listed(text):
    return text.split()


PEOPLE = listed("""
cid22/1277396 cid22/1428647 cid22/160577 cid22/1618269 cid22/209864 cid22/2600340 cid22/3534924 cid22/4934193
cid22/5398956 cid22/5739122 cid22/6763758 cid22/7062177 cid22/7394483 cid22/pexels-photo-1075776
cid22/pexels-photo-1544724 cid22/pexels-photo-1933873 cid22/pexels-photo-2686358 cid22/pexels-photo-2811087
cid22/pexels-photo-2846602 cid22/pexels-photo-3193731 cid22/pexels-photo-3214683 cid22/pexels-photo-3568544
cid22/pexels-photo-3586798 cid22/pexels-photo-4177747 cid22/pexels-photo-4354221 cid22/pexels-photo-4672246
cid22/pexels-photo-6096399 cid22/pexels-photo-6635187 cid22/pexels-photo-7114620 cid22/pexels-photo-7266811
cid22/pexels-photo-796526 clic/28d24b9c83de clic/2a2420f929cd clic/2c1f84548ef9 clic/50d13125b665 clic/8bb119b8ca17
clic/9466a908d088 clic/b51d5fb53724 clic/c9510efb03d1 clic/d79d465ac77c clic/e0d8e29cadfc clic/f67f11de4ca9
clic/ff32adfa29d4 free/skimage_astronaut
""")

HELD_OUT = listed("""
clic/0369d229ba4c clic/097cb426910b clic/100f17892cf7 clic/11f2b039b293 clic/14ab4af28901 clic/1cba10ad9bb4
cid22/pexels-photo-3155588 cid22/7218572
""")
"""People whom only the figures use; training leaves them out, as the recipe says."""

THINGS = {  # left, top, right, bottom of boxes around the subject, in hundredths of the width and height
    "cid22/1200348": [(15, 18, 78, 99)],
    "cid22/144200": [(18, 28, 86, 66)],
    "cid22/146083": [(3, 1, 92, 86)],
    "cid22/1687147": [(13, 48, 87, 80)],
    "cid22/3311574": [(10, 40, 83, 76)],
    "cid22/3396657": [(1, 1, 75, 96), (70, 12, 99, 96)],
    "cid22/3493730": [(17, 20, 72, 99)],
    "cid22/3616956": [(2, 22, 99, 86)],
    "cid22/3836671": [(1, 22, 88, 80)],
    "cid22/580612": [(15, 33, 83, 98)],
    "cid22/5894435": [(42, 27, 96, 78)],
    "cid22/60003": [(1, 4, 99, 99)],
    "cid22/631292": [(1, 20, 99, 82)],
    "cid22/64271": [(32, 1, 78, 97)],
    "cid22/67216": [(3, 30, 38, 78), (55, 30, 99, 78)],
    "cid22/7256805": [(12, 20, 85, 99)],
    "cid22/pexels-photo-6926600": [(10, 30, 87, 98)],
    "free/flower_0080": [(36, 10, 62, 72)],
    "free/flower_0130": [(28, 5, 68, 78)],
    "free/mate_Garden": [(36, 4, 99, 98)],
    "free/free_by_Peter_Nerlich": [(22, 52, 68, 86)],
    "free/Wine_by_Jakkub_Mede": [(22, 50, 82, 99)],
    "clic/2684452db505": [(8, 2, 92, 99)],
    "clic/604308447488": [(6, 8, 94, 99)],
    "clic/d1a9be98d193": [(14, 1, 64, 97)],
    "cid22/551991": [(2, 8, 99, 88)],  # these two are held out
    "cid22/670530": [(12, 12, 45, 99)],
}

SCENES = listed("""
cid22/1029604 cid22/106399 cid22/1080721 cid22/1130683 cid22/1147124 cid22/1183021 cid22/1248582 cid22/1287145
cid22/1292115 cid22/1370704 cid22/1454804 cid22/1459534 cid22/1583244 cid22/1583339 cid22/1599791 cid22/1624307
cid22/164338 cid22/1722183 cid22/169647 cid22/1963557 cid22/2062426 cid22/207691 cid22/208560 cid22/2119713
cid22/2184504 cid22/2208891 cid22/2232979 cid22/225284 cid22/2263510 cid22/2272939 cid22/2387876 cid22/2444429
cid22/2504911 cid22/2581922 cid22/258947 cid22/261045 cid22/2666598 cid22/271619 cid22/271624 cid22/2866385
cid22/3004909 cid22/3044702 cid22/3315291 cid22/3330118 cid22/3363331 cid22/3571065 cid22/3584430 cid22/3623285
cid22/3779187 cid22/3779828 cid22/3794859 cid22/3952034 cid22/459728 cid22/4843579 cid22/5146462 cid22/5212582
cid22/53435 cid22/7062227 cid22/7062197 cid22/7195294 cid22/8442861 cid22/pexels-photo-1029599
cid22/pexels-photo-2908983 cid22/pexels-photo-3289880 cid22/pexels-photo-4577831 cid22/pexels-photo-7078476
free/aitzgorri_by_Aitzol_Berasategi free/bunny_0095 free/bunny_0155 free/bunny_0215 free/bunny_0275 free/bunny_0305
free/bunny_0335 free/bunny_0365 free/Bridge_by_Sander_Klootwijk free/life_by_Aitzol_Berasategi free/mate_Dune
free/mate_GreenMeadow free/mate_Storm free/picosdeeuropa_by_Aitzol_Berasategi free/sunset_by_Aitzol_Berasategi
clic/aed95e005df2
""")
MOTION = ("road_0", "carpark_")  # frames of clips of roads and car parks, all scenes

SIDE = 768  # pixels, of the long side of photographs at most
SURE = 0.92  # MediaPipe's confidence from which on GrabCut must call it subject, and 1 - SURE background
GUIDE = (4, 1e-4)  # radius in pixels and epsilon of the guided filter


def guided(guide, mask):
    """A float mask whose edges follow those of the gray `guide`."""
    side = (2 * GUIDE[0] + 1,) * 2
    mean, of_mask = cv2.blur(guide, side), cv2.blur(mask, side)
    slope = (cv2.blur(guide * mask, side) - mean * of_mask) / (cv2.blur(guide * guide, side) - mean**2 + GUIDE[1])
    return cv2.blur(slope, side) * guide + cv2.blur(of_mask - slope * mean, side)


def finish(image, hard):
    """The hard mask, cleaned of specks and holes, with soft edges, in bytes."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3))
    hard = cv2.morphologyEx(cv2.morphologyEx(hard.astype(np.uint8), cv2.MORPH_OPEN, kernel), cv2.MORPH_CLOSE, kernel)
    for value in (1, 0):  # specks, then holes
        count, labels, stats, _ = cv2.connectedComponentsWithStats((hard == value).astype(np.uint8))
        for label in range(1, count):
            if stats[label, cv2.CC_STAT_AREA] < 0.003 * hard.size:
                hard[labels == label] = 1 - value
    gray = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY).astype(np.float32) / 255
    soft = guided(gray, cv2.GaussianBlur(hard.astype(np.float32), (0, 0), 0.7))
    near = cv2.dilate(hard, kernel, iterations=4) - cv2.erode(hard, kernel, iterations=4)
    soft = np.where(near > 0, np.clip(soft * 1.2 - 0.1, 0, 1), hard)
    return (soft * 255).round().astype(np.uint8)


def grab(image, marks, rounds=6):
    cv2.setRNGSeed(0)
    cv2.grabCut(image, marks, None, np.zeros((1, 65)), np.zeros((1, 65)), rounds, cv2.GC_INIT_WITH_MASK)
    return (marks == cv2.GC_FGD) | (marks == cv2.GC_PR_FGD)


def person(image, segment):
    found = segment.process(cv2.cvtColor(image, cv2.COLOR_BGR2RGB)).segmentation_mask
    marks = np.where(found > 0.5, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    inside = cv2.erode((found > SURE).astype(np.uint8), np.ones((3, 3)), iterations=6)
    outside = cv2.erode((found < 1 - SURE).astype(np.uint8), np.ones((3, 3)), iterations=6)
    marks[inside > 0], marks[outside > 0] = cv2.GC_FGD, cv2.GC_BGD
    return finish(image, grab(image, marks, 2) if inside.any() and outside.any() else found > 0.5)


def thing(image, boxes):
    rows, cols = image.shape[:2]
    marks = np.full((rows, cols), cv2.GC_BGD, np.uint8)
    for left, top, right, bottom in boxes:
        marks[rows * top // 100 : rows * bottom // 100, cols * left // 100 : cols * right // 100] = cv2.GC_PR_FGD
    return finish(image, grab(image, marks))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path("focus.training/masks"))
    given = parser.parse_args()
    import mediapipe

    segment = mediapipe.solutions.selfie_segmentation.SelfieSegmentation(model_selection=0)
    photos = given.data / "photos"
    moving = [f"free/{path.stem}" for prefix in MOTION for path in sorted((photos / "free").glob(f"{prefix}*"))]
    given.out.mkdir(parents=True, exist_ok=True)
    for name in [*PEOPLE, *HELD_OUT, *THINGS, *SCENES, *moving]:
        image = cv2.imread(str(photos / f"{name}.jpg"))
        if image is None:
            raise SystemExit(f"{photos / name}.jpg: no such photograph")
        scale = min(1.0, SIDE / max(image.shape[:2]))
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        if name in THINGS:
            mask = thing(image, THINGS[name])
        elif name in PEOPLE or name in HELD_OUT:
            segment.reset()
            mask = person(image, segment)
        else:
            mask = np.zeros(image.shape[:2], np.uint8)
        cv2.imwrite(str(given.out / f"{Path(name).name}.png"), mask)


if __name__ == "__main__":
    main()
