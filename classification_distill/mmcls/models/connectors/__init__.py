from .conv_connector import ConvConnector
from .feature_standardizer import FeatureStandardizer

__all__ = ['ConvConnector', 'FeatureStandardizer']
