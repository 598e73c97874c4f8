// The sentences a phrase is placed in before it is encoded.

/// Prompt templates; the embeddings of one phrase in all of them are averaged.
///
/// - Memory: 80 string literals, none longer than 40 bytes with its phrase missing.
/// - Source: openai/CLIP `notebooks/Prompt_Engineering_for_ImageNet.ipynb`; Trident
///   `prompts/imagenet_template.py`.
package enum PromptTemplates {
  /// Names this list in caches; changes whenever the list does.
  package static let identifier = "imagenet80"

  /// A phrase inside one template.
  package static func prompt(_ phrase: String, template: Int) -> String {
    prompt(phrase, in: imageNet[template])
  }

  /// A phrase in place of a template's `{}`.
  package static func prompt(_ phrase: String, in template: String) -> String {
    let bytes = template.utf8
    var hole = bytes.startIndex
    while !bytes[hole...].starts(with: [0x7B, 0x7D]) { hole = bytes.index(after: hole) }
    return String(template[..<hole]) + phrase + String(template[bytes.index(hole, offsetBy: 2)...])
  }

  /// Token sequences of one phrase in all templates.
  ///
  /// - Shapes: 80 sequences of 2...`contextLength` tokens, marks included.
  package static func tokens(_ phrase: String, tokenizer: BytePairTokenizer) -> [[Int32]] {
    imageNet.indices.map { tokenizer.tokens(prompt(phrase, template: $0)) }
  }

  /// The 80 templates for ImageNet; `{}` stands for the phrase.
  package static let imageNet: [String] = [
    "a bad photo of a {}.",
    "a photo of many {}.",
    "a sculpture of a {}.",
    "a photo of the hard to see {}.",
    "a low resolution photo of the {}.",
    "a rendering of a {}.",
    "graffiti of a {}.",
    "a bad photo of the {}.",
    "a cropped photo of the {}.",
    "a tattoo of a {}.",
    "the embroidered {}.",
    "a photo of a hard to see {}.",
    "a bright photo of a {}.",
    "a photo of a clean {}.",
    "a photo of a dirty {}.",
    "a dark photo of the {}.",
    "a drawing of a {}.",
    "a photo of my {}.",
    "the plastic {}.",
    "a photo of the cool {}.",
    "a close-up photo of a {}.",
    "a black and white photo of the {}.",
    "a painting of the {}.",
    "a painting of a {}.",
    "a pixelated photo of the {}.",
    "a sculpture of the {}.",
    "a bright photo of the {}.",
    "a cropped photo of a {}.",
    "a plastic {}.",
    "a photo of the dirty {}.",
    "a jpeg corrupted photo of a {}.",
    "a blurry photo of the {}.",
    "a photo of the {}.",
    "a good photo of the {}.",
    "a rendering of the {}.",
    "a {} in a video game.",
    "a photo of one {}.",
    "a doodle of a {}.",
    "a close-up photo of the {}.",
    "a photo of a {}.",
    "the origami {}.",
    "the {} in a video game.",
    "a sketch of a {}.",
    "a doodle of the {}.",
    "a origami {}.",
    "a low resolution photo of a {}.",
    "the toy {}.",
    "a rendition of the {}.",
    "a photo of the clean {}.",
    "a photo of a large {}.",
    "a rendition of a {}.",
    "a photo of a nice {}.",
    "a photo of a weird {}.",
    "a blurry photo of a {}.",
    "a cartoon {}.",
    "art of a {}.",
    "a sketch of the {}.",
    "a embroidered {}.",
    "a pixelated photo of a {}.",
    "itap of the {}.",
    "a jpeg corrupted photo of the {}.",
    "a good photo of a {}.",
    "a plushie {}.",
    "a photo of the nice {}.",
    "a photo of the small {}.",
    "a photo of the weird {}.",
    "the cartoon {}.",
    "art of the {}.",
    "a drawing of the {}.",
    "a photo of the large {}.",
    "a black and white photo of a {}.",
    "the plushie {}.",
    "a dark photo of a {}.",
    "itap of a {}.",
    "graffiti of the {}.",
    "a toy {}.",
    "itap of my {}.",
    "a photo of a cool {}.",
    "a photo of a small {}.",
    "a tattoo of the {}.",
  ]
}
