"""What decoders return: named tuples that an exported function may return too."""

from typing import TypeVar

from jax import export

Record = TypeVar("Record", bound=tuple)


def exported(record: type[Record]) -> type[Record]:
    """Registers a named tuple with `jax.export`, under its public name."""
    name = f"seqjax.decoding.{record.__name__}"
    return export.register_namedtuple_serialization(record, serialized_name=name)
