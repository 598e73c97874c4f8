"""The public SC-CLIP code on the CPU, stage by stage, for check_scclip_public.py. Used where it lies, never
copied."""

import sys
import tempfile
import types

import cv2
import torch
from public_code import fake_framework


def prepare(checkout):
    """Empty stand-ins for the evaluation framework and for image transforms nothing here uses."""
    nothing = lambda *a, **k: None
    fake_framework({
        "pamr": {"PAMR": None}, "torchvision": {},
        "ftfy": {"fix_text": lambda text: text}, "pkg_resources": {"packaging": types.SimpleNamespace(
            version=types.SimpleNamespace(parse=lambda v: [int(n) for n in v.split("+")[0].split(".")]))},
        "torchvision.transforms": dict.fromkeys(
            ("Compose", "Resize", "CenterCrop", "ToTensor", "Normalize"), nothing) | {
            "InterpolationMode": types.SimpleNamespace(BICUBIC=3)}, "torchvision.transforms.functional": {}})
    for name in ("torchvision.transforms", "torchvision.transforms.functional"):
        parent, _, leaf = name.rpartition(".")
        setattr(sys.modules[parent], leaf, sys.modules[name])
    sys.path.insert(0, checkout)


class Recorder:
    """What each window left at each stage: `self.windows[n][stage]`."""

    def __init__(self, visual, module):
        self.visual, self.module, self.windows, self.grid = visual, module, [], None
        self.outlier_indices = None
        for n, block in enumerate(visual.transformer.resblocks[:-1]):
            block.register_forward_hook(lambda m, i, y, n=n: self.put(f"block {n + 1}", y[:, 0]))
        visual.conv1.register_forward_hook(lambda m, i, y: self.begin(y.shape[-2:]))
        plain = {name: getattr(visual, name) for name in ("custom_attn", "adaptively_aggregate",
                                                          "mean_interpolation")}
        plain_lof = module.lof_pytorch

        def lof(x, **k):
            self.outlier_indices, scores = plain_lof(x, **k)
            self.put("outliers", self.outlier_indices)
            self.put("lof", scores)
            return self.outlier_indices, scores

        def mean_interpolation(feature_map, _):
            # The place of an index, counted in columns: upstream counts in rows, right for squares only.
            columns = feature_map.shape[-1]
            where = [(int(n) // columns, int(n) % columns) for n in self.outlier_indices]
            y = plain["mean_interpolation"](feature_map, where)
            self.put("repaired", y[0].flatten(1).T)
            return y

        def custom_attn(*a, **k):
            y = plain["custom_attn"](*a, **k)
            self.put("attention", y[:, 0])
            return y

        def aggregate(x, corrs):
            y = plain["adaptively_aggregate"](x, corrs)
            self.put("mix", y[:, 0])
            return y

        visual.custom_attn, visual.adaptively_aggregate = custom_attn, aggregate
        visual.mean_interpolation, module.lof_pytorch = mean_interpolation, lof
        visual.ln_post.register_forward_hook(lambda m, i, y: self.put("combined", i[0][0]))

    def begin(self, grid):
        self.windows.append({})
        self.grid = tuple(grid)

    def put(self, name, value):
        """A second value of the same name is kept as `name 2`, and so on."""
        window, n, key = self.windows[-1], 1, name
        while key in window:
            n += 1
            key = f"{name} {n}"
        window[key] = value.detach().clone()


def public_photo(photo, short_side):
    """The evaluation framework's loading: keep-ratio resize, then its mean and deviation."""
    h, w = photo.shape[:2]
    scale = min(2048 / max(h, w), short_side / min(h, w))
    small = cv2.resize(photo, (int(w * scale + 0.5), int(h * scale + 0.5)), interpolation=cv2.INTER_LINEAR)
    x = torch.from_numpy(small).permute(2, 0, 1).float()
    mean, deviation = (122.771, 116.746, 104.094), (68.501, 66.632, 70.323)
    return ((x - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(deviation).view(3, 1, 1))[None]


@torch.no_grad()
def run(clip_path, vocab, photo, classes, o):
    """The public class, constructor included; returns the recorder, the map at the photo's size and the
    labels."""
    import clip.clip as code
    import clip.model as module
    import scclip_segmentor
    from clip.simple_tokenizer import SimpleTokenizer
    code._tokenizer = SimpleTokenizer(vocab)
    scclip_segmentor.openai_imagenet_template = [lambda c, t=t: t.replace("{}", c) for t in o.templates]
    with tempfile.NamedTemporaryFile("w", suffix=".txt", delete=False) as names:
        names.write("\n".join(", ".join(c) for c in classes))
    model = scclip_segmentor.SCCLIPForSegmentation(
        clip_path, names.name, device=torch.device("cpu"), prob_thd=o.probability_threshold,
        logit_scale=o.logit_scale, slide_stride=o.stride, slide_crop=o.window,
        area_thd=o.area_threshold if o.area_threshold >= 0 else None, pre_adjust_idx=o.mid - 1,
        post_adjust_idx=o.low - 1, multi_start_idx=o.level_first - 1, multi_end_idx=o.level_last,
        res_cls=o.class_weight)
    recorder = Recorder(model.net.visual, module)
    scores = model.forward_slide(public_photo(photo, o.short_side), [{"ori_shape": photo.shape[:2]}],
                                 o.stride, o.window)
    return recorder, model.query_features, scores[0], model.postprocess_result(scores, None)[0].numpy()
