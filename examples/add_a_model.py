"""A model of your own: one function that returns a Workload. Run it from the folder above.

tracekit collect -o run examples.add_a_model:build --device cpu && tracekit analyze run
"""

import torch
from diffusers.models.attention import BasicTransformerBlock

from tracekit.collectors.workload import ModelOptions, StageMarker, Workload

DEFAULTS = ModelOptions(device="cuda" if torch.cuda.is_available() else "cpu", dtype="float32")


def build(options: ModelOptions = DEFAULTS) -> Workload:
    """Return a toy that refines 256 image tokens by attention to themselves and to a text."""
    steps, dtype = options.steps or 4, getattr(torch, options.dtype)
    torch.manual_seed(options.seed)
    with torch.device(options.device):
        encoder = torch.nn.Embedding(1000, 32).to(dtype)
        block = BasicTransformerBlock(64, 4, 16, cross_attention_dim=32).to(dtype)
        prompt = torch.randint(1000, (options.batch, 12))
        noise = torch.randn(options.batch, 256, 64, dtype=dtype)

    def run(stage: StageMarker) -> torch.Tensor:
        with torch.no_grad():
            with stage("text_encoder"):
                text = encoder(prompt)
            image = noise
            for step in range(steps):
                with stage("denoise", step=step):  # one step of a repeated stage
                    image = image - block(image, encoder_hidden_states=text) / steps
        return image

    return Workload(
        name="my-model",
        run=run,  # called several times: it must do the same work each time
        modules={"encoder": encoder, "block": block},  # their attention modules get labels
        stages={"text_encoder": 1, "denoise": steps},  # what `run` marks, in order
        config={"width": 64, "heads": 4, "steps": steps},  # anything that is JSON
    )
