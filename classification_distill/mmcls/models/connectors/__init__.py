from .conv_connector import ConvConnector
from .feature_standardizer import FeatureStandardizer
from .resize_connector import ResizeConnector

__all__ = ['ConvConnector', 'FeatureStandardizer', 'ResizeConnector']
