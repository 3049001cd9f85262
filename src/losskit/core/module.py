"""Loss: a loss function with its options fixed, as an nn.Module."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, ClassVar

from torch import Tensor, nn
from typing_extensions import dataclass_transform

from .card import CATALOGUE

__all__ = ["Loss"]


@dataclass_transform(kw_only_default=True)
class Loss(nn.Module):
    """Base of every loss module: ``class FocalLoss(Loss, function=focal_loss)`` repeats the options as typed fields.

    Names and defaults are compared with the function's when the class is made, so that the two cannot drift apart.
    Options that are tensors become buffers: they move with ``.to()`` and are in ``state_dict``. Every option may also be
    given at a call, which is where masks and weights of elements belong.
    """

    function: ClassVar[Callable[..., Any]]
    options: ClassVar[inspect.Signature]

    def __init_subclass__(cls, *, function: Callable[..., Any] | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if function is None:  # a user's subclass of a finished module
            return
        taken = inspect.signature(function).parameters.values()
        cls.function = staticmethod(function)
        cls.options = inspect.Signature([p for p in taken if p.kind is p.KEYWORD_ONLY])
        fields = {name: cls.__dict__.get(name, inspect.Parameter.empty) for name in inspect.get_annotations(cls)}
        declared = {name: p.default for name, p in cls.options.parameters.items()}
        if fields != declared:
            raise TypeError(f"{cls.__name__} declares {fields}, but {function.__name__} takes {declared}")
        for name in fields:  # the values live on the instance: a Tensor becomes a buffer there
            if name in cls.__dict__:
                delattr(cls, name)
        if function.__name__ in CATALOGUE:
            CATALOGUE[function.__name__].module = cls

    def __init__(self, *positional: Any, **options: Any) -> None:
        super().__init__()
        if positional:
            raise TypeError(f"{type(self).__name__} takes its options by keyword: {', '.join(self.options.parameters)}")
        try:
            bound = self.options.bind(**options)
        except TypeError as problem:
            known = ", ".join(self.options.parameters)
            raise TypeError(f"{type(self).__name__}: {problem}; its options are {known}") from None
        bound.apply_defaults()
        for name, value in bound.arguments.items():
            setattr(self, name, value)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.options.parameters:
            self._buffers.pop(name, None)
            # over a Parameter torch's own refusal stands: an optimizer may hold it
            if isinstance(value, Tensor) and not isinstance(value, nn.Parameter) and name not in self._parameters:
                self.__dict__.pop(name, None)
                self.register_buffer(name, value)
                return
        super().__setattr__(name, value)

    def forward(self, *tensors: Tensor, **given: Any) -> Any:
        """The function's value with this module's options; what is given here (a mask, a weight) takes precedence."""
        options = {name: getattr(self, name) for name in self.options.parameters}
        if unknown := given.keys() - options.keys():
            raise TypeError(f'{type(self).__name__} takes no "{unknown.pop()}": its options are {", ".join(options)}')
        return type(self).function(*tensors, **{**options, **given})

    def extra_repr(self) -> str:
        """The options that are not at their default."""
        said: list[str] = []
        for name, parameter in self.options.parameters.items():
            value = getattr(self, name)
            if isinstance(value, Tensor):
                said.append(f"{name}=Tensor{tuple(value.shape)}")
            elif value != parameter.default:
                said.append(f"{name}={value!r}")
        return ", ".join(said)
