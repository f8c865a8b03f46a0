from collections.abc import Iterator

import pytest
from small_cluster import small_cluster, what_is_missing


@pytest.fixture(scope='session')
def slurm() -> Iterator[dict[str, str]]:
    """The environment for the commands of a Slurm that runs as long as the tests."""
    if missing := what_is_missing():
        pytest.skip(missing)
    with small_cluster() as env:
        yield env
