"""scikit-learn's own checks of an estimator, all of them, with no failure expected."""

import pytest

pytest.importorskip("sklearn")

from sklearn.utils.estimator_checks import parametrize_with_checks

from pn_gpu.sklearn import ParticleClassifier, ParticleRegressor


@parametrize_with_checks([ParticleClassifier(), ParticleRegressor()])
@pytest.mark.filterwarnings("default")  # scikit-learn's checks ignore some of their own warnings by their own filters
def test_check_estimator(estimator, check):
    if check.func.__name__ == "check_array_api_input":
        pytest.skip("wants the environment variable SCIPY_ARRAY_API before anything is imported")
    check(estimator)
