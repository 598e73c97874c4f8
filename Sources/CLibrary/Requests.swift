// C structures to the library's values, each checked before it is used.
import CTrident
import Segmentation
import System

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// - Errors: `.usage` for NULL or bytes that are no UTF-8.
func text(_ string: UnsafePointer<CChar>?, _ what: String) throws(SegmentationError) -> String {
  guard let string else { throw SegmentationError(.usage("\(what) is NULL")) }
  guard let text = String(validatingCString: string) else {
    throw SegmentationError(.usage("\(what) is not UTF-8"))
  }
  return text
}

/// - Errors: `.usage` for an array or a string that is NULL.
func pairs(
  _ options: UnsafePointer<trident_option>?, _ count: Int
) throws(SegmentationError) -> [(key: String, value: String)] {
  if count == 0 { return [] }
  guard let options, count > 0 else {
    throw SegmentationError(.usage("\(count) options stand at NULL"))
  }
  var found: [(key: String, value: String)] = []
  for index in 0..<count {
    let key = try text(options[index].key, "the key of option \(index)")
    found.append((key, try text(options[index].value, "the value of '\(key)'")))
  }
  return found
}

private func flag(_ key: String, _ value: String) throws(SegmentationError) -> Bool {
  switch value {
  case "true", "1": true
  case "false", "0": false
  default: throw SegmentationError(.usage("\(key) is '\(value)', neither true nor false"))
  }
}

private func number(_ key: String, _ value: String, _ range: ClosedRange<Int>) throws(SegmentationError)
  -> Int
{
  guard let number = Int(value), range.contains(number) else {
    throw SegmentationError(
      .usage("\(key) is '\(value)', not a whole number of \(range.lowerBound) to \(range.upperBound)"))
  }
  return number
}

/// How a model uses the machine.
func runtimeOptions(_ pairs: [(key: String, value: String)]) throws(SegmentationError) -> RuntimeOptions {
  var runtime = RuntimeOptions()
  for (key, value) in pairs {
    switch key {
    case "threads": runtime.threads = try number(key, value, 1...1024)
    case "memory_limit":
      guard let limit = ByteCount(value) else {
        throw SegmentationError(.usage("memory_limit is '\(value)', not a size such as 48M"))
      }
      runtime.memoryLimit = limit.value
    case "time_limit": runtime.timeLimit = Double(try number(key, value, 1...1 << 40))
    case "keep_weights": runtime.keepsWeights = try flag(key, value)
    case "copy_model": runtime.copiesModel = try flag(key, value)
    case "verify_weights": runtime.verifiesWeights = try flag(key, value)
    case "lift_ceilings": runtime.liftsCeilings = try flag(key, value)
    case "cpu_path": runtime.cpuPath = value
    default:
      throw SegmentationError(
        .usage(
          "a model has no option '\(key)'; options: threads, memory_limit, time_limit, keep_weights, "
            + "copy_model, verify_weights, lift_ceilings, cpu_path"))
    }
  }
  return runtime
}

extension Trident {
  /// - Errors: `.usage`.
  func request(_ pointer: UnsafePointer<trident_request>?) throws(SegmentationError) -> Request {
    guard let pointer else { throw SegmentationError(.usage("the request is NULL")) }
    guard pointer.pointee.size == MemoryLayout<trident_request>.size else {
      throw SegmentationError(.usage(wrongSize("trident_request", pointer.pointee.size)))
    }
    let from = pointer.pointee
    var options = defaultOptions
    var (background, negatives, templates) = (false, [String](), String?.none)
    var given: Set<String> = []
    for (key, value) in try pairs(from.options, from.option_count) {
      given.insert(key)
      switch key {
      case "background": background = try flag(key, value)
      case "negative": negatives = value.split(separator: ";").map(String.init)
      case "templates": templates = value
      default: try options.set(key, value)
      }
    }
    try options.check(given: given)
    let words = try words(from, background: background, negatives: negatives, templates: templates)
    return Request(try photo(from), words, options)
  }

  private func photo(_ from: trident_request) throws(SegmentationError) -> Photo {
    if let path = from.path {
      guard from.rgb == nil else { throw SegmentationError(.usage("the photo is a path and pixels, too")) }
      return .file(try text(path, "path"))
    }
    guard let rgb = from.rgb else { throw SegmentationError(.usage("no photo: give path or rgb")) }
    let stride = from.stride == 0 ? 3 * Int(from.width) : from.stride
    return .pixels(rgb, width: Int(from.width), height: Int(from.height), stride: stride)
  }

  private func words(
    _ from: trident_request, background: Bool, negatives: [String], templates: String?
  ) throws(SegmentationError) -> Words {
    if let vocabulary = from.vocabulary {
      guard templates == nil else {
        throw SegmentationError(
          .usage("a vocabulary was encoded with templates of its own; leave out templates"))
      }
      guard from.class_count == 0 && !background && negatives.isEmpty else {
        throw SegmentationError(.usage("a vocabulary brings its own classes; leave out the others"))
      }
      return .vocabulary(try text(vocabulary, "vocabulary"))
    }
    guard let classes = from.classes, from.class_count > 0 else {
      throw SegmentationError(.usage("no classes: give classes or vocabulary"))
    }
    var names: [String] = []
    for index in 0..<from.class_count { names.append(try text(classes[index], "class \(index)")) }
    return .classes(names, background: background, negatives: negatives, templates: templates)
  }
}

private func wrongSize(_ type: String, _ size: Int) -> String {
  "\(type).size is \(size); set it to sizeof(\(type)), with the header of this library's version"
}

/// Callbacks as the library calls them.
///
/// - Errors: `.usage`.
func receiver(_ pointer: UnsafePointer<trident_sinks>?) throws(SegmentationError) -> Trident.Receiver {
  guard let pointer else { throw SegmentationError(.usage("the sinks are NULL")) }
  guard pointer.pointee.size == MemoryLayout<trident_sinks>.size else {
    throw SegmentationError(.usage(wrongSize("trident_sinks", pointer.pointee.size)))
  }
  let sinks = pointer.pointee
  guard let row = sinks.row else { throw SegmentationError(.usage("trident_sinks.row is NULL")) }
  let context = sinks.context
  var receiver = Trident.Receiver { row(context, Int32($0), $1, $2) == 0 }
  receiver.wantsConfidence = sinks.wants_confidence != 0
  if let begin = sinks.begin {
    receiver.begin = { outline in
      withCStrings(outline.titles) { titles in
        begin(context, Int32(outline.width), Int32(outline.height), titles, outline.titles.count) == 0
      }
    }
  }
  if let scores = sinks.scores {
    receiver.scores = { row in
      if let base = row.baseAddress { return scores(context, base, row.count) == 0 }
      return true
    }
  }
  if let progress = sinks.progress {
    receiver.progress = { stage, fraction in stage.withCString { progress(context, $0, fraction) == 0 } }
  }
  return receiver
}

/// Lends strings as C has them.
private func withCStrings<Result>(
  _ strings: [String], _ body: (UnsafePointer<UnsafePointer<CChar>?>) -> Result
) -> Result {
  let copies = strings.map { UnsafePointer(strdup($0)) }
  defer { for copy in copies { free(UnsafeMutablePointer(mutating: copy)) } }
  return copies.withUnsafeBufferPointer { body($0.baseAddress!) }
}
