from . import hooks, pretrained  # noqa: F401
