"""rosidl_runtime_py: message classes by name."""

from importlib import import_module

try:
    from rosidl_runtime_py.utilities import get_message
except ImportError:

    def get_message(identifier: str) -> type:
        """The class of `package/msg/Type`; raises ValueError where the name or the package is unknown."""
        try:
            package, folder, name = identifier.split("/")
            return getattr(import_module(f"{package}.{folder}"), name)
        except (ValueError, ImportError, AttributeError) as error:
            raise ValueError(f"no message type {identifier!r} in this environment") from error
