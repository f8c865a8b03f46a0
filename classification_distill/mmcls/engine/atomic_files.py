"""Files that are there whole or not at all."""

import os
import shutil
from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend


class AtomicBackend(LocalBackend):
    """MMEngine's local files, written under a temporary name, flushed to the disk and renamed."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write a file, or leave what was there as it was.

        Raises:
            OSError: When it cannot be written; the message says how much room there is.
        """
        path = Path(filepath)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(path.name + '.partial')
        try:
            with open(partial, 'wb') as file:
                file.write(obj)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        except OSError as error:
            partial.unlink(missing_ok=True)
            free = shutil.disk_usage(path.parent).free
            raise OSError(
                error.errno,
                f'{error.strerror}: {path} was not written. It takes {len(obj) / 2**20:.1f} MiB, and '
                f'{free / 2**20:.1f} MiB are free there. Earlier files are as they were: make room and go on by '
                '--resume',
            ) from error


register_backend('atomic', AtomicBackend)
