"""A device that stands in for a GPU where there is none. Its tensors hold their numbers on the CPU, but say that they
are elsewhere, refuse to be mixed with tensors that are not, and count how often somebody waits for a number of theirs.
"""
import torch
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map

DEVICE = torch.device("meta")  # a name that PyTorch knows, for which it computes nothing by itself
MIXES = {"_to_copy", "copy_", "index", "index_put_", "_index_put_impl_", "set_"}  # as on a real one
WAITS = {"_local_scalar_dense", "nonzero", "equal", "is_nonzero", "_unique2"}


class Mixed(RuntimeError):
    "Tensors of two devices in one operation."


class Elsewhere(torch.Tensor):
    "A tensor on the stand-in device."
    @staticmethod
    def __new__(cls, held):
        return torch.Tensor._make_wrapper_subclass(
            cls, held.size(), strides=held.stride(), storage_offset=held.storage_offset(), dtype=held.dtype,
            device=DEVICE, requires_grad=held.requires_grad)

    def __init__(self, held): self.held = held.detach()
    def __repr__(self): return f"Elsewhere({self.held})"
    def tolist(self): return here(self).tolist()
    def new_tensor(self, data, **kind): return torch.tensor(data, **({"dtype": self.dtype} | kind)).to(DEVICE)

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None): return run(func, args, kwargs or {})


waited: list[str] = []  # operations for whose result the processor had to wait


def here(tree): return tree_map(lambda t: t.held if isinstance(t, Elsewhere) else t, tree)


def run(func, args, kwargs):
    "One operation: refused if it mixes devices, else computed here; its result is where PyTorch would put it."
    name, tensors = func._schema.name.removeprefix("aten::"), [t for t in tree_leaves((args, kwargs))
                                                               if isinstance(t, torch.Tensor)]
    away = [t for t in tensors if isinstance(t, Elsewhere)]
    plain = [t for t in tensors if not isinstance(t, Elsewhere) and t.dim()]
    if away and plain and name not in MIXES:
        raise Mixed(f"{name} of tensors elsewhere and here: {[tuple(t.shape) for t in tensors]}")
    asked = kwargs.get("device")
    there = bool(away) if asked is None else torch.device(asked).type == DEVICE.type
    leaves = asked is not None and not there or name == "copy_" and not isinstance(args[0], Elsewhere)
    if away and (name in WAITS or leaves): waited.append(name)
    known = dict(kwargs) if asked is None else kwargs | {"device": torch.device("cpu")}
    found = func(*here(args), **here(known))
    if not there: return found
    found = tree_map(lambda t: Elsewhere(t) if isinstance(t, torch.Tensor) else t, found)
    return return_and_correct_aliasing(func, args, kwargs, found) if away else found


class StandIn(TorchDispatchMode):
    "While it is on, tensors can be made on the stand-in device, and moved there."
    def __torch_dispatch__(self, func, types, args=(), kwargs=None): return run(func, args, kwargs or {})
