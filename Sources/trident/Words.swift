// The classes of a run and their text vectors: from flags, a class file or a vocabulary file.
import Segmentation

/// Class names, phrases and where their vectors come from.
struct Words {
  let names: [String]
  let phrases: [String]
  let phraseClass: [Int]
  let background: Bool
  let wording: Wording

  init(_ flags: ClassFlags, session: Session) throws {
    guard flags.vocabulary == nil || (flags.phrases.isEmpty && flags.file == nil) else {
      throw SegmentationError(.usage("--vocabulary brings its own classes; leave out --class and --classes"))
    }
    guard flags.phrases.isEmpty || flags.file == nil else {
      throw SegmentationError(.usage("give either --class or --classes, not both"))
    }
    let list: ClassList
    if let file = flags.file {
      list = try ClassList(path: file, background: flags.background)
    } else if !flags.phrases.isEmpty {
      list = try ClassList(arguments: flags.phrases, background: flags.background)
    } else {
      throw SegmentationError(.usage("no classes: give --class PHRASE (repeatable), --classes FILE or --vocabulary FILE"))
    }
    names = list.names
    phrases = list.phrases
    phraseClass = list.classIndex.map { Int($0) }
    background = list.background
    let tokenizer = try session.makeTokenizer()
    wording = Wording(
      source: .prompts(PromptSource(phrases: phrases, tokenizer: tokenizer)), phraseClass: phraseClass)
  }
}
