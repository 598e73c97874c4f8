"""What scripts that run public code share: stand-ins for packages it imports and does not use, and SAM."""

import sys
import types
from functools import partial

from torch import nn


def fake_module(name, **content):
    module = types.ModuleType(name)
    for key, value in content.items():
        setattr(module, key, value)
    sys.modules[name] = module
    return module


def fake_framework(more):
    """Empty stand-ins for the evaluation framework, and those of `more`, by name."""
    class Segmentor(nn.Module):
        def __init__(self, data_preprocessor=None):
            super().__init__()

    register = types.SimpleNamespace(register_module=lambda: lambda cls: cls)
    for name, content in {
        "mmseg": {}, "mmseg.models": {}, "mmseg.models.segmentors": {"BaseSegmentor": Segmentor},
        "mmseg.models.data_preprocessor": {"SegDataPreProcessor": lambda **k: None},
        "mmseg.registry": {"MODELS": register}, "mmengine": {}, "mmengine.structures": {"PixelData": dict},
        **more,
    }.items():
        fake_module(name, **content)


def sam_of(s):
    """The public SAM, which must be importable, in the sizes `s` of a toy; weights are still to be loaded."""
    from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
    encoder = ImageEncoderViT(
        depth=s.depth, embed_dim=s.width, img_size=s.side, mlp_ratio=s.mlp / s.width, num_heads=s.heads,
        patch_size=s.patch, norm_layer=partial(nn.LayerNorm, eps=1e-6), qkv_bias=True, use_rel_pos=True,
        global_attn_indexes=s.globals, window_size=s.window, out_chans=s.neck)
    prompt = PromptEncoder(embed_dim=s.neck, image_embedding_size=(s.grid, s.grid),
                           input_image_size=(s.side, s.side), mask_in_chans=s.mask_channels)
    decoder = MaskDecoder(
        num_multimask_outputs=s.mask_tokens - 1, transformer_dim=s.neck, iou_head_depth=3,
        iou_head_hidden_dim=s.iou_hidden,
        transformer=TwoWayTransformer(depth=s.decoder_depth, embedding_dim=s.neck, mlp_dim=s.decoder_mlp,
                                      num_heads=s.decoder_heads))
    return Sam(encoder, prompt, decoder, pixel_mean=[123.675, 116.28, 103.53],
               pixel_std=[58.395, 57.12, 57.375])
