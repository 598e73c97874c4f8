// swift-tools-version:6.0
// Trident for small boards: open-vocabulary segmentation in a small, planned amount of memory.
import PackageDescription

let package = Package(
  name: "trident",
  products: [
    .library(name: "Segmentation", targets: ["Segmentation"]),
    // libtridentc.so, which is installed as libtrident.so: a product of that name is there already.
    .library(name: "tridentc", type: .dynamic, targets: ["CLibrary"]),
    .executable(name: "trident", targets: ["trident"]),
    .executable(name: "trident-quantize", targets: ["trident-quantize"]),
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", exact: "1.8.2")
  ],
  targets: [
    .systemLibrary(name: "CPNG", pkgConfig: "libpng", providers: [.apt(["libpng-dev"])]),
    .systemLibrary(name: "CJPEG", pkgConfig: "libjpeg", providers: [.apt(["libjpeg-dev"])]),
    .systemLibrary(name: "CZlib", pkgConfig: "zlib", providers: [.apt(["zlib1g-dev"])]),
    .target(name: "CKernels"),
    .target(name: "CServe", exclude: ["page.html"]),
    .target(name: "CSystem"),
    .target(name: "System", dependencies: ["CSystem", "CZlib"]),
    .target(name: "CRaster", dependencies: ["CPNG", "CJPEG", "CSystem", "CZlib"]),
    .target(name: "Compute", dependencies: ["CKernels"]),
    .target(name: "Container", dependencies: ["System"]),
    .target(name: "Raster", dependencies: ["CRaster", "System"]),
    // One module of three layers: networks, what methods share, methods. See docs/decisions/0004-house.md.
    .target(
      name: "Segmentation", dependencies: ["Compute", "Container", "Raster", "System"], path: "Sources",
      exclude: [
        "Application", "CJPEG", "CKernels", "CLibrary", "CPNG", "CRaster", "CServe", "CSystem", "CTrident",
        "CZlib", "Compute", "Container", "Raster", "System", "trident",
      ],
      sources: ["Networks", "Segmentation", "Methods"]),
    .target(
      name: "Application",
      dependencies: ["CServe", "Compute", "Container", "Raster", "Segmentation", "System"]),
    .target(name: "CTrident"),
    .target(
      name: "CLibrary", dependencies: ["CTrident", "Segmentation", "System"],
      linkerSettings: [
        .unsafeFlags(["-Xlinker", "-soname", "-Xlinker", "libtrident.so.0"], .when(platforms: [.linux]))
      ]),
    .target(
      name: "Quantization",
      dependencies: ["CZlib", "Compute", "Container", "Raster", "Segmentation", "System"],
      path: "Quantize/Quantization"),
    .executableTarget(
      name: "trident",
      dependencies: [
        "Application", "Compute", "Container", "Raster", "Segmentation", "System",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ]),
    .executableTarget(
      name: "trident-quantize",
      dependencies: [
        "Quantization", "Segmentation", "System",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ],
      path: "Quantize/trident-quantize"),
    .target(name: "TestSupport", dependencies: ["Compute", "System"], path: "Tests/TestSupport"),
    .testTarget(name: "KernelTests", dependencies: ["CKernels", "TestSupport"], exclude: ["arm"]),
    .testTarget(name: "ComputeTests", dependencies: ["Compute", "TestSupport"]),
    .testTarget(name: "SystemTests", dependencies: ["System", "TestSupport"]),
    .testTarget(name: "ContainerTests", dependencies: ["Container", "System", "TestSupport"]),
    .testTarget(name: "RasterTests", dependencies: ["Raster", "System", "TestSupport"]),
    .testTarget(
      name: "SegmentationTests",
      dependencies: ["CZlib", "Quantization", "Segmentation", "System", "TestSupport"]),
    .testTarget(
      name: "ApplicationTests",
      dependencies: [
        "Application", "Compute", "Container", "Raster", "Segmentation", "System", "TestSupport", "trident",
      ]),
    .testTarget(
      name: "QuantizationTests", dependencies: ["Quantization", "Segmentation", "System", "TestSupport"]),
  ]
)
