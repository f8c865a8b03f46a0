from .backbones import *
from .classifiers import *
from .connectors import *
from .generators import *
from .losses import *
from .task_heads import *
from .teachers import *
from .timestep_policies import *
