"""The package over the real library and the demo model; run by Scripts/check-libraries.sh.

Environment: TRIDENT_LIBRARY, TRIDENT_PROGRAM (the program, whose answers must be the same), TRIDENT_ROOT.
"""

import csv
import gc
import json
import os
import pickle
import subprocess
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from trident_boards import Model, TridentError, segment

ROOT = Path(os.environ["TRIDENT_ROOT"])
MODEL = ROOT / "models/demo/demo.gguf"
PHOTO = ROOT / "models/demo/scenes/images/farm.jpg"
CLASSES = ["horse", "grass; meadow", "sky", "house", "tree"]


@pytest.fixture(scope="module")
def model():
    with Model(MODEL, threads=2) as opened:
        yield opened


@pytest.fixture(scope="module")
def result(model):
    return model.segment(PHOTO, CLASSES, scores=True)


def test_the_program_gives_the_same(result, tmp_path):
    classes = [part for name in CLASSES for part in ("--class", name)]
    subprocess.run(
        [os.environ["TRIDENT_PROGRAM"], "segment", "-q", "--no-cache", "-m", MODEL, *classes, PHOTO,
         "-o", tmp_path / "l.png", "--confidence", tmp_path / "c.png", "--scores", tmp_path / "s.npy",
         "--csv", tmp_path / "t.csv"],
        check=True)
    assert (np.array(Image.open(tmp_path / "l.png")) == result.labels).all()
    assert (np.array(Image.open(tmp_path / "c.png")) == result.confidence).all()
    assert (np.load(tmp_path / "s.npy") == result.scores).all()
    with (tmp_path / "t.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [(int(row["class"]), row["name"], int(row["pixels"])) for row in table] == [
        (row["class"], row["name"], row["pixels"]) for row in result.table()]
    for row, wanted in zip(result.table(), table, strict=True):
        assert f"{row['share']:.6f}" == wanted["share"]
        sure = row["confidence"]
        assert sure == pytest.approx(float(wanted["confidence"]), abs=1e-4) if row["pixels"] else sure is None
    legend = json.loads((tmp_path / "l.json").read_text())["classes"]
    for entry in legend:
        assert result.share(entry["name"]) == pytest.approx(entry["share"])
        where = result.mask(entry["name"])
        assert not where.any() or (result.colours()[where] == entry["colour"]).all()


def test_errors_travel_between_processes():
    error = pickle.loads(pickle.dumps(TridentError(3, "no photo")))
    assert (error.code, str(error)) == (3, "no photo")


def test_arrays_are_photos(model):
    png = np.random.default_rng(1).integers(0, 255, (90, 120, 3), np.uint8)
    whole = model.segment(png, CLASSES, refine="none")
    assert whole.labels.shape == (90, 120)
    # A part of a larger picture lies in it with gaps; a turned one is copied.
    wide = np.zeros((90, 200, 3), np.uint8)
    wide[:, :120] = png
    assert (model.segment(wide[:, :120], CLASSES, refine="none").labels == whole.labels).all()
    turned = np.asfortranarray(png)
    assert (model.segment(turned, CLASSES, refine="none").labels == whole.labels).all()
    for wrong in (png[:, :, 0], png.astype(np.float32), png[:, :, :2]):
        with pytest.raises(TypeError):
            model.segment(wrong, CLASSES)


def test_coco_is_what_pycocotools_reads(result, tmp_path):
    coco = pytest.importorskip("pycocotools.coco")
    (tmp_path / "c.json").write_text(json.dumps(result.to_coco("farm.jpg")))
    read = coco.COCO(str(tmp_path / "c.json"))
    present = np.unique(result.labels).tolist()
    assert [a["category_id"] for a in read.dataset["annotations"]] == present
    for annotation in read.dataset["annotations"]:
        assert (read.annToMask(annotation) == (result.labels == annotation["category_id"])).all()
    assert list(result.present().values()) == sorted(result.present().values(), reverse=True)


def test_notebooks_show_the_labels(result, tmp_path):
    (tmp_path / "r.png").write_bytes(result._repr_png_())
    assert (np.array(Image.open(tmp_path / "r.png").convert("RGB")) == result.colours()).all()


def test_words_that_are_not_there(model):
    found = model.segment(PHOTO, ["cow"], absent="relevancy", refine="none")
    assert found.names == ["cow", "unknown"] and found.share("unknown") == 1
    one = model.segment(PHOTO, ["horse"], negative="sky; grass", refine="none")
    assert one.names[-1] == "unknown"
    several = model.segment(PHOTO, ["horse"], negative=["sky", "grass"], refine="none")
    assert (several.labels == one.labels).all()
    with pytest.raises(TypeError):
        model.segment(PHOTO, ["horse"], refine=["none"])


def by_program(folder, words, *flags):
    """The labels that the program gives."""
    classes = [part for name in words for part in ("--class", name)]
    subprocess.run(
        [os.environ["TRIDENT_PROGRAM"], "segment", "-q", "--no-cache", "-m", MODEL, *classes, *flags, PHOTO,
         "--refine", "none", "--overwrite", "-o", folder / "l.png"], check=True)
    return np.array(Image.open(folder / "l.png"))


def test_templates_and_descriptions_are_the_programs(model, tmp_path):
    lines = tmp_path / "lines.txt"
    lines.write_text("a drawing of a {}.\nnothing but {}\n")
    described = ["horse; pony :=0.9 a thing made of metal | a wheel", *CLASSES[1:]]
    seen = set()
    for words in (CLASSES, described):
        for templates in ("all", "seven", "one", lines):
            labels = model.segment(PHOTO, words, templates=templates, refine="none").labels
            assert (labels == by_program(tmp_path, words, "--templates", templates)).all(), templates
            seen.add(labels.tobytes())
    assert len(seen) == 8
    # Whatever came before, and where nothing is said.
    assert (model.segment(PHOTO, CLASSES, refine="none").labels == by_program(tmp_path, CLASSES)).all()
    assert model.plan(PHOTO, CLASSES, templates=lines) > 1 << 20


def test_templates_are_checked(model, tmp_path):
    words = tmp_path / "words.tvoc"
    subprocess.run(
        [os.environ["TRIDENT_PROGRAM"], "text", "-q", "--no-cache", "-m", MODEL, "--class", "horse",
         "--class", "sky", "-o", words], check=True)
    assert model.segment(PHOTO, vocabulary=words, refine="none").names == ["horse", "sky"]
    bad = tmp_path / "bad.txt"
    bad.write_text("no hole\n")
    for options, word in [
        ({"classes": CLASSES, "templates": "eight"}, "all, seven, one or a file"),
        ({"classes": CLASSES, "templates": bad}, "line 1: no '{}'"),
        ({"vocabulary": words, "templates": "one"}, "templates of its own"),
        ({"classes": ["cat := "], "templates": "one"}, "description"),
    ]:
        with pytest.raises(TridentError, match=word) as caught:
            model.segment(PHOTO, **options)
        assert caught.value.code == 2


def test_errors_name_what_is_wrong(model):
    for call, code, word in [
        (lambda: Model("no such"), 4, "no such"), (lambda: Model(MODEL, treads=2), 2, "threads"),
        (lambda: model.segment("no such", CLASSES), 3, "no such"),
        (lambda: model.segment(PHOTO, []), 2, "classes"), (lambda: model.segment(PHOTO), 2, "classes"),
        (lambda: model.segment(PHOTO, CLASSES, refine="nicely"), 2, "nicely"),
        (lambda: model.segment(PHOTO, CLASSES, memory=1), 2, "memory"),
        (lambda: Model(MODEL, memory_limit="1M").segment(PHOTO, CLASSES), 5, "MiB"),
    ]:
        with pytest.raises(TridentError, match=word) as caught:
            call()
        assert caught.value.code == code
    with pytest.raises(TypeError):
        model.segment(PHOTO, "cow")
    with pytest.raises(TypeError):
        model.segment(PHOTO, ["a\0b"])
    closed = Model(MODEL)
    closed.close()
    with pytest.raises(ValueError):
        closed.segment(PHOTO, CLASSES)


def test_progress_and_its_end(model):
    steps = []
    model.segment(PHOTO, CLASSES, progress=lambda stage, share: steps.append((stage, share)))
    assert len({stage for stage, _ in steps}) > 2 and all(0 <= share <= 1 for _, share in steps)
    with pytest.raises(KeyboardInterrupt):
        model.segment(PHOTO, CLASSES, progress=lambda *_: False)

    def broken(*_):
        raise RuntimeError("mine")
    with pytest.raises(RuntimeError, match="mine"):
        model.segment(PHOTO, CLASSES, progress=broken)
    assert model.plan(PHOTO, CLASSES) > 1 << 20


def test_threads_wait_for_each_other(model, result):
    found = []
    workers = [threading.Thread(target=lambda: found.append(model.segment(PHOTO, CLASSES).labels))
               for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert all((labels == result.labels).all() for labels in found)


def test_one_call(result):
    assert (segment(MODEL, str(PHOTO), CLASSES).labels == result.labels).all()


def test_memory_is_that_of_the_arrays(model):
    """What many calls leave behind is less than one result's arrays."""
    def held():
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
    model.segment(PHOTO, CLASSES, refine="none")
    # Nothing waits for the collector of cycles.
    gc.disable()
    before = held()
    for _ in range(10):
        model.segment(PHOTO, CLASSES, refine="none")
    after = held()
    gc.enable()
    assert after - before < 640 * 480 * 3
