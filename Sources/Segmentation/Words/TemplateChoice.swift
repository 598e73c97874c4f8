// Which templates suit which class, from photos without labels.

/// How unsure each template alone is of the patches that it gives to each class.
///
/// - Shapes: sums and counts [templates, classes].
/// - Memory: 16 bytes a template and class.
/// - Source: FLOSS (arXiv 2504.10487): a class's experts are the four templates with the lowest mean entropy.
///   Differs: patches are counted, not pixels, and the experts of all classes make one list of vectors, where
///   FLOSS makes a classifier of each class's experts and lets those speak that vote for their own class.
package struct TemplateChoice: Equatable, Sendable {
  package static let expertCount = 4

  package let templateCount: Int
  package let classCount: Int
  private var entropy: [Double]
  private var patches: [Int]

  package init(templates: Int, classes: Int) {
    (templateCount, classCount) = (templates, classes)
    entropy = Array(repeating: 0, count: templates * classes)
    patches = Array(repeating: 0, count: templates * classes)
  }

  /// A patch that the template gives to a class. `entropy`: natural logarithm.
  package mutating func add(template: Int, label: Int, entropy value: Float) {
    entropy[template * classCount + label] += Double(value)
    patches[template * classCount + label] += 1
  }

  /// Mean over the patches that a template gives to a class; nil where it gives none.
  package func meanEntropy(template: Int, of label: Int) -> Double? {
    let index = template * classCount + label
    return patches[index] > 0 ? entropy[index] / Double(patches[index]) : nil
  }

  /// The templates of a class, the surest first; fewer than four where fewer gave it a patch, none where none
  /// did. Of equals the first in the list.
  package func experts(of label: Int) -> [Int] {
    let means = (0..<templateCount).compactMap { template in
      meanEntropy(template: template, of: label).map { (template, $0) }
    }
    return means.sorted { ($0.1, $0.0) < ($1.1, $1.0) }.prefix(Self.expertCount).map(\.0)
  }

  /// Patches that all templates together gave to a class.
  package func votes(of label: Int) -> Int {
    (0..<templateCount).reduce(0) { $0 + patches[$1 * classCount + label] }
  }

  /// Vectors of all phrases, each the mean over its class's experts, or over all templates where it has none.
  ///
  /// - Shapes: `vectors` [templates, phrases, width], unit rows; `phraseClass` [phrases]; the result
  ///   [phrases, width], unit rows.
  package func mixed(_ vectors: [Float], phraseClass: [Int], width: Int) -> [Float] {
    var mixed = [Float](repeating: 0, count: phraseClass.count * width)
    for (phrase, label) in phraseClass.enumerated() {
      let own = experts(of: label)
      for template in own.isEmpty ? Array(0..<templateCount) : own {
        let from = (template * phraseClass.count + phrase) * width
        for column in 0..<width { mixed[phrase * width + column] += vectors[from + column] }
      }
      let range = phrase * width..<(phrase + 1) * width
      let length = mixed[range].reduce(0) { $0 + $1 * $1 }.squareRoot()
      for index in range where length > 0 { mixed[index] /= length }
    }
    return mixed
  }
}
