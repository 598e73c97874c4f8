// Libraries that only some jobs need. They are opened when such a job asks for them, and never linked: a
// linked library costs every run its pages, its start and a package that must be there.

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// A shared library that may be missing.
package struct OptionalLibrary: Sendable {
  /// As people call it: `libwebp`.
  package let name: String
  /// Names of the file, the newest first; the number is the version of its binary interface.
  package let files: [String]
  /// Debian's package.
  package let package: String
  /// What it is for, as `trident version -v` says it.
  package let purpose: String

  package init(name: String, files: [String], package: String, purpose: String) {
    (self.name, self.files, self.package, self.purpose) = (name, files, package, purpose)
  }

  /// Opens the library; it stays open until the process ends, as it may own threads and memory.
  ///
  /// - Errors: `.unsupported`, with the package to install.
  package func open() throws(SystemError) -> OpenLibrary {
    var why = "not found"
    for file in files {
      if let handle = dlopen(file, RTLD_NOW | RTLD_LOCAL) {
        return OpenLibrary(library: self, file: file, handle: handle)
      }
      why = dlerror().map { String(cString: $0) } ?? why
    }
    throw SystemError(
      .unsupported("\(purpose) needs \(name) (\(why)); on Debian: apt install \(package)"))
  }
}

extension OptionalLibrary {
  /// Every library that some job opens; `trident version -v` lists them. A new one is a line here.
  package static let all = [openBLAS, webP, tiff, curl, mosquitto, microhttpd]

  /// `Compute` opens it itself, as it stands on kernels alone; here it is named.
  package static let openBLAS = OptionalLibrary(
    name: "OpenBLAS", files: ["libopenblas.so.0", "libopenblas.so"], package: "libopenblas0-pthread",
    purpose: "--precision float32")
  package static let webP = OptionalLibrary(
    name: "libwebp", files: ["libwebp.so.7"], package: "libwebp7", purpose: "WebP in")
  package static let tiff = OptionalLibrary(
    name: "libtiff", files: ["libtiff.so.6", "libtiff.so.5"], package: "libtiff6", purpose: "TIFF in")
  package static let curl = OptionalLibrary(
    name: "libcurl", files: ["libcurl.so.4", "libcurl-gnutls.so.4"],
    package: "libcurl4t64 (Debian 12: libcurl4)", purpose: "trident pull")
  package static let mosquitto = OptionalLibrary(
    name: "libmosquitto", files: ["libmosquitto.so.1"], package: "libmosquitto1",
    purpose: "trident watch --mqtt")
  package static let microhttpd = OptionalLibrary(
    name: "libmicrohttpd", files: ["libmicrohttpd.so.12"],
    package: "libmicrohttpd12t64 (Debian 12: libmicrohttpd12)", purpose: "trident serve")
}

/// A library that is there.
package struct OpenLibrary: @unchecked Sendable {
  package let library: OptionalLibrary
  /// The name under which it was found.
  package let file: String
  private let handle: UnsafeMutableRawPointer

  fileprivate init(library: OptionalLibrary, file: String, handle: UnsafeMutableRawPointer) {
    (self.library, self.file, self.handle) = (library, file, handle)
  }

  /// A function of the library as `Function`, a C function type; the caller answers for its parameters.
  ///
  /// - Errors: `.unsupported` for a version that lacks it.
  package func function<Function>(_ name: String, as type: Function.Type = Function.self)
    throws(SystemError) -> Function
  {
    guard let symbol = dlsym(handle, name) else {
      throw SystemError(
        .unsupported("\(library.name) (\(file)) has no \(name); another version of it is needed"))
    }
    return unsafeBitCast(symbol, to: type)
  }

  /// Addresses of functions by name, nil for what this version lacks.
  package func addresses(_ names: [String]) -> [UnsafeMutableRawPointer?] {
    names.map { dlsym(handle, $0) }
  }
}
