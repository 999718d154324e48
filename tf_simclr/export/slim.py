"""Makes the graph of a SavedModel half as large, by what no runtime reads: long names of nodes, shapes that are inferred again."""

import pathlib

from tensorflow.core.protobuf import saved_model_pb2


def slim(directory):
    """Rewrites saved_model.pb in place; inputs, outputs, signatures and variables keep their names.

    Args:
      directory: a SavedModel that TensorFlow has just written.
    """
    path = pathlib.Path(directory) / "saved_model.pb"
    model = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    for graph in model.meta_graphs:
        for function in graph.graph_def.library.function:
            _drop_hints(function)
            _shorten_names(function)
    path.write_bytes(model.SerializeToString(deterministic=True))


def _drop_hints(function):
    for node in function.node_def:
        node.attr.pop("_output_shapes", None)
        node.ClearField("experimental_type")
        node.ClearField("experimental_debug_info")
    for number in list(function.arg_attr):
        function.arg_attr[number].attr.pop("_user_specified_name", None)
        if not function.arg_attr[number].attr:
            del function.arg_attr[number]


def _shorten_names(function):
    """Renames a function's arguments and nodes, which nothing outside of it refers to."""
    arguments, nodes = function.signature.input_arg, function.node_def
    names = {part.name: f"{letter}{i}" for letter, parts in (("a", arguments), ("n", nodes)) for i, part in enumerate(parts)}

    def renamed(reference):  # name, name:output:index, or ^name
        head, separator, tail = reference.partition(":")
        control = head[:1] if head.startswith("^") else ""
        return control + names[head[len(control) :]] + separator + tail

    for node in nodes:
        node.name = names[node.name]
        node.input[:] = [renamed(reference) for reference in node.input]
    for argument in arguments:
        argument.name = names[argument.name]
    for returned in (function.ret, function.control_ret):
        for key, reference in list(returned.items()):
            returned[key] = renamed(reference)
