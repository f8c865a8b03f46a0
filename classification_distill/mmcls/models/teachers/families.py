"""Which teacher reads which pipeline."""

from ...errors import UnusableInputError
from .pipelines import load_index
from .text_to_image_families import FAMILIES

#: Type of the teacher by ``_class_name`` of ``model_index.json``; of those with the same components, all.
READERS = {
    'DDPMPipeline': 'DiffusersTeacher',
    'DDIMPipeline': 'DiffusersTeacher',
    'PNDMPipeline': 'DiffusersTeacher',
    'LDMPipeline': 'LatentTeacher',
    'DiTPipeline': 'DiTTeacher',
    'ConsistencyModelPipeline': 'ConsistencyTeacher',
    **dict.fromkeys(FAMILIES, 'TextToImageTeacher'),
}


def find_teacher_type(pretrained: str) -> str:
    """Type of the teacher that reads a pipeline, by its class; whether it fits is for the teacher to check.

    Args:
        pretrained: Hub id, or the folder of a saved pipeline.

    Raises:
        FileNotFoundError: As ``load_pipeline``.
        ValueError: When no teacher reads such a pipeline.
    """
    kind = load_index(pretrained).get('_class_name')
    if kind not in READERS:
        raise UnusableInputError(f'teacher.pretrained={pretrained!r} is a {kind}; teachers read {", ".join(READERS)}.')
    return READERS[kind]
