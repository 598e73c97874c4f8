// What looks wrong in a list of classes although every phrase in it can be read.

/// A list in another program's form is no error: every line of it is a phrase to the model, which gives it
/// pixels without a word. Lines are compared with the forms that people have: commas between words, remarks,
/// numbers in front, CSV, JSON, YAML, and the names that annotation tools give to what is no class.
extension ClassList {
  /// One remark a kind, with an example.
  ///
  /// - Shapes: none for a list in this program's own form.
  package var doubts: [String] {
    let lines = (0..<count).map { phrases(ofClass: $0).joined(separator: "; ") }
    var doubts: [String] = []
    func any(_ text: String, _ test: (String) -> Bool) {
      if let line = lines.first(where: test) { doubts.append("'\(line)' \(text)") }
    }
    func most(_ text: String, _ test: (String) -> Bool) {
      let found = lines.filter(test)
      guard let first = found.first, 2 * found.count > lines.count else { return }
      doubts.append("\(found.count) of \(lines.count) classes are like '\(first)': \(text)")
    }
    let form = "a class is a line, its synonyms stand between ';'"
    any("is a class here, no remark; remove the line") { $0.hasPrefix("#") || $0.hasPrefix("//") }
    any("is a mark of other programs and a word to the model; leave it out") { line in
      Self.marks.contains(line.lowercased())
    }
    any("looks like JSON; \(form)") { $0.first == "{" || $0.first == "[" }
    any("looks like YAML; \(form)") { line in
      line == "---" || line.hasSuffix(":") || line.hasPrefix("- ") || line.hasPrefix("names: ")
    }
    any("looks like XML; \(form)") { $0.hasPrefix("<") && $0.hasSuffix(">") }
    most("numbers are part of the phrase; \(form), and classes are numbered by their order", Self.isNumbered)
    most("commas separate nothing here, as they do in CSV; \(form)") { $0.contains(",") }
    most("quotes are part of the phrase; leave them out") { line in
      line.count > 1 && (line.hasPrefix("\"") || line.hasPrefix("'"))
        && [line.first, ","].contains(line.last)
    }
    return doubts
  }

  private static let marks: Set<String> = [
    "__ignore__", "_ignore_", "__background__", "_background_", "__void__", "_void_", "<unk>", "...",
    "\u{2026}",
  ]

  /// `0: cat`, `12. cat`, `3 cat`, `id: cat`, `cat: 0`, `cat=0`, or `0; cat`.
  private static func isNumbered(_ line: String) -> Bool {
    let text = line.lowercased()
    if text.hasPrefix("id:") || text.hasPrefix("id =") { return true }
    let digits = text.prefix { $0.isASCII && $0.isNumber }
    let rest = text.dropFirst(digits.count)
    if !digits.isEmpty {
      if rest.isEmpty { return true }
      let behind = rest.drop { $0 == " " }
      if let mark = behind.first, ":;,.)=|".contains(mark) { return true }
      if rest.first == " ", let letter = behind.first, letter.isLetter { return true }
    }
    let last = String(text.reversed().prefix { $0.isASCII && $0.isNumber })
    let before = text.dropLast(last.count).reversed().drop { $0 == " " }.first
    return !last.isEmpty && before.map { ":=,".contains($0) } == true
  }
}

extension Session {
  /// What looks wrong once this model reads the list: classes that are one text to it, and phrases that are
  /// longer than it reads.
  ///
  /// - Memory: the phrases once more; where one may be too long, the tokenizer, given back.
  /// - Errors: `.model` for a file without a text tower.
  package func doubts(
    _ list: ClassList, _ templates: TemplateList = .all
  ) throws(SegmentationError) -> [String] {
    var (doubts, first) = ([String](), [[String]: Int]())
    for index in 0..<list.count {
      let texts = Set(list.phrases(ofClass: index).map(readText)).sorted()
      guard let earlier = first[texts] else {
        first[texts] = index
        continue
      }
      doubts.append(
        "classes \(earlier) ('\(list.names[earlier])') and \(index) ('\(list.names[index])') are one text to "
          + "the model; remove one")
    }
    let config = model.config
    let context =
      config.siglip?.tower.context ?? config.text?.context ?? config.bert?.context ?? .max
    // A token is a byte at least, and the 80 templates have 20 at most.
    let own = templates == .all ? 20 : templates.longest + 2
    let long = list.phrases.filter { $0.utf8.count + own > context }
    let texts = list.descriptions.sorted { $0.key < $1.key }.flatMap(\.value.texts)
      .filter { $0.utf8.count + 2 > context }
    guard !long.isEmpty || !texts.isEmpty else { return doubts }
    let tokenizer = try makeTokenizer()
    for text in texts.prefix(1000) where isCut(text, tokenizer, context, .plain) {
      doubts.append(
        "the description '\(text)' is longer than the model reads (\(context) tokens); its end does not count"
      )
    }
    for phrase in long.prefix(1000) where isCut(phrase, tokenizer, context, templates) {
      doubts.append("'\(phrase)' is longer than the model reads (\(context) tokens); its end does not count")
    }
    return doubts
  }

  /// Negative phrases that are one text with a class to the model.
  package func doubts(negatives: [String], of list: ClassList) -> [String] {
    var classes: [String: Int] = [:]
    for index in 0..<list.count {
      for phrase in list.phrases(ofClass: index) { classes[readText(phrase)] = index }
    }
    return negatives.compactMap { phrase in
      classes[readText(phrase)].map {
        "'\(phrase)' is negative, and one text with class \($0) ('\(list.names[$0])') to the model; "
          + "remove one"
      }
    }
  }

  /// Classes without any word that training saw, where the model file tells those; none where it does not. A
  /// phrase counts by its last words: `red car` is a car, `car park` is none.
  ///
  /// - Memory: the ends of the phrases.
  /// - Errors: `.model` for words of another type.
  package func untrained(_ list: ClassList) throws(SegmentationError) -> [String] {
    guard model.file.hasKey(Model.wordsKey) else { return [] }
    let first = list.background ? 1 : 0
    var ends: [String: [Int]] = [:]
    for index in first..<list.count {
      for phrase in list.phrases(ofClass: index) {
        let tokens = readText(phrase).split(separator: " ")
        for count in 1...4 where count <= tokens.count {
          ends[tokens.suffix(count).joined(separator: " "), default: []].append(index)
        }
      }
    }
    var (known, words) = (Set<Int>(), 0)
    try model.trainedWords { line in
      words += 1
      for word in line.split(separator: ";") {
        let tokens = readText(String(word)).split(separator: " ")
        known.formUnion(ends[tokens.joined(separator: " ")] ?? [])
      }
    }
    let strange = (first..<list.count).filter { !known.contains($0) }
    if strange.isEmpty { return [] }
    let names = strange.prefix(8).map { "'\(list.names[$0])'" }.joined(separator: ", ")
    let more = strange.count > 8 ? " and \(strange.count - 8) more" : ""
    return [
      "this model was not trained on \(names)\(more): what such a class gets means nothing; "
        + "'trident inspect' lists the \(words) words that it knows"
    ]
  }

  /// A phrase as the model reads it: letters' case, spaces and what else cleaning takes away do not count.
  private func readText(_ phrase: String) -> String {
    if model.config.siglip != nil { return PromptCleaning.canonical(phrase) }
    let scalars = TextCleaning.clean(phrase)
    var (text, index) = ("", 0)
    while let piece = WordSplitter.next(scalars, from: index) {
      index = piece.range.upperBound
      text.unicodeScalars.append(contentsOf: scalars[piece.range])
      text += " "
    }
    return text
  }

  private func isCut(
    _ phrase: String, _ tokenizer: PromptTokenizer, _ context: Int, _ templates: TemplateList
  ) -> Bool {
    templates.texts.contains { template in
      let prompt = PromptTemplates.prompt(phrase, in: template)
      switch tokenizer {
      case .bytePairs(let pairs): return pairs.encode(prompt).count + 2 > context
      case .pieces(let pieces): return pieces.encode(PromptCleaning.canonical(prompt)).count + 1 > context
      case .wordPieces(let pieces):
        return pieces.encode(BLIPCaption.opening + phrase).count + 2 > context
      }
    }
  }
}
