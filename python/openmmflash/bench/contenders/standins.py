# OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
# SPDX-License-Identifier: MIT
"""Stand-ins for packages that a peer imports and that nothing measured here needs. What is installed is never replaced.

NVTX's ranges mark nothing, as with NVTX_DISABLE=1, and break no graph of torch.compile; loguru's messages go to the standard error, so that
a warning of the peer's is kept; of all others, every attribute is an empty class.
"""

import contextlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
import types


class annotate(contextlib.nullcontext):
    """nvtx.annotate: a context manager and a decorator."""

    def __init__(self, *arguments, **keywords):
        super().__init__()

    def __call__(self, function):
        return function


class Logger:
    """loguru.logger, without sinks."""

    def add(self, *arguments, **keywords):
        return 0

    def remove(self, *arguments):
        pass

    def info(self, message, *arguments, **keywords):
        print(message, file=sys.stderr)

    debug = warning = error = critical = exception = info


CONTENTS = {"nvtx": {"annotate": annotate}, "loguru": {"logger": Logger()}}


def standIn(packages):
    """Let imports of those of these packages pass that are not installed.

    Parameters
    ----------
    packages : iterable of str

    Returns
    -------
    list of str
        Those that are stood in for.
    """
    absent = [name for name in packages if importlib.util.find_spec(name) is None]
    sys.meta_path.append(_Finder(absent))
    return absent


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def __init__(self, packages):
        self.packages = packages

    def find_spec(self, name, path=None, target=None):
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if name.split(".")[0] in self.packages else None

    def create_module(self, spec):
        return _Module(spec.name)

    def exec_module(self, module):
        vars(module).update(CONTENTS.get(module.__name__, {}))


class _Module(types.ModuleType):
    __path__ = []

    def __getattr__(self, name):
        # What has contents has nothing else: a function that is not known to be harmless must not seem to be there.
        if name.startswith("__") or self.__name__.split(".")[0] in CONTENTS:
            raise AttributeError(f"the stand-in for {self.__name__} has no {name}: install {self.__name__}")
        if name in ("compile_mode",):  # a decorator with an argument
            return lambda *arguments: lambda made: made
        return type(name, (), {"__init__": lambda self, *arguments, **keywords: None})
