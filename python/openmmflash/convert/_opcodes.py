# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""Look through a pickle before it is read: what its opcodes alone would cost."""

import pickletools

from ._errors import TorchFileError

_SHARED = 16  # how often, on average, each byte of a pickle may be used again as an argument or a part of a key
# Opcodes that hash what they take, or call something with it: which of the objects taken.
_USES = {
    "SETITEM": slice(1, 2), "SETITEMS": slice(1, None, 2), "DICT": slice(0, None, 2), "ADDITEMS": slice(1, None), "FROZENSET": slice(None),
    "REDUCE": slice(1, 2), "NEWOBJ": slice(1, 2), "NEWOBJ_EX": slice(1, 2), "BUILD": slice(1, 2), "INST": slice(None), "OBJ": slice(None),
    "BINPERSID": slice(None),
}  # fmt: skip


def checkOpcodes(data):
    """Refuse, before anything is built, the opcodes that go round find_class or take memory or time by their argument alone.

    Time goes into hashing keys and into passing arguments: a tuple of two tuples that are both the same one, and so on, has 2^n parts in n
    opcodes, and its hash visits all of them. So the stack is followed with numbers in the place of the objects: how many parts a tuple has,
    1 for anything else.

    Raises
    ------
    TorchFileError
        Such an opcode, or more parts used than a pickle of this length can need.
    ValueError, LookupError
        The opcodes make no sense.
    """
    stack, marks, memo, used = [], [], {}, 0
    limit = _SHARED * len(data)
    for opcode, argument, _ in pickletools.genops(data):
        name = opcode.name
        if name in ("EXT1", "EXT2", "EXT4"):
            raise TorchFileError("its pickle uses the extension registry, which no model needs")
        if name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
            if name != "MEMOIZE" and argument > len(data):
                raise TorchFileError(f"its pickle has a memo index of {argument}, more than it has bytes")
            memo[len(memo) if name == "MEMOIZE" else argument] = stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        elif name == "MARK":
            marks.append(len(stack))
        elif name == "DUP":
            stack.append(stack[-1])
        elif name == "POP" and marks and marks[-1] == len(stack):
            marks.pop()
        else:
            before = opcode.stack_before
            if pickletools.markobject in before:
                start = marks.pop() - before.index(pickletools.markobject)
            else:
                start = len(stack) - len(before)
            if start < 0:
                raise ValueError("the stack is empty")
            parts = stack[start:]
            del stack[start:]
            if name in _USES:
                used += sum(parts[_USES[name]])
            size = min(1 + sum(parts), limit + 1) if name.startswith("TUPLE") else 1
            stack += [size] * len(opcode.stack_after)
        if used > limit:
            raise TorchFileError("its pickle uses the same parts again and again, many times its own size, as no model does")
