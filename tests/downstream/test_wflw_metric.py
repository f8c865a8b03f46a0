import json

import numpy as np
import pytest
from downstream.small_faces import face, write_wflw
from mmcls.evaluation import WFLWMetric
from mmengine.logging import MMLogger

# Every point of face i is this share of the eyes' distance away, along x.
ERRORS = np.array([0.02, 0.05, 0.15, 0.08])
ATTRIBUTES = {'pose': [1, 0, 1, 0], 'expression': [0, 1, 0, 0], 'illumination': [1, 1, 1, 1], 'blur': [0, 0, 1, 1]}
EYES_DISTANCE = 0.3 * 320


@pytest.fixture
def ann_file(tmp_path):
    file = write_wflw(tmp_path, images=4) / 'annotations/face_landmarks_wflw_test.json'
    content = json.loads(file.read_text())
    for i, annotation in enumerate(content['annotations']):
        annotation['attributes'] = {name: values[i] for name, values in ATTRIBUTES.items()}
    file.write_text(json.dumps(content))
    return file


def predictions(ann_file) -> list[dict]:
    samples = []
    for i, annotation in enumerate(json.loads(ann_file.read_text())['annotations']):
        truth = face(100 + i, 320)['points'][None]
        samples.append(
            {
                'id': annotation['id'],
                'img_path': f'data/wflw/images/{face(100 + i, 320)["name"]}',
                'pred_instances': {'keypoints': truth + np.array([ERRORS[i] * EYES_DISTANCE, 0])},
                'gt_instances': {'keypoints': truth, 'keypoints_visible': np.ones((1, 98))},
            }
        )
    return samples


def evaluate(ann_file) -> dict[str, float]:
    metric = WFLWMetric(ann_file=str(ann_file))
    samples = predictions(ann_file)
    metric.process({}, samples[:3])
    metric.process({}, samples[3:])
    return metric.evaluate(size=4)


def test_all_faces_and_each_subset(ann_file):
    metrics = evaluate(ann_file)
    # AUC of an error e below 0.1: it counts over (0.1 - e) of 0.1.
    by_hand = {
        '': (0.075, 0.25, (0.8 + 0.5 + 0 + 0.2) / 4),
        '/pose': (0.085, 0.5, (0.8 + 0) / 2),
        '/expression': (0.05, 0, 0.5),
        '/illumination': (0.075, 0.25, 0.375),
        '/blur': (0.115, 0.5, (0 + 0.2) / 2),
    }
    expected = {
        f'{key}{subset}': value
        for subset, values in by_hand.items()
        for key, value in zip(('NME', 'FR', 'AUC'), values, strict=True)
    }
    assert metrics == pytest.approx(expected)


def test_a_point_that_is_not_labelled_does_not_count(ann_file):
    metric = WFLWMetric(ann_file=str(ann_file))
    (sample, *_) = predictions(ann_file)
    sample['pred_instances']['keypoints'][0, 5] += 1000
    sample['gt_instances']['keypoints_visible'][0, 5] = 0
    metric.process({}, [sample])
    assert metric.evaluate(size=1)['NME'] == pytest.approx(ERRORS[0])


def test_subsets_that_the_file_does_not_know_are_named(ann_file, monkeypatch):
    content = json.loads(ann_file.read_text())
    for annotation in content['annotations']:
        del annotation['attributes']
    ann_file.write_text(json.dumps(content))
    warnings = []
    monkeypatch.setattr(MMLogger, 'warning', lambda self, message: warnings.append(message))
    assert evaluate(ann_file).keys() == {'NME', 'FR', 'AUC'}
    assert 'Not reported: pose, expression, illumination, make-up, occlusion, blur.' in warnings[-1]


def test_faces_of_another_file_are_refused(ann_file):
    metric = WFLWMetric(ann_file=str(ann_file.with_name('face_landmarks_wflw_train.json')))
    with pytest.raises(ValueError, match=r"train\.json' is not the file .* face 1 is in .*_0\.jpg, not .*_100\.jpg"):
        metric.process({}, predictions(ann_file))
