"""Named tuples that an exported function may take and return."""

from types import ModuleType

from jax import export


def register_records(*rooms: ModuleType) -> None:
    """Registers the public named tuples of rooms with `jax.export`, under their public names."""
    for room in rooms:
        for record in vars(room).values():
            if (
                isinstance(record, type)
                and issubclass(record, tuple)
                and hasattr(record, "_fields")
            ):
                name = f"{room.__name__}.{record.__name__}"
                export.register_namedtuple_serialization(record, serialized_name=name)
