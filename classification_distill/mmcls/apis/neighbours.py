"""A page of images, each with the images that are most like it to a student."""

import os
from pathlib import Path

import numpy as np
from jinja2 import Environment

from ..files import write_text
from .embed import embed
from .report.images import as_url

PAGE = """<!doctype html>
<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Neighbours</title>
<style>
 body {font: 15px system-ui, sans-serif; margin: 1.5rem auto; max-width: 1100px; padding: 0 1rem; color: #222}
 .row {display: flex; gap: 6px; overflow-x: auto; margin: 10px 0; align-items: flex-start}
 figure {margin: 0; flex: 0 0 auto; width: 96px} img {width: 96px; height: 96px; object-fit: cover; display: block}
 figure:first-child {margin-right: 14px} figure:first-child img {outline: 3px solid #d62728}
 figcaption {font-size: 11px; color: #666; overflow: hidden; text-overflow: ellipsis; white-space: nowrap}
 @media (prefers-color-scheme: dark) {body {background: #181818; color: #ddd} figcaption {color: #aaa}}
</style>
<h1>Nearest images</h1>
<p>{{ count }} images by the features of {{ student }}. In each row an image, framed, and the {{ k }} that are most like
it, with their cosine similarity after the mean over all images was taken off.</p>
{% for row in rows %}<div class="row">
{% for name, url, similarity in row %}<figure title="{{ name }}"><img src="{{ url }}" alt="{{ name }}" loading="lazy">
<figcaption>{{ similarity }}</figcaption></figure>
{% endfor %}</div>
{% endfor %}"""


def neighbours(
    images: str | Path, student: str | Path, page: str | Path, *, queries: int = 24, k: int = 8, **options
) -> Path:
    """Write an HTML page, to be opened without a network, of images and their nearest.

    Args:
        images: Folder of images.
        student: Checkpoint of a distillation, or folder of a published student.
        page: File to write.
        queries: Images that are shown with their neighbours, evenly spread.
        k: Neighbours of each.
        options: Further arguments of ``embed``.

    Returns:
        Path: The page.

    Raises:
        RepFusionError: As ``embed``.

    Examples:
        >>> neighbours('photos', 'work_dirs/photos/student', 'neighbours.html')
    """
    features, names = embed(images, student, **options)
    found = nearest(features, np.linspace(0, len(names) - 1, min(queries, len(names))).astype(int), k)
    rows = []
    for query, (others, similarities) in found.items():
        pairs = [(query, ''), *((other, f'{value:.2f}') for other, value in zip(others, similarities, strict=True))]
        rows.append([(_readable(names[i]), as_url(Path(images) / names[i]), text) for i, text in pairs])
    text = (
        Environment(autoescape=True)
        .from_string(PAGE)
        .render(rows=rows, count=f'{len(names):,}', student=student, k=min(k, len(names) - 1))
    )
    write_text(page, text)
    return Path(page)


def _readable(name: str) -> str:
    """A file's name as text, whatever its bytes are."""
    return os.fsencode(name).decode(errors='replace')


def nearest(features: np.ndarray, queries: np.ndarray, k: int) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """The nearest of some images, themselves left out.

    Args:
        features: Of all images ``(N, C)``.
        queries: Numbers of images.
        k: How many.

    Returns:
        dict: By query, the numbers of its nearest and their cosine similarities, the nearest first.
    """
    centred = features - features.mean(0)
    unit = centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12)
    found = {}
    for query in queries.tolist():
        similarity = unit @ unit[query]
        similarity[query] = -np.inf
        order = np.argsort(-similarity)[: min(k, len(features) - 1)]
        found[query] = order, similarity[order]
    return found
