#!/usr/bin/env python3
"""The twin of PnP-OVSS against autograd and against transformers.

    check_pnp.py            needs torch; with transformers 4 also Hugging Face's network
"""

import blip
import blip_toys
import numpy as np
import pnp
import torch
import torch.nn.functional as F
from photos import synthetic
from PIL import Image


def check_gradient():
    """Every layer and head of toys of several shapes, in double precision."""
    worst = 0.0
    for seed, (text_depth, width) in enumerate(((4, 64), (6, 128), (12, 64))):
        config = blip_toys.Config("check", width=width, text_depth=text_depth, grain=0)
        m = {n: t.double() for n, t in blip_toys.tensors(config, seed).items()}
        image = blip.image_tokens(m, torch.randn(3, 96, 96, dtype=torch.float64))
        tokens = torch.randint(5, len(blip_toys.VOCABULARY), (9 + seed,))
        tape = blip.Tape()
        blip.text_states(m, tokens, image, tape)
        for layer in range(1, text_depth + 1):
            for head in (1, 2):
                _, g, _ = blip.autograd_gradient(m, tokens, image, layer, head)
                found = blip.closed_gradient(m, tape, layer, head)
                worst = max(worst, float((found - g).abs().max() / g.abs().max()))
    print(f"closed gradient against autograd: {worst:.1e}")
    assert worst < 1e-12


def check_resize():
    for size in ((70, 90), (200, 150), (96, 400)):
        photo = synthetic(*size)
        own = pnp.squeezed(photo, 96).astype(int)
        theirs = np.asarray(Image.fromarray(photo).resize((96, 96), Image.BICUBIC)).astype(int)
        difference = np.abs(own - theirs)
        print(f"bicubic {size}: at most {difference.max()}, {(difference > 0).mean():.2%} differ")
        assert difference.max() <= 1


def check_hugging_face():
    try:
        from transformers import BlipConfig, BlipForImageTextRetrieval
    except ImportError:
        print("transformers is missing; Hugging Face's network was not compared")
        return
    c = blip_toys.CONFIGS["blip-toy"]
    state = blip_toys.tensors(c, 1)
    config = BlipConfig(
        vision_config=dict(hidden_size=c.width, intermediate_size=c.mlp, num_hidden_layers=c.depth,
                           num_attention_heads=c.width // 64, image_size=16 * c.grid, patch_size=c.patch,
                           layer_norm_eps=1e-6),
        text_config=dict(vocab_size=len(blip_toys.VOCABULARY) + 2, hidden_size=c.text,
                         encoder_hidden_size=c.width, intermediate_size=c.text_mlp,
                         num_hidden_layers=c.text_depth,
                         num_attention_heads=c.text // 64, max_position_embeddings=c.context,
                         projection_dim=c.embed),
        projection_dim=c.embed, image_text_hidden_size=c.embed)
    network = BlipForImageTextRetrieval(config).eval()
    missing, left = network.load_state_dict(blip.hugging_face(state), strict=False)
    print(f"transformers: missing {missing}, left over {left}")
    assert not missing and not left
    tokens = torch.randint(5, len(blip_toys.VOCABULARY), (1, 11))
    image = torch.randn(1, 3, 144, 144)
    with torch.no_grad():
        theirs = network(input_ids=tokens, pixel_values=image, attention_mask=torch.ones_like(tokens),
                         interpolate_pos_encoding=True)
        own = blip.image_tokens(state, image[0])
        states = blip.text_states(state, tokens[0], own)
        print(f"image tokens: {float((theirs.last_hidden_state[0] - own).abs().max()):.1e}, "
              f"logits: {float((theirs.itm_score[0] - blip.match_logits(state, states)).abs().max()):.1e}")
        alone = network(input_ids=tokens, pixel_values=image, attention_mask=torch.ones_like(tokens),
                        use_itm_head=False, interpolate_pos_encoding=True)
        score = blip.itc(state, own, blip.text_states(state, tokens[0]))
        print(f"itc: {float((alone.itm_score.flatten()[0] - score).abs()):.1e}")
        assert torch.allclose(theirs.last_hidden_state[0], own, atol=1e-4)
        assert torch.allclose(theirs.itm_score[0], blip.match_logits(state, states), atol=1e-4)


def check_float_gradient():
    """How far the closed form is from autograd in single precision."""
    m = blip_toys.tensors(blip_toys.CONFIGS["blip-toy"], 1)
    image = blip.image_tokens(m, torch.randn(3, 144, 144))
    tokens = torch.randint(5, len(blip_toys.VOCABULARY), (13,))
    tape = blip.Tape()
    blip.text_states(m, tokens, image, tape)
    _, g, _ = blip.autograd_gradient(m, tokens, image, 2, 2)
    found = blip.closed_gradient(m, tape, 2, 2)
    print(f"float32: {float((found - g).abs().max() / g.abs().max()):.1e}, cosine "
          f"{float(F.cosine_similarity(found.flatten(), g.flatten(), dim=0)):.9f}")


if __name__ == "__main__":
    torch.manual_seed(1)
    torch.set_num_threads(1)
    check_gradient()
    check_float_gradient()
    check_resize()
    check_hugging_face()
