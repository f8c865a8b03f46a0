from .mobilenet_v2_cifar import MobileNetV2CIFAR
from .wide_resnet import WideResNet

__all__ = ['MobileNetV2CIFAR', 'WideResNet']
