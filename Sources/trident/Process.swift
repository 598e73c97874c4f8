// What the process does about signals: no litter, a clear last word, the right exit code.
import Raster
import Segmentation

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// Settles the heap and installs the handlers. Only async-signal-safe calls are made inside them.
func prepareProcess() {
  Heap.settle()
  signal(SIGPIPE, SIG_IGN)
  // Over a file size limit a write fails instead of ending the process, and is reported like a full disk.
  signal(SIGXFSZ, SIG_IGN)
  for number in [SIGINT, SIGTERM, SIGHUP] {
    signal(number) { number in
      AtomicFile.unlinkAllTemporaries()
      _exit(128 + number)
    }
  }
  signal(SIGBUS) { _ in
    // A mapped file lost pages under us: truncated, or the storage failed to read.
    let text: StaticString =
      "trident: error: the model file could not be read while in use (truncated, or the storage failed); run 'trident verify' on it\n"
    _ = write(STDERR_FILENO, text.utf8Start, text.utf8CodeUnitCount)
    AtomicFile.unlinkAllTemporaries()
    _exit(4)
  }
}

/// Files to work on: photos as named, and the photos directly inside folders, by name.
func photoPaths(_ arguments: [String]) -> (paths: [String], hasFolder: Bool) {
  var paths: [String] = []
  var hasFolder = false
  for argument in arguments {
    guard isFolder(argument), let names = try? Folder.names(in: argument, endings: PhotoFile.endings) else {
      paths.append(argument)
      continue
    }
    hasFolder = true
    let base = argument.hasSuffix("/") ? argument : argument + "/"
    paths.append(contentsOf: names.map { base + $0 })
  }
  return (paths, hasFolder)
}

func isFolder(_ path: String) -> Bool {
  var status = stat()
  return stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
}

func fileExists(_ path: String) -> Bool { access(path, F_OK) == 0 }

/// Bytes of a regular file; nil for anything else.
func fileSize(_ path: String) -> Int? {
  var status = stat()
  return stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFREG ? Int(status.st_size) : nil
}

/// The last component without its extension.
func baseName(_ path: String) -> String {
  let name = path.split(separator: "/").last.map(String.init) ?? path
  guard let dot = name.lastIndex(of: "."), dot != name.startIndex else { return name }
  return String(name[..<dot])
}

/// Current frequency of the first core in MHz, where the system tells.
func cpuMegahertz() -> Int? {
  guard let file = fopen("/sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq", "r") else { return nil }
  defer { fclose(file) }
  var buffer = [CChar](repeating: 0, count: 32)
  guard fgets(&buffer, 32, file) != nil else { return nil }
  return strtol(buffer, nil, 10) / 1000
}

/// Makes a folder unless it is there.
func makeFolder(_ path: String) throws {
  if isFolder(path) { return }
  guard mkdir(path, 0o777) == 0 else {
    throw SegmentationError(.output("cannot make the folder '\(path)': \(String(cString: strerror(errno)).lowercased())"))
  }
}
