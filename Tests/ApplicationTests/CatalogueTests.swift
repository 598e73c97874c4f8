// What `trident pull` knows by name, and which model is used where none is named.
import Application
import Segmentation
import System
import TestSupport
import Testing

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

@Suite struct CatalogueTests {
  /// Names, names of files and sums are those of the script and of the page.
  @Test func sameAsTheScript() throws {
    let script = try readText(repository + "/Scripts/models.sh")
    let page = try readText(repository + "/models/README.md")
    let names = script.split(separator: "\n").first { $0.hasPrefix("# Names: ") }?.dropFirst(9).dropLast()
    #expect(Catalogue.files.map(\.name).sorted() == names?.split(separator: " ").map(String.init).sorted())
    for file in Catalogue.files {
      #expect(page.contains("| `\(file.name)` |"), "\(file.name)")
      #expect(file.address.hasPrefix("https://") && file.about > 0 && !file.licence.isEmpty)
      let stem = baseName(fileName(of: file.address)).split(separator: ".")[0]
      #expect(script.contains(stem) && script.contains(fileName(of: file.file).split(separator: ".")[0]))
      if let sum = file.sha256 { #expect(sum.count == 64 && script.contains(sum) && page.contains(sum)) }
    }
    #expect(Set(Catalogue.files.map(\.file)).count == Catalogue.files.count)
    let all = Catalogue.models.map(\.name) + Catalogue.files.map(\.name)
    #expect(Set(all).count == all.count)
  }

  @Test func theUsualModel() throws {
    let folder = Folder()
    let models = ModelFolder(path: folder.path)
    #expect(models.usual == nil && models.usualName == nil)
    try folder.write("models/one.gguf")
    try folder.write("models/two.gguf")
    for name in ["one", "two"] {
      try models.makeUsual(name)
      #expect(models.usualName == name && models.usual == folder.path + "/models/default.gguf")
    }
    // The link goes with its folder, and a model that is gone is none.
    unlink(folder.path + "/models/two.gguf")
    #expect(models.usual == nil && names(folder.path + "/models") == ["default.gguf", "one.gguf"])
    #expect(ModelFolder.resolved("a/b") == "a/b" && ModelFolder.resolved("no-such-model") == "no-such-model")
  }

  @Test func refusals() throws {
    let folder = Folder()
    func refusal(_ name: String, _ change: (inout PullJob.Request) -> Void = { _ in }) -> String {
      var request = PullJob.Request()
      request.folder = folder.path
      change(&request)
      return thrownError(SegmentationError.self) { _ = try PullJob(request).run(name) }?.description ?? ""
    }
    #expect(refusal("clip-b17").contains("there are: trident-b16, "))
    #expect(refusal("vocab") { $0.sha256 = "12" }.contains("not 64 hexadecimal digits"))
    #expect(refusal("vocab") { $0.mirror = "ftp://example.org" }.contains("begins with https://"))
    #expect(refusal("trident-b16") { $0.sha256 = String(repeating: "a", count: 64) }.contains("one file"))
    #expect(names(folder.path).isEmpty)
  }
}
