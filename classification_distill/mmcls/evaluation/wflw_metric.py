import os
from collections.abc import Sequence

import numpy as np
from mmengine.fileio import load
from mmengine.logging import MMLogger
from mmpose.evaluation.metrics import NME
from mmpose.registry import METRICS

from ..errors import UnusableInputError

ATTRIBUTES = ('pose', 'expression', 'illumination', 'make-up', 'occlusion', 'blur')
OUTER_EYE_CORNERS = (60, 72)


@METRICS.register_module()
class WFLWMetric(NME):
    """Errors of WFLW's 98 points on all faces and on each of its six subsets, in one pass (Wu et al., CVPR 2018).

    A face's error is the mean distance of its points, divided by the distance of the outer eye corners. Reported are

    - ``NME``: the mean error of the faces;
    - ``FR``: the failure rate, the share of faces whose error exceeds ``threshold``;
    - ``AUC``: the area under the cumulative distribution of the errors from 0 to ``threshold``, divided by the latter;

    and ``NME/<attribute>``, ``FR/<attribute>``, ``AUC/<attribute>`` for the faces that have the attribute. All are
    fractions, as MMPose's own: the tables' NME of 4.06 is 0.0406 here.

    Args:
        ann_file: The annotation file that is evaluated on, whose annotations hold ``attributes``: 0 or 1 by name. The
            files of ``tools/prepare_data/wflw.py`` do; without them the log says which subsets are not reported.
        data_root: Folder that ``ann_file`` is relative to, as of the data set.
        threshold: From which error on a face has failed.
        kwargs: ``collect_device`` and ``prefix``, as in MMPose's ``NME``.
    """

    def __init__(self, ann_file: str, data_root: str = '', threshold: float = 0.1, **kwargs):
        super().__init__(norm_mode='keypoint_distance', keypoint_indices=OUTER_EYE_CORNERS, **kwargs)
        self.threshold = threshold
        self.ann_file = os.path.join(data_root, ann_file)
        content = load(self.ann_file)
        names = {image['id']: image['file_name'] for image in content['images']}
        self.faces = {
            annotation['id']: (names[annotation['image_id']], annotation.get('attributes', {}))
            for annotation in content['annotations']
        }

    def process(self, data_batch: Sequence[dict], data_samples: Sequence[dict]) -> None:
        """Keep predictions, truth and attributes of a batch.

        Raises:
            ValueError: When the faces are not those of ``ann_file``.
        """
        super().process(data_batch, data_samples)
        for result, data_sample in zip(self.results[-len(data_samples) :], data_samples, strict=True):
            name, result['attributes'] = self.faces.get(data_sample['id'], ('', None))
            if not name or not data_sample['img_path'].endswith(name):
                raise UnusableInputError(
                    f'WFLWMetric.ann_file={self.ann_file!r} is not the file that the faces come from: its face '
                    f'{data_sample["id"]} is in {name or "no image"}, not {data_sample["img_path"]}. '
                    "Set data_root and ann_file to the data set's."
                )

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """Errors of all faces and of the subsets that there are."""
        predicted, truth, visible = (
            np.concatenate([result[key] for result in results]) for key in ('pred_coords', 'gt_coords', 'mask')
        )
        distances = np.linalg.norm(predicted - truth, axis=-1) / self._get_normalize_factor(truth)[:, :1]  # (N, 98)
        errors = np.mean(distances, axis=1, where=visible)
        metrics = self._summarize(errors)
        unreported = []
        for attribute in ATTRIBUTES:
            subset = np.array([result['attributes'].get(attribute, 0) == 1 for result in results])
            if subset.any():
                metrics |= {f'{key}/{attribute}': value for key, value in self._summarize(errors[subset]).items()}
            else:
                unreported.append(attribute)
        if unreported:
            MMLogger.get_current_instance().warning(
                f'Not reported: {", ".join(unreported)}. No evaluated face has these attributes in the annotation '
                'file; tools/prepare_data/wflw.py writes them.'
            )
        return metrics

    def _summarize(self, errors: np.ndarray) -> dict[str, float]:
        # Of the empirical distribution, the area is exact: a face with error e counts from e to the threshold.
        area = np.clip(1 - errors / self.threshold, 0, None)
        return {
            'NME': float(errors.mean()),
            'FR': float(np.mean(errors > self.threshold)),
            'AUC': float(area.mean()),
        }
