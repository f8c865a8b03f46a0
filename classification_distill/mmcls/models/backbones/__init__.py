from .mobilenet_v2_cifar import MobileNetV2CIFAR
from .timm_feature_maps import TIMMFeatureMaps
from .wide_resnet import WideResNet

__all__ = ['MobileNetV2CIFAR', 'TIMMFeatureMaps', 'WideResNet']
