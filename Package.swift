// swift-tools-version: 6.2
import PackageDescription

// Every target is Swift 6 with asynchronous functions staying on their caller's executor,
// so that nothing leaves the event loop by accident (docs/architecture.md).
let swift: [SwiftSetting] = [.enableUpcomingFeature("NonisolatedNonsendingByDefault")]

let package = Package(
  name: "hero-supervisor",
  products: [
    .executable(name: "hero-supervisor", targets: ["hero-supervisor"]),
    .executable(name: "hero-launcher", targets: ["CLauncher"]),
    .library(name: "SupervisorClient", targets: ["SupervisorClient"]),
    // For the fuzzer, a package of its own (scripts/fuzz).
    .library(name: "Gossip", targets: ["Gossip"]),
    .library(name: "Cluster", targets: ["Cluster"]),
    .library(name: "Supervisor", targets: ["Supervisor"]),
    .library(name: "SupervisorAPI", targets: ["SupervisorAPI"]),
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
    .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
    .package(url: "https://github.com/apple/swift-collections", from: "1.6.0"),
    .package(url: "https://github.com/groue/GRDB.swift", from: "7.10.0"),
  ],
  targets: [
    .systemLibrary(name: "CLibUV", pkgConfig: "libuv", providers: [.apt(["libuv1-dev"])]),
    .systemLibrary(name: "CJansson", pkgConfig: "jansson", providers: [.apt(["libjansson-dev"])]),
    .systemLibrary(name: "COpenSSL", pkgConfig: "openssl", providers: [.apt(["libssl-dev"])]),
    .systemLibrary(name: "CSeccomp", pkgConfig: "libseccomp", providers: [.apt(["libseccomp-dev"])]),
    .systemLibrary(name: "CLibPQ", pkgConfig: "libpq", providers: [.apt(["libpq-dev"])]),
    .target(name: "CLLHTTP"),
    .target(name: "CDirectories"),
    // Between a node and each job's process. Static and without Swift's runtime, since it is started for each job, and
    // since nothing is to be looked up before it has given up the node's rights.
    .executableTarget(
      name: "CLauncher", cSettings: [.unsafeFlags(["-O2", "-Wall", "-Wextra"])],
      linkerSettings: [
        .unsafeFlags([
          "-static-stdlib", "-nostartfiles", "-Xclang-linker", "-static", "-Xclang-linker",
          "-Wno-unused-command-line-argument",
        ])
      ]),
    // Text compared by its bytes; everything that meets strangers' text uses it.
    .target(name: "ExactText", swiftSettings: swift),

    .target(
      name: "EventLoop", dependencies: ["CLibUV", .product(name: "DequeModule", package: "swift-collections")],
      swiftSettings: swift),
    .target(name: "JSONRPC", dependencies: ["CJansson", "ExactText"], swiftSettings: swift),
    .target(name: "TLS", dependencies: ["COpenSSL", "EventLoop"], swiftSettings: swift),
    // The protocol as values without socket, clock or task, and a thin shell that has them.
    .target(
      name: "Gossip",
      dependencies: [
        "COpenSSL", "EventLoop", "ExactText", .product(name: "HeapModule", package: "swift-collections"),
        .product(name: "HashTreeCollections", package: "swift-collections"),
      ], swiftSettings: swift),
    .target(
      name: "Cluster",
      dependencies: [
        "COpenSSL", "EventLoop", "ExactText", "Gossip", "TLS", .product(name: "Logging", package: "swift-log"),
      ], swiftSettings: swift),
    .target(
      name: "HTTPServer",
      dependencies: ["EventLoop", "ExactText", "CLLHTTP", "TLS", .product(name: "Logging", package: "swift-log")],
      swiftSettings: swift),
    .target(
      name: "Supervisor",
      dependencies: [
        "CDirectories", "CSeccomp", "Cluster", "EventLoop", "ExactText", "Gossip",
        .product(name: "Logging", package: "swift-log"), .product(name: "DequeModule", package: "swift-collections"),
      ], swiftSettings: swift),
    .target(
      name: "SQLiteJobStore",
      dependencies: [
        "EventLoop", "ExactText", "JSONRPC", "Supervisor", .product(name: "GRDB", package: "GRDB.swift"),
        .product(name: "Logging", package: "swift-log"), .product(name: "DequeModule", package: "swift-collections"),
      ], swiftSettings: swift),
    .target(
      name: "PostgresJobStore",
      dependencies: [
        "CLibPQ", "EventLoop", "ExactText", "JSONRPC", "Supervisor", .product(name: "Logging", package: "swift-log"),
        .product(name: "DequeModule", package: "swift-collections"),
      ], swiftSettings: swift),
    .target(
      name: "SupervisorAPI",
      dependencies: [
        "Cluster", "Supervisor", "Gossip", "JSONRPC", "HTTPServer", "TLS", "COpenSSL", "EventLoop", "ExactText",
        .product(name: "Logging", package: "swift-log"),
      ],
      // A link to the file at the top; the binary carries it.
      resources: [.embedInCode("openrpc.json")], swiftSettings: swift),
    .target(name: "SupervisorClient", dependencies: ["EventLoop", "CLLHTTP", "JSONRPC", "TLS"], swiftSettings: swift),
    .executableTarget(
      name: "hero-supervisor",
      dependencies: [
        "COpenSSL", "Cluster", "EventLoop", "ExactText", "Gossip", "HTTPServer", "JSONRPC", "PostgresJobStore",
        "Supervisor", "SQLiteJobStore", "SupervisorAPI", "SupervisorClient", "TLS",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
        .product(name: "Logging", package: "swift-log"),
      ], swiftSettings: swift),

    .testTarget(name: "ExactTextTests", dependencies: ["ExactText"], swiftSettings: swift),
    .testTarget(name: "EventLoopTests", dependencies: ["EventLoop"], swiftSettings: swift),
    // Clusters in virtual time, for the tests and for the table in docs/gossip.md.
    .target(
      name: "GossipSimulator", dependencies: ["Gossip", .product(name: "HeapModule", package: "swift-collections")],
      path: "Tests/GossipSimulator", swiftSettings: swift),
    .executableTarget(
      name: "gossip-simulator", dependencies: ["Gossip", "GossipSimulator"], path: "Benchmarks/gossip-simulator",
      swiftSettings: swift),
    .testTarget(name: "ClusterTests", dependencies: ["Cluster", "TLS", "TLSFixtures"], swiftSettings: swift),
    .testTarget(name: "GossipTests", dependencies: ["Gossip", "GossipSimulator", "EventLoop"], swiftSettings: swift),
    .testTarget(
      name: "JSONRPCTests", dependencies: ["JSONRPC"], resources: [.copy("Fixtures")], swiftSettings: swift),
    .testTarget(name: "TLSTests", dependencies: ["TLS", "EventLoop", "TLSFixtures"], swiftSettings: swift),
    // Certificates for tests, and openssl(1) to look at connections from outside.
    .target(name: "TLSFixtures", dependencies: ["CLibUV", "TLS"], path: "Tests/TLSFixtures", swiftSettings: swift),
    .testTarget(
      name: "HTTPServerTests", dependencies: ["HTTPServer", "EventLoop", "TLS", "TLSFixtures"], swiftSettings: swift),
    .testTarget(
      name: "SupervisorTests",
      dependencies: ["Supervisor", "Gossip", "EventLoop", .product(name: "Logging", package: "swift-log")],
      swiftSettings: swift),
    // What every store must do, for the tests of each.
    .target(
      name: "JobStoreConformance", dependencies: ["Supervisor", "EventLoop"], path: "Tests/JobStoreConformance",
      swiftSettings: swift),
    // A real server of the tests' own.
    .target(name: "PostgresServer", path: "Tests/PostgresServer", swiftSettings: swift),
    .testTarget(
      name: "PostgresJobStoreTests",
      dependencies: ["PostgresJobStore", "JobStoreConformance", "PostgresServer", "Supervisor", "Gossip", "EventLoop"],
      swiftSettings: swift),
    .testTarget(
      name: "SQLiteJobStoreTests",
      dependencies: [
        "SQLiteJobStore", "JobStoreConformance", "Supervisor", "Gossip", "EventLoop",
        .product(name: "GRDB", package: "GRDB.swift"),
      ],
      swiftSettings: swift),
    .testTarget(
      name: "SupervisorAPITests",
      dependencies: [
        "COpenSSL", "SupervisorAPI", "SupervisorClient", "SQLiteJobStore",
        .product(name: "GRDB", package: "GRDB.swift"),
      ],
      resources: [.copy("Fixtures")], swiftSettings: swift),
    .testTarget(
      name: "SupervisorClientTests", dependencies: ["SupervisorClient", "HTTPServer", "TLS", "TLSFixtures"],
      swiftSettings: swift),
    .testTarget(
      name: "HeroSupervisorTests",
      dependencies: [
        "hero-supervisor", "JobStoreConformance", "PostgresJobStore", "PostgresServer", "SQLiteJobStore",
        "SupervisorClient", "TLSFixtures",
      ],
      swiftSettings: swift),
  ],
  swiftLanguageModes: [.v6]
)
