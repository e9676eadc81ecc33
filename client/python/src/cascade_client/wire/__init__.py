"""The messages of proto/cascade/v1, for callers who want more than the classes beside them.

`cascade_client.wire.cascade_pb2` has all of them; see wire_hook.py for how these modules are made.
"""

from typing import Any, Dict

from google.protobuf import descriptor_pb2, descriptor_pool, duration_pb2, message_factory, timestamp_pb2
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.internal import enum_type_wrapper

# Of our own: another package of the same process may bring another version of the same protos.
_pool = descriptor_pool.DescriptorPool()
for _well_known in (duration_pb2, timestamp_pb2):
    _pool.AddSerializedFile(_well_known.DESCRIPTOR.serialized_pb)


def load(descriptor_set: bytes, names: Dict[str, Any]) -> FileDescriptor:
    """Puts the messages, enums and enum values of a compiled proto into `names`, and what it imports publicly."""
    (proto,) = descriptor_pb2.FileDescriptorSet.FromString(descriptor_set).file
    for imported in proto.dependency:
        if imported.startswith("cascade/v1/"):
            module = imported[len("cascade/v1/") : -len(".proto")]
            __import__(f"{__name__}.{module}_pb2")
    _pool.AddSerializedFile(proto.SerializeToString())
    file: FileDescriptor = _pool.FindFileByName(proto.name)
    for each in (file, *file.public_dependencies):
        for name, message in each.message_types_by_name.items():
            names[name] = message_factory.GetMessageClass(message)
        for name, enum in each.enum_types_by_name.items():
            names[name] = enum_type_wrapper.EnumTypeWrapper(enum)
            for value in enum.values:
                names[value.name] = value.number
    return file
