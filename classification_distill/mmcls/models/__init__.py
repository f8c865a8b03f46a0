from .backbones import *  # noqa: F403
from .classifiers import *  # noqa: F403
from .connectors import *  # noqa: F403
from .generators import *  # noqa: F403
from .losses import *  # noqa: F403
from .task_heads import *  # noqa: F403
from .teachers import *  # noqa: F403
from .timestep_policies import *  # noqa: F403
