// Networks that people take for CLIP, DINO or SAM, named by tensors that only they have.

import System

/// Tells relatives of the networks this package runs by parts of their tensors' names.
///
/// - Source: the state dicts of each project's published weights.
enum ForeignCheckpoint {
  private struct Sign: Sendable {
    /// Every one occurs in some name.
    let parts: [String]
    /// None occurs.
    var absent: [String] = []
    let what: String
    /// The flag that takes it.
    var flag: String?
  }

  private static let highQuality = "SAM-HQ (HQ-SAM), whose mask decoder"

  private static let signs: [Sign] = [
    Sign(parts: ["visual_encoder.patch_embed.", "text_encoder."], what: "BLIP", flag: "--blip"),
    Sign(parts: ["vision_model.embeddings.", "itm_head."], what: "BLIP", flag: "--blip"),
    Sign(parts: ["visual_encoder.patch_embed.", "text_decoder."], what: "a BLIP that writes captions"),
    Sign(parts: ["mask_decoder.hf_"], what: highQuality),
    Sign(parts: ["mask_decoder.compress_vit_feat"], what: highQuality),
    Sign(parts: ["detector.backbone."], what: "SAM 3"), Sign(parts: ["detector_model."], what: "SAM 3"),
    Sign(parts: ["tracker_model.", "vision_encoder."], what: "SAM 3"),
    Sign(parts: ["image_encoder.trunk."], what: "SAM 2"), Sign(parts: ["sam_mask_decoder."], what: "SAM 2"),
    Sign(parts: ["vision_encoder.backbone.", "mask_decoder."], what: "SAM 2"),
    Sign(parts: ["memory_attention.", "memory_encoder."], what: "SAM 2"),
    Sign(parts: ["final_output_upscaling_layers"], what: "EfficientSAM"),
    Sign(parts: ["prompt_encoder.bbox_top_left_embeddings"], what: "EfficientSAM"),
    Sign(parts: ["image_encoder.patch_embed.seq."], what: "MobileSAM"),
    Sign(parts: ["image_encoder.stem.", "mask_decoder."], what: "EdgeSAM"),
    Sign(parts: ["storage_tokens"], what: "DINOv3"), Sign(parts: ["rope_embed.periods"], what: "DINOv3"),
    Sign(parts: ["embeddings.register_tokens"], absent: ["encoder.layer."], what: "DINOv3"),
    Sign(parts: ["conv1_alpha."], what: "AlphaCLIP, whose image tower takes a fourth channel"),
    Sign(parts: ["positional_embedding_res"], what: "LongCLIP, whose text tower has two position tables"),
    Sign(parts: ["text_decoder."], what: "CoCa, whose image tower ends in attention pooling"),
    Sign(parts: ["visual.layer1.0.conv1.weight"], what: "a CLIP with a ResNet image tower"),
    Sign(
      parts: ["visual.trunk."], what: "a CLIP with a timm image tower (SigLIP, ConvNeXt, EVA02 and others)"),
    Sign(parts: ["visual.blocks.0."], what: "EVA-CLIP"),
    Sign(parts: ["vision_model.head.probe"], what: "SigLIP, whose image tower has no class token"),
    Sign(parts: ["image_encoder.model."], what: "MobileCLIP"),
  ]

  /// - Errors: `this is SAM 2, which is not supported; ` and `advice`, with the tensor that tells.
  static func refuse(_ directory: TensorDirectory, _ advice: String) throws(QuantizationError) {
    let names = directory.names
    func first(_ part: String) -> String? { names.first { $0.holds(part) } }
    let sign = signs.first { sign in
      sign.parts.allSatisfy { first($0) != nil } && !sign.absent.contains { first($0) != nil }
    }
    guard let sign else { return }
    if let flag = sign.flag {
      throw QuantizationError(
        .unsupportedModel("this is \(sign.what): \(flag) takes it; " + advice), path: directory.path,
        name: sign.parts.last.flatMap(first))
    }
    // Where one part is in the way, that part is named.
    let isPart = sign.what == highQuality
    throw QuantizationError(
      .unsupportedModel(
        "this is \(sign.what)" + (isPart ? " is" : ", which is") + " not supported; " + advice),
      path: directory.path, name: sign.parts.last.flatMap(first))
  }
}

extension CheckpointView {
  /// The shape of a patch embedding: [width, 3, side, side].
  ///
  /// - Errors: another order of axes, which other frameworks have.
  func patchShape(_ name: String) throws(QuantizationError) -> [Int] {
    let shape = try shape(name, axes: 4)
    if shape[1] != 3, shape[3] == 3 || shape[2] == 3 {
      throw refuse(
        "its shape \(shape) keeps channels last, as MLX, Flax and TensorFlow do; save the weights as "
          + "PyTorch's (output, input, rows, columns)", name)
    }
    return shape
  }
}
