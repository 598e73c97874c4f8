"""Golden values of LabelAreasTests: the IoU metric in plain NumPy, on labels that the Swift tests draw again.

    python3 make_areas.py > areas.txt

Areas are histograms over pixels whose true label is not 255, summed over photos; means skip classes without a
value.
"""
import warnings

import numpy as np

warnings.simplefilter("ignore")  # means over nothing


def draw(seed, count, below):
    """Numbers from SplitMix64 at counters seed * 2**32 + i."""
    index = np.arange(count, dtype=np.uint64) + np.uint64(seed << 32)
    with np.errstate(over="ignore"):
        z = (index + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return ((z >> np.uint64(33)) % np.uint64(below)).astype(np.int64)


# classes, photos, pixels a photo, predicted classes, true numbers from, true numbers below
CASES = [(5, 3, 1000, 5, 0, 5), (7, 4, 333, 6, 1, 6), (21, 2, 5000, 21, 0, 24), (4, 1, 50, 2, 2, 4),
         (3, 2, 100, 3, 255, 256)]

for number, (classes, photos, pixels, predicted, low, high) in enumerate(CASES):
    intersect, found, wanted = np.zeros((3, classes), np.int64)
    for photo in range(photos):
        prediction = draw(100 * number + 2 * photo, pixels, predicted)
        truth = low + draw(100 * number + 2 * photo + 1, pixels, high - low)
        truth[draw(7777 + photo, pixels, 9) == 0] = 255
        # A third of the pixels is right, so that there is something to measure.
        right = (draw(8888 + photo, pixels, 3) == 0) & (truth < predicted)
        prediction[right] = truth[right]
        counts = truth != 255
        prediction, truth = prediction[counts], truth[counts]
        edges = np.arange(classes + 1) - 0.5
        found += np.histogram(prediction, edges)[0]
        wanted += np.histogram(truth, edges)[0]
        intersect += np.histogram(prediction[prediction == truth], edges)[0]
    with np.errstate(divide="ignore", invalid="ignore"):
        iou = intersect / (found + wanted - intersect)
        accuracy = intersect / wanted
        overall = intersect.sum() / wanted.sum()
    numbers = [classes, photos, pixels, predicted, low, high]
    print("case", *numbers)
    print("means", *(repr(float(x)) for x in (np.nanmean(iou), np.nanmean(accuracy), overall)))
    print("iou", *(repr(float(x)) for x in iou))
    print("accuracy", *(repr(float(x)) for x in accuracy))
