// swift-tools-version:6.0
// Fuzzers of every parser and of whole runs. The code under test is compiled here a second time,
// instrumented, so that the main package needs no sanitizer: Sources, Quantize and the toys are links into
// it.
import PackageDescription

let package = Package(
  name: "fuzz",
  targets: [
    .systemLibrary(name: "CPNG", path: "Sources/CPNG", pkgConfig: "libpng"),
    .systemLibrary(name: "CJPEG", path: "Sources/CJPEG", pkgConfig: "libjpeg"),
    .systemLibrary(name: "CZlib", path: "Sources/CZlib", pkgConfig: "zlib"),
    .target(name: "CKernels", path: "Sources/CKernels"),
    .target(name: "CSystem", path: "Sources/CSystem"),
    .target(name: "System", dependencies: ["CSystem", "CZlib"], path: "Sources/System"),
    .target(name: "CRaster", dependencies: ["CPNG", "CJPEG", "CSystem", "CZlib"], path: "Sources/CRaster"),
    .target(name: "Compute", dependencies: ["CKernels"], path: "Sources/Compute"),
    .target(name: "Container", dependencies: ["System"], path: "Sources/Container"),
    .target(name: "Raster", dependencies: ["CRaster", "System"], path: "Sources/Raster"),
    .target(
      name: "Segmentation", dependencies: ["Compute", "Container", "Raster", "System"], path: "Sources",
      exclude: [
        "Application", "CJPEG", "CKernels", "CLibrary", "CPNG", "CRaster", "CServe", "CSystem", "CTrident",
        "CZlib", "Compute", "Container", "Raster", "System", "trident",
      ],
      sources: ["Networks", "Segmentation", "Methods"]),
    .target(
      name: "Quantization",
      dependencies: ["CZlib", "Compute", "Container", "Raster", "Segmentation", "System"],
      path: "Quantize/Quantization"),
    .target(name: "Toys", path: "Toys"),
    .target(name: "CFuzzer", path: "CFuzzer"),
    .executableTarget(
      name: "fuzz",
      dependencies: [
        "CFuzzer", "Compute", "Container", "Quantization", "Raster", "Segmentation", "System", "Toys",
      ],
      path: "Entries"),
  ]
)
