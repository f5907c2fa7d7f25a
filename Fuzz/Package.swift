// swift-tools-version: 6.2
import PackageDescription

// A package of its own: libFuzzer instruments everything it is built with (scripts/fuzz).
let package = Package(
  name: "fuzz",
  dependencies: [.package(name: "hero-supervisor", path: "..")],
  targets: [
    .executableTarget(
      name: "fuzz-decoders",
      dependencies: [
        .product(name: "Gossip", package: "hero-supervisor"), .product(name: "Cluster", package: "hero-supervisor"),
        .product(name: "Supervisor", package: "hero-supervisor"),
        .product(name: "SupervisorAPI", package: "hero-supervisor"),
      ])
  ],
  swiftLanguageModes: [.v6]
)
