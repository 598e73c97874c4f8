// What SigLIP 2 does to a text before it is tokenized.

/// SigLIP's text cleaning: underscores are spaces, punctuation is left out, letters are small, spaces single.
///
/// ASCII punctuation is deleted and not replaced: `close-up` becomes `closeup`.
///
/// - Memory: a few arrays of the text's length.
/// - Source: open_clip `tokenizer.py`, `canonicalize_text`; big_vision
///   `evaluators/proj/image_text/prompt_engineering.py`.
package enum PromptCleaning {
  package static func canonical(_ text: String) -> String {
    let plain = text.unicodeScalars.compactMap { scalar -> Unicode.Scalar? in
      if scalar == "_" { return " " }
      return isPunctuation(scalar) ? nil : scalar
    }
    var out = String.UnicodeScalarView()
    out.append(contentsOf: TextCleaning.collapsed(TextCleaning.lowercased(plain)))
    return String(out)
  }

  private static func isPunctuation(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar.value {
    case 0x21...0x2F, 0x3A...0x40, 0x5B...0x60, 0x7B...0x7E: true
    default: false
    }
  }
}
