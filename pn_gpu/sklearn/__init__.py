"""Particle Networks as scikit-learn estimators: ``pip install pn-gpu[sklearn]``."""

from pn_gpu.sklearn.classifier import ParticleClassifier
from pn_gpu.sklearn.regressor import ParticleRegressor

__all__ = ["ParticleClassifier", "ParticleRegressor"]
