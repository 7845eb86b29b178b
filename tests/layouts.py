"""Public data sets in small, as their authors lay them out, and what is known of each of their photographs."""

import base64
import csv
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

SIZE = (48, 64)


@dataclass(frozen=True)
class Known:
    """What a layout says of a photograph."""

    label: str
    # (H,W) bool by class; empty for a good photograph.
    defects: dict[str, np.ndarray]
    category: str = ""
    split: str = ""
    group: str = ""


@dataclass(frozen=True)
class Layout:
    """A data set in small."""

    # The option of data= that reads it, and whether it reads good photographs only with data.good=true.
    kind: str
    # Writes the data set into a folder: its photographs by their files.
    write: Callable[[Path], dict[str, Known]]
    hides_good: bool = True


def painted(seed: int) -> np.ndarray:
    """(H,W) bool: one to three rectangles."""
    rng, mask = np.random.default_rng(seed), np.zeros(SIZE, bool)
    for _ in range(rng.integers(1, 4)):
        top, left = rng.integers(0, SIZE[0] - 8), rng.integers(0, SIZE[1] - 8)
        mask[top : top + rng.integers(2, 20), left : left + rng.integers(2, 20)] = True
    return mask


def rectangle(seed: int) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of a rectangle in the photograph."""
    rng = np.random.default_rng(seed)
    left, top = int(rng.integers(0, SIZE[1] - 10)), int(rng.integers(0, SIZE[0] - 10))
    return left, top, left + int(rng.integers(2, 10)), top + int(rng.integers(2, 10))


def filled(*boxes: tuple[int, int, int, int]) -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    for left, top, right, bottom in boxes:
        mask[top:bottom, left:right] = True
    return mask


def photograph(file: Path, seed: int = 0, *, is_grey: bool = False) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(60, 200, SIZE if is_grey else (*SIZE, 3), np.uint8)
    Image.fromarray(pixels).save(file)


def mask_file(file: Path, mask: np.ndarray, value: int = 255) -> np.ndarray:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask.astype(np.uint8) * value).save(file)
    return mask


def mvtec_ad(folder: Path, categories: tuple[str, ...] = ("bottle", "metal_nut")) -> dict[str, Known]:
    found = {}
    for category in categories:
        for split in ("train", "test"):
            photograph(folder / category / split / "good" / "000.png")
            found[f"{category}/{split}/good/000.png"] = Known("good", {}, category, split)
        for label in ("broken_large", "scratch"):
            photograph(folder / category / "test" / label / "000.png")
            mask = mask_file(folder / category / "ground_truth" / label / "000_mask.png", painted(len(found)))
            found[f"{category}/test/{label}/000.png"] = Known(label, {label: mask}, category, "test")
    return found


def mpdd(folder: Path) -> dict[str, Known]:
    return mvtec_ad(folder, ("bracket_black", "metal_plate"))


def mvtec_loco(folder: Path) -> dict[str, Known]:
    found, place = {}, folder / "breakfast_box"
    place.mkdir(parents=True)
    classes = {255: "missing_almonds", 254: "2_nectarines", 253: "contamination"}
    told = [{"defect_name": name, "pixel_value": value} for value, name in classes.items()]
    (place / "defects_config.json").write_text(json.dumps(told))
    for split, own in (("train", "train"), ("validation", "val"), ("test", "test")):
        photograph(place / split / "good" / "000.png")
        found[f"breakfast_box/{split}/good/000.png"] = Known("good", {}, "breakfast_box", own)
    for kind, values in (("logical_anomalies", (255, 254)), ("structural_anomalies", (253,))):
        photograph(place / "test" / kind / "007.png")
        files = [place / "ground_truth" / kind / "007" / f"{k:03d}.png" for k in range(len(values))]
        masks = [mask_file(file, painted(value), value) for file, value in zip(files, values, strict=True)]
        defects = {classes[value]: mask for value, mask in zip(values, masks, strict=True)}
        known = Known(classes[values[0]], defects, "breakfast_box", "test")
        found[f"breakfast_box/test/{kind}/007.png"] = known
    return found


def btad(folder: Path) -> dict[str, Known]:
    found = {}
    for category, suffix, mask_suffix in (("01", "bmp", "png"), ("03", "bmp", "bmp")):
        for split in ("train", "test"):
            photograph(folder / category / split / "ok" / f"0000.{suffix}")
            found[f"{category}/{split}/ok/0000.{suffix}"] = Known("good", {}, category, split)
        photograph(folder / category / "test" / "ko" / f"0001.{suffix}")
        mask = mask_file(folder / category / "ground_truth" / "ko" / f"0001.{mask_suffix}", painted(len(found)))
        found[f"{category}/test/ko/0001.{suffix}"] = Known("ko", {"ko": mask}, category, "test")
    return found


def visa(folder: Path) -> dict[str, Known]:
    found, splits = {}, [("object", "split", "label", "image", "mask")]
    for category, label in (("candle", "burnt"), ("pcb1", "bent,melt")):
        good, bad, mask = (f"{category}/Data/{name}" for name in ("Images/Normal/0.JPG", "Images/Anomaly/0.JPG", ""))
        mask = f"{category}/Data/Masks/Anomaly/0.png"
        photograph(folder / good)
        photograph(folder / bad)
        defects = {label: mask_file(folder / mask, painted(len(found)), 1)}
        rows = [("image", "label", "mask"), (good, "normal", ""), (bad, label, mask)]
        with (folder / category / "image_anno.csv").open("w", newline="") as file:
            csv.writer(file).writerows(rows)
        splits += [(category, "train", "normal", good, ""), (category, "test", "anomaly", bad, mask)]
        found |= {good: Known("good", {}, category, "train"), bad: Known(label, defects, category, "test")}
    (folder / "split_csv").mkdir()
    with (folder / "split_csv" / "1cls.csv").open("w", newline="") as file:
        csv.writer(file).writerows(splits)
    return found


def dagm(folder: Path) -> dict[str, Known]:
    found = {}
    for category in ("Class1", "Class10"):
        for half in ("Train", "Test"):
            place = folder / category / half
            photograph(place / "0001.PNG", is_grey=True)
            photograph(place / "0576.PNG", is_grey=True)
            mask = mask_file(place / "Label" / "0576_label.PNG", painted(len(found)))
            (place / "Label" / "Labels.txt").write_text(
                "1\n1\t0\t0001.PNG\t0\t0\n576\t1\t0576.PNG\t0\t0576_label.PNG\n"
            )
            found[f"{category}/{half}/0001.PNG"] = Known("good", {}, category, half.lower())
            found[f"{category}/{half}/0576.PNG"] = Known("defect", {"defect": mask}, category, half.lower())
    return found


def kolektor_sdd(folder: Path) -> dict[str, Known]:
    found = {}
    for part in ("kos01", "kos02"):
        for k in range(2):
            photograph(folder / part / f"Part{k}.jpg", is_grey=True)
            mask = painted(len(found)) if k else np.zeros(SIZE, bool)
            mask_file(folder / part / f"Part{k}_label.bmp", mask)
            known = Known("defect", {"defect": mask}, group=part) if k else Known("good", {}, group=part)
            found[f"{part}/Part{k}.jpg"] = known
    return found


def kolektor_sdd_2(folder: Path) -> dict[str, Known]:
    found = {}
    for split in ("train", "test"):
        for k in range(2):
            photograph(folder / split / f"1000{k}.png")
            mask = painted(len(found)) if k else np.zeros(SIZE, bool)
            mask_file(folder / split / f"1000{k}_GT.png", mask)
            known = Known("defect", {"defect": mask}, split=split) if k else Known("good", {}, split=split)
            found[f"{split}/1000{k}.png"] = known
    return found


def magnetic_tile(folder: Path) -> dict[str, Known]:
    found = {}
    for name, label in (("MT_Blowhole", "blowhole"), ("MT_Crack", "crack"), ("MT_Free", "good")):
        for exposure in (1, 4):
            stem = folder / name / "Imgs" / f"exp{exposure}_num_{len(name)}"
            photograph(stem.with_suffix(".jpg"), is_grey=True)
            mask = mask_file(stem.with_suffix(".png"), painted(len(found)) & (label != "good"))
            defects = {label: mask} if label != "good" else {}
            found[f"{name}/Imgs/{stem.name}.jpg"] = Known(label, defects, group=str(len(name)))
    return found


def neu(folder: Path) -> dict[str, Known]:
    """NEU-DET, whose annotations are Pascal VOC's."""
    found = {}
    for k, label in enumerate(("crazing", "patches")):
        photograph(folder / "IMAGES" / f"{label}_1.jpg", is_grey=True)
        left, top, right, bottom = rectangle(k)
        box = f"<xmin>{left + 1}</xmin><ymin>{top + 1}</ymin><xmax>{right}</xmax><ymax>{bottom}</ymax>"
        size = f"<size><width>{SIZE[1]}</width><height>{SIZE[0]}</height><depth>1</depth></size>"
        told = f"<annotation>{size}<object><name>{label}</name><bndbox>{box}</bndbox></object></annotation>"
        (folder / "ANNOTATIONS").mkdir(exist_ok=True)
        (folder / "ANNOTATIONS" / f"{label}_1.xml").write_text(told)
        found[f"IMAGES/{label}_1.jpg"] = Known(label, {label: filled((left, top, right, bottom))})
    return found


def labelme(folder: Path) -> dict[str, Known]:
    found = {}
    for k in range(3):
        photograph(folder / f"{k}.jpg")
        polygon, box, patch = rectangle(10 + k), rectangle(20 + k), painted(k)
        (a, b, c, d), (e, f, g, h) = polygon, box
        data = io.BytesIO()
        Image.fromarray(patch).save(data, format="PNG")
        shapes = [
            {"label": "crack", "shape_type": "polygon", "points": [[a, b], [c, b], [c, d], [a, d]]},
            {"label": "dent", "shape_type": "rectangle", "points": [[e, f], [g, h]]},
            {"label": "dent", "shape_type": "mask", "points": [[0, 0], [SIZE[1] - 1, SIZE[0] - 1]],
             "mask": base64.b64encode(data.getvalue()).decode()},
        ][: k + 1]  # fmt: skip
        told = {"shapes": shapes, "imagePath": f"{k}.jpg", "imageHeight": SIZE[0], "imageWidth": SIZE[1]}
        (folder / f"{k}.json").write_text(json.dumps(told))
        dents = {"dent": filled(box) | (patch if k == 2 else False)} if k else {}
        found[f"{k}.jpg"] = Known("crack", {"crack": filled(polygon), **dents})
    photograph(folder / "free.jpg")
    (folder / "free.json").write_text(json.dumps({"shapes": [], "imagePath": "free.jpg"}))
    return {**found, "free.jpg": Known("good", {})}


def coco(folder: Path) -> dict[str, Known]:
    found = {}
    for split in ("train", "val"):
        names = [f"{split}2017/{k}.jpg" for k in range(4)]
        for name in names:
            photograph(folder / name)
        (left, top, right, bottom), box, drawn = rectangle(len(found)), rectangle(50), painted(len(found))
        polygon = [left, top, right, top, right, bottom, left, bottom]
        flat = drawn.T.ravel().astype(int)
        ends = np.flatnonzero(np.diff(np.concatenate([[0], flat, [2]])))
        counts = np.diff(np.concatenate([[0], ends])).tolist()
        shapes = [
            (0, 1, {"segmentation": [polygon]}),
            (0, 2, {"segmentation": {"counts": counts, "size": [*SIZE]}}),
            (1, 2, {"segmentation": {"counts": compressed(counts), "size": [*SIZE]}}),
            (2, 1, {"bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]]}),
        ]
        annotations = [{"id": k, "image_id": i, "category_id": c, **s} for k, (i, c, s) in enumerate(shapes)]
        images = [
            {"id": k, "file_name": Path(name).name, "height": SIZE[0], "width": SIZE[1]} for k, name in enumerate(names)
        ]
        categories = [{"id": 1, "name": "crack"}, {"id": 2, "name": "rust"}]
        (folder / "annotations").mkdir(exist_ok=True)
        (folder / "annotations" / f"instances_{split}2017.json").write_text(
            json.dumps({"images": images, "annotations": annotations, "categories": categories})
        )
        both = {"crack": filled((left, top, right, bottom)), "rust": drawn}
        labels = ("crack", both), ("rust", {"rust": drawn}), ("crack", {"crack": filled(box)}), ("good", {})
        found |= {
            name: Known(label, defects, split=split) for name, (label, defects) in zip(names, labels, strict=True)
        }
    return found


def compressed(counts: list[int]) -> str:
    """Run lengths as COCO's own programs pack them."""
    letters = []
    for k, count in enumerate(counts):
        value, more = count - counts[k - 2] if k > 2 else count, True
        while more:
            bits, value = value & 31, value >> 5
            more = value != (-1 if bits & 16 else 0)
            letters.append(chr((bits | 32 if more else bits) + 48))
    return "".join(letters)


def yolo(folder: Path) -> dict[str, Known]:
    found = {}
    (folder / "labels" / "train").mkdir(parents=True)
    (folder / "labels" / "val").mkdir()
    (folder / "data.yaml").write_text("path: .\ntrain: images/train\nnames:\n  0: crack\n  1: rust\n")
    for split in ("train", "val"):
        for k in range(3):
            photograph(folder / "images" / split / f"{k}.png")
            box, other = rectangle(len(found)), rectangle(40 + len(found))
            (a, b, c, d), (e, f, g, h) = (np.array(one) / np.array(SIZE[::-1] * 2) for one in (box, other))
            lines = [f"1 {(a + c) / 2:.8f} {(b + d) / 2:.8f} {c - a:.8f} {d - b:.8f}"]
            lines += [f"0 {e:.8f} {f:.8f} {g:.8f} {f:.8f} {g:.8f} {h:.8f} {e:.8f} {h:.8f}"]
            (folder / "labels" / split / f"{k}.txt").write_text("\n".join(lines[:k]))
            defects = dict([("rust", filled(box)), ("crack", filled(other))][:k])
            found[f"images/{split}/{k}.png"] = Known("rust" if k else "good", defects, split=split)
    return found


LAYOUTS = {
    "MVTec AD": Layout("mvtec_ad", mvtec_ad),
    "MPDD": Layout("mvtec_ad", mpdd),
    "MVTec LOCO": Layout("mvtec_ad", mvtec_loco),
    "BTAD": Layout("mvtec_ad", btad),
    "VisA": Layout("visa", visa),
    "DAGM": Layout("dagm", dagm),
    "KolektorSDD": Layout("kolektor_sdd", kolektor_sdd),
    "KolektorSDD2": Layout("kolektor_sdd", kolektor_sdd_2),
    "magnetic tile": Layout("magnetic_tile", magnetic_tile),
    "NEU": Layout("folder", neu, hides_good=False),
    "labelme": Layout("folder", labelme, hides_good=False),
    "COCO": Layout("coco", coco, hides_good=False),
    "YOLO": Layout("folder", yolo, hides_good=False),
}
