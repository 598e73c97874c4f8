// swift-tools-version:6.0
// Trident for small boards: open-vocabulary segmentation in a small, planned amount of memory.
import PackageDescription

let package = Package(
  name: "trident",
  products: [
    .library(name: "Segmentation", targets: ["Segmentation"]),
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
    .target(name: "CRaster", dependencies: ["CPNG", "CJPEG"]),
    .target(name: "Compute", dependencies: ["CKernels"]),
    .target(name: "Container"),
    .target(name: "Raster", dependencies: ["CRaster"]),
    .target(name: "Segmentation", dependencies: ["Compute", "Container", "Raster"]),
    .target(name: "Evaluation", dependencies: ["Container", "Raster", "Segmentation"]),
    .target(
      name: "Quantization", dependencies: ["CZlib", "Compute", "Container", "Segmentation"],
      path: "Quantize/Quantization"),
    .executableTarget(
      name: "trident",
      dependencies: [
        "Compute", "Container", "Evaluation", "Raster", "Segmentation",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ]),
    .executableTarget(
      name: "trident-quantize",
      dependencies: [
        "Container", "Quantization", "Raster", "Segmentation", .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ],
      path: "Quantize/trident-quantize"),
    .target(name: "TestSupport", dependencies: ["Compute"], path: "Tests/TestSupport"),
    .testTarget(name: "KernelTests", dependencies: ["CKernels", "TestSupport"], exclude: ["arm"]),
    .testTarget(name: "ComputeTests", dependencies: ["Compute", "TestSupport"]),
    .testTarget(name: "ContainerTests", dependencies: ["Container", "TestSupport"]),
    .testTarget(name: "RasterTests", dependencies: ["Raster", "TestSupport"]),
    .testTarget(name: "SegmentationTests", dependencies: ["CZlib", "Quantization", "Segmentation", "TestSupport"]),
    .testTarget(
      name: "EvaluationTests", dependencies: ["Compute", "Evaluation", "Raster", "Segmentation", "TestSupport"]),
    .testTarget(name: "QuantizationTests", dependencies: ["Quantization", "Segmentation", "TestSupport"]),
  ]
)
