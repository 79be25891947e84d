"""The array API namespace of an array, looked up once per array type."""

from __future__ import annotations

from typing import Any

from array_api_compat import array_namespace

_namespaces: dict[type, Any] = {}


def namespace_of(a: Any) -> Any:
    """`array_api_compat.array_namespace`, which takes longer than a small matrix product, behind a cache."""
    namespace = _namespaces.get(type(a))
    if namespace is None:
        namespace = _namespaces[type(a)] = array_namespace(a)
    return namespace
