"""Errors of a data set's pipeline that name the sample's files; some of OpenCV's and NumPy's name none."""

from mmengine.dataset import Compose

from ..errors import RepFusionError


class SampleError(RepFusionError, RuntimeError):
    """A sample that could not be loaded."""


def name_errors(dataset) -> None:
    """Wrap the pipelines of the data set and of those that it wraps."""
    for wrapped in (getattr(dataset, 'dataset', None), *getattr(dataset, 'datasets', ())):
        if wrapped is not None:
            name_errors(wrapped)
    pipeline = getattr(dataset, 'pipeline', None)
    if isinstance(pipeline, Compose) and not isinstance(pipeline, _NamingCompose):
        dataset.pipeline = _NamingCompose(pipeline)


class _NamingCompose(Compose):
    def __init__(self, pipeline: Compose):
        super().__init__(())
        self.transforms = pipeline.transforms

    def __call__(self, sample: dict):
        # Before the transforms change the sample.
        files = [f'{key}={value}' for key, value in sample.items() if key.endswith('_path') and value]
        name = ', '.join(files) or f'sample_idx={sample.get("sample_idx")}'
        try:
            return super().__call__(sample)
        except Exception as error:
            raise SampleError(
                f'{name} could not be loaded: {type(error).__name__}: {error}\nIf the file is damaged, get it anew, or '
                'take it out of the annotations.'
            ) from error
