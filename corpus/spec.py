"""What a model of the corpus is: how it is built, what it does once, and what is true of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, TypeVar

from tracekit.errors import UsageError

if TYPE_CHECKING:
    import torch

_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class Size:
    """How a model is to be built.

    `written` asks for attention as matmul, softmax, matmul in the model's dtype, where the library
    offers it. `mixed` says that it will run under autocast.
    """

    tiny: bool = False
    device: str = "cuda"
    dtype: str = "bfloat16"
    written: bool = False
    mixed: bool = False

    def pick(self, full: _Value, tiny: _Value) -> _Value:
        """Return one of two values: of the real width, or of the size for tests."""
        return tiny if self.tiny else full

    @property
    def torch_dtype(self) -> torch.dtype:
        """The dtype of weights and inputs."""
        import torch

        found: torch.dtype = getattr(torch, self.dtype)
        return found

    @property
    def fuses(self) -> bool:
        """Whether attention may be a fused kernel, which float32 has not everywhere."""
        return not self.written and (self.mixed or self.dtype != "float32")

    @property
    def implementation(self) -> str:
        """What transformers calls the attention that is asked for."""
        return "eager" if self.written else "sdpa"

    def place(self, module: _Value) -> _Value:
        """Return a module on the device, in the dtype, for inference."""
        placed: _Value = module.to(self.device, self.torch_dtype).eval()  # type: ignore[attr-defined]
        return placed

    def normal(self, *shape: int) -> torch.Tensor:
        """Return random numbers of the model's dtype."""
        import torch

        return torch.randn(*shape, device=self.device, dtype=self.torch_dtype)

    def tokens(self, vocabulary: int, *shape: int) -> torch.Tensor:
        """Return random token numbers."""
        import torch

        return torch.randint(0, vocabulary, shape, device=self.device)

    def full(self, value: float, *shape: int) -> torch.Tensor:
        """Return one number many times, in the model's dtype."""
        import torch

        return torch.full(shape, value, device=self.device, dtype=self.torch_dtype)


@dataclass(frozen=True, slots=True)
class AttentionRule:
    """What is true of attention modules of a class, from the source of the model.

    The first rule whose patterns are found in a module's class and path counts. `axis` is empty
    where queries are no tokens, `kind` null where the inputs of a call tell it. `inline` says that
    what its forward does between the projections of queries, keys and values and that of the
    output is the operator, but for rotary embeddings, normalizations and concatenations; otherwise
    only fused calls and known cores are.
    `has_output` says that the output's projection is in the module, `from_product` that what comes
    before the first product is something else (queries and keys that are normalized), `is_given`
    that it is called with queries, keys and values.
    """

    classes: str
    axis: str
    path: str = ""
    kind: str | None = None
    inline: bool = True
    has_output: bool = True
    from_product: bool = False
    is_given: bool = False


@dataclass(frozen=True, slots=True)
class Built:
    """A model that is ready to run.

    `run` does its work once and returns the outputs; `modules` are its roots by the name that
    paths start with. `cores` are functions that are the attention operator proper, `rotary`
    functions that apply rotary embeddings, both as `module:attribute`.
    """

    run: Callable[[], Any]
    modules: Mapping[str, torch.nn.Module]
    attention: tuple[AttentionRule, ...] = ()
    cores: tuple[str, ...] = ()
    rotary: tuple[str, ...] = ()
    extra: Mapping[str, str] = field(default_factory=dict)
    """Categories of module classes that no general rule knows, by class name; `attention` for
    those that are the operator proper of the attention module around them, `silent` for those
    in which nothing is decided, `mixed` for layers of a make of their own in which only the
    layer's function is decided, empty for those in which functions decide."""


Builder = Callable[[Size], Built]


@dataclass(frozen=True, slots=True)
class Model:
    """A model of the corpus, the modes in which it is recorded, and the packages that it needs.

    `dtype` is that of its weights where a mode does not say otherwise. `holdout` is the number of
    the hold-out that it belongs to, models that nobody looks at while classification is being
    built; 0 is the corpus itself.
    """

    name: str
    build: Builder
    modes: tuple[str, ...]
    needs: tuple[str, ...] = ()
    dtype: str = "bfloat16"
    holdout: int = 0


MODELS: Final[dict[str, Model]] = {}
"""All models, by name, once `load_models` has run."""

_FILES: Final = (
    "diffusion_unets",
    "diffusion_transformers",
    "video_transformers",
    "autoencoders",
    "language",
    "vision",
    "packages",
    "package_vision",
    "package_videos",
    "own",
    "unseen_diffusion",
    "unseen_transformers",
    "unseen_packages",
    "unseen_again_diffusion",
    "unseen_again_transformers",
    "unseen_again_packages",
    "unseen_third_diffusion",
    "unseen_third_transformers",
    "unseen_third_videos",
)
HOLDOUTS: Final = (1, 2, 3)
"""The hold-outs, by the numbers under which they are recorded."""


def model(
    name: str, modes: str, needs: str = "", dtype: str = "bfloat16", *, holdout: int = 0
) -> Callable[[Builder], Builder]:
    """Register a builder as a model of the corpus, or of one of its hold-outs."""

    def register(build: Builder) -> Builder:
        if name in MODELS:
            raise ValueError(f"{name}: is registered twice")
        MODELS[name] = Model(
            name, build, tuple(modes.split()), tuple(needs.split()), dtype, holdout
        )
        return build

    return register


def unseen(
    name: str, modes: str, needs: str = "", dtype: str = "bfloat16"
) -> Callable[[Builder], Builder]:
    """Register a builder as a model of the first hold-out."""
    return model(name, modes, needs, dtype, holdout=1)


def unseen_again(
    name: str, modes: str, needs: str = "", dtype: str = "bfloat16"
) -> Callable[[Builder], Builder]:
    """Register a builder as a model of the second hold-out."""
    return model(name, modes, needs, dtype, holdout=2)


def unseen_third(
    name: str, modes: str, needs: str = "", dtype: str = "bfloat16"
) -> Callable[[Builder], Builder]:
    """Register a builder as a model of the third hold-out."""
    return model(name, modes, needs, dtype, holdout=3)


def load_models(*, holdout: int = 0) -> Mapping[str, Model]:
    """Return all models of the corpus, or all of one of its hold-outs."""
    for name in _FILES:
        import_module(f"corpus.models.{name}")
    return {name: found for name, found in MODELS.items() if found.holdout == holdout}


def find_model(name: str) -> Model:
    """Return a model by its name, of the corpus or of a hold-out.

    Raises
    ------
    UsageError
        There is no such model.
    """
    load_models()
    try:
        return MODELS[name]
    except KeyError:
        raise UsageError(f"{name}: no such model in the corpus; --list names them") from None
