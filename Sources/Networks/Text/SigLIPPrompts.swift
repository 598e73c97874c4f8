// A phrase in all templates, as SigLIP 2's text tower wants it.

/// Prompts of SigLIP 2: cleaned, tokenized and padded, none sharing anything with another.
///
/// Attention is not causal and padding is attended, so that every prompt is a sequence of its own.
package enum SigLIPPrompts {
  /// Names templates and cleaning in caches; changes whenever they do.
  package static func identifier(_ templates: TemplateList) -> String {
    templates.identifier + "-canonical"
  }

  /// Sequences per phrase.
  package static var promptCount: Int { PromptTemplates.imageNet.count }

  /// Token sequences of one phrase in all templates.
  ///
  /// - Shapes: [80, contextLength], the tower's 64.
  package static func tokens(_ phrase: String, tokenizer: some Tokenizer) -> [[Int32]] {
    PromptTemplates.imageNet.indices.map { tokens(phrase, template: $0, tokenizer: tokenizer) }
  }

  /// The token sequence of one phrase in one template.
  ///
  /// - Shapes: [contextLength].
  package static func tokens(_ phrase: String, template: Int, tokenizer: some Tokenizer) -> [Int32] {
    tokens(phrase, in: PromptTemplates.imageNet[template], tokenizer: tokenizer)
  }

  package static func tokens(_ phrase: String, in template: String, tokenizer: some Tokenizer) -> [Int32] {
    precondition(tokenizer.isPadded, "SigLIP's sequences are padded")
    return tokenizer.tokens(PromptCleaning.canonical(PromptTemplates.prompt(phrase, in: template)))
  }
}
