"""The packages: pn_gpu/ as it lies, and kernels/ as pn_gpu.kernels. Everything else is in pyproject.toml."""

from setuptools import find_namespace_packages, setup

# Namespace packages, because a room may hold CUDA sources alone, and kernels/ itself has no __init__.py: that
# would shadow the PyPI package of the same name for whoever runs Python in the root of the checkout.
folders = find_namespace_packages(include=["pn_gpu", "pn_gpu.*", "kernels", "kernels.*"], exclude=["*__pycache__"])

setup(
    packages=[f"pn_gpu.{name}" if name.split(".")[0] == "kernels" else name for name in folders],
    package_dir={"pn_gpu.kernels": "kernels"},
    py_modules=["pn_gpu_command"],
)
