"""Synthetic photos: gradients, shapes and texture, the same bytes everywhere."""

import numpy as np


def synthetic(height, width, seed=1):
    random = np.random.Generator(np.random.PCG64(seed))
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    u, v = x / max(width - 1, 1), y / max(height - 1, 1)
    image = np.stack([90 + 120 * u, 160 - 90 * v, 70 + 100 * (1 - u) * v], -1)
    for n in range(7):
        colour = random.integers(0, 256, 3).astype(np.float64)
        cx, cy = random.uniform(0.1, 0.9, 2)
        rx, ry = random.uniform(0.1, 0.3, 2)
        if n % 3 == 0:
            inside = ((u - cx) / rx) ** 2 + ((v - cy) / ry) ** 2 < 1
        elif n % 3 == 1:
            inside = (abs(u - cx) < rx) & (abs(v - cy) < ry)
        else:
            inside = (abs(u - cx) / rx + abs(v - cy) / ry) < 1
        period = random.uniform(3, 14)
        angle = random.uniform(0, np.pi)
        stripes = 45 * np.sin((x * np.cos(angle) + y * np.sin(angle)) * 2 * np.pi / period)
        image[inside] = (colour + stripes[..., None])[inside]
        if n % 3 == 2:
            grain = random.integers(-20, 21, (height, width, 1))
            image[inside] = (image + grain)[inside]
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)
