"""The category of all work inside a module without children, by the name of its class.

Classes of torch, diffusers, transformers and timm; of others whatever is named alike. A name that
says less than one category is not in the table.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from tracekit.categories import CONV, ELEMENTWISE, EMBEDDING, LINEAR, MEMORY, NORM

_ACTIVATIONS: Final = (
    "ReLU|ReLU6|LeakyReLU|PReLU|RReLU|ELU|CELU|SELU|GELU|SiLU|Swish|Mish|Sigmoid|LogSigmoid|Tanh"
    "|Hardswish|Hardsigmoid|Hardtanh|HardSwish|HardSigmoid|HardMish|Softplus|Softsign|Softmax"
    "|LogSoftmax|Softmax2d|Threshold|GLU|GEGLU|SwiGLU|ReGLU|QuickGELU|GELUTanh|GeluTanh"
    "|PytorchGELUTanh|ReluSquared|ReLUSquared|SquaredReLU|Snake|Snake1d|SnakeBeta"
)
_TABLE: Final = (
    (LINEAR, re.compile(r"^Conv1D$")),
    (CONV, re.compile(r"Conv(?:Transpose)?[123]d|^LoRACompatibleConv$")),
    (LINEAR, re.compile(r"Linear(?:4bit|8bitLt|NF4|FP4)?$")),
    (
        NORM,
        re.compile(
            r"(?<!Weight)(?<!Spectral)Norm(?:[123]d|Fp32|ChannelsFirst|ExpFp32|Gated|NoBias)?$"
        ),
    ),
    (EMBEDDING, re.compile(r"^Embedding(?:Bag)?$|WordEmbedding$")),
    (
        ELEMENTWISE,
        re.compile(
            rf"^(?:{_ACTIVATIONS})$|Activation$"
            r"|^(?:Feature|Alpha|FeatureAlpha)?Dropout[123]?d?$|^DropPath$|^StochasticDepth$"
            r"|DropPath$|^Upsample$|^Upsampling\w+2d$|^(?:Adaptive)?(?:Avg|Max)Pool[123]d$"
            r"|^LayerScale[12]?d?$"
        ),
    ),
    (MEMORY, re.compile(r"^(?:Zero|Constant|Reflection|Replication|Circular)Pad[123]d$")),
)


@lru_cache(maxsize=4096)
def category_of_class(name: str) -> str | None:
    """Return the one category of the work inside leaf modules of a class, null if it is not one."""
    return next((category for category, names in _TABLE if names.search(name)), None)
