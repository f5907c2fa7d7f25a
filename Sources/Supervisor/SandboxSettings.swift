/// The walls around the jobs of an executor, as the configuration names them: processes, files, IPC and network of their
/// own, and a filter of system calls.
public struct SandboxSettings: Hashable, Sendable {
  /// Whether its jobs are in the node's network; a job is alone in a network of its own otherwise.
  public var hasNetwork: Bool
  /// Absolute paths that its jobs may read beside the system's.
  public var readablePaths: [String]
  /// How much the files in `/tmp` and `/dev/shm` of a job may hold together, bytes.
  public var memoryBytes: Int

  public static let defaultMemoryBytes = 256 << 20

  public init(
    hasNetwork: Bool = false, readablePaths: [String] = [], memoryBytes: Int = SandboxSettings.defaultMemoryBytes
  ) {
    self.hasNetwork = hasNetwork
    self.readablePaths = readablePaths
    self.memoryBytes = memoryBytes
  }
}
