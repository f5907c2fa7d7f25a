import Glibc

/// What a node prepares once for all jobs of a sandboxed executor: which files are in the sandbox, and the filter of its
/// system calls. `Sources/CLauncher/sandbox.c` builds it anew for each job.
struct Sandbox: Sendable {
  let settings: SandboxSettings
  /// Paths that are there as outside, read-only.
  let readablePaths: [String]
  private let filter: [UInt8]

  /// Programs, libraries, and of `/etc` what programs look up there. Of the machine's settings nothing else is needed, and
  /// much of it is secret.
  static let systemPaths =
    ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"]
    + [
      "alternatives", "bash.bashrc", "ca-certificates", "ca-certificates.conf", "crypto-policies", "debian_version",
      "fonts",
      "gai.conf", "group", "host.conf", "hosts", "inputrc", "java", "ld.so.cache", "ld.so.conf", "ld.so.conf.d",
      "locale.alias", "locale.conf", "localtime", "magic", "mime.types", "networks", "nsswitch.conf", "os-release",
      "passwd",
      "perl", "pki/ca-trust/extracted", "pki/tls/certs", "profile", "profile.d", "protocols", "python3", "resolv.conf",
      "rpc", "services", "ssl/certs", "ssl/openssl.cnf", "terminfo", "timezone",
    ].map { "/etc/\($0)" }

  private static let devices = ["null", "zero", "full", "random", "urandom"].map { "/dev/\($0)" }

  /// Places that the sandbox fills itself.
  private static let ownPlaces = ["/", "/dev", "/proc", "/tmp"]

  /// - Parameter privatePaths: what no job may see, such as the node's data directory: absolute.
  init(
    _ settings: SandboxSettings, hiding privatePaths: [String], for executor: ExecutorName
  ) throws(InvalidExecutor) {
    func refusal(_ reason: String) -> InvalidExecutor {
      InvalidExecutor(executor: executor, reason: "sandbox: \(reason)")
    }
    for path in settings.readablePaths {
      guard let real = Self.realPath(path) else {
        throw refusal("cannot let jobs read \(path): \(String(cString: strerror(errno)))")
      }
      for place in Self.ownPlaces where [path, real].contains(where: { Self.path($0, isIn: place, orIs: true) }) {
        throw refusal("cannot let jobs read \(path): a sandbox has its own \(place)")
      }
    }
    // What is there already needs no second mount.
    let further = settings.readablePaths.filter { path in
      !Self.systemPaths.contains { Self.path(path, isIn: $0, orIs: true) }
    }
    readablePaths = Self.systemPaths.filter { access($0, F_OK) == 0 } + further
    // A file that is not there yet has no real path, so both forms count.
    let visible = readablePaths.map { path in (path: path, forms: Set([path, Self.realPath(path) ?? path])) }
    for secret in privatePaths {
      let forms = Set([secret, Self.realPath(secret) ?? secret])
      for (path, places) in visible {
        let isSeen = forms.contains { form in
          places.contains { Self.path(form, isIn: $0, orIs: true) || Self.path($0, isIn: form, orIs: true) }
        }
        guard isSeen else { continue }
        throw refusal("jobs would see \(secret), which is the node's alone, since they may read \(path)")
      }
    }
    self.settings = settings
    do { filter = try SystemCallFilter.compiled() } catch { throw refusal("\(error)") }
  }

  /// What the launcher is to build for one job.
  /// - Parameter payloadFile: outside the job's directory.
  func order(payloadFile: String?) -> LaunchOrder.Sandbox {
    let mounts =
      ["t/tmp", "t/dev/shm"] + readablePaths.map { "r\($0)" } + Self.devices.map { "d\($0)" } + ["p/proc"]
      + (payloadFile.map { ["r\($0)"] } ?? [])
    return LaunchOrder.Sandbox(
      mounts: mounts, filter: filter, hasNetwork: settings.hasNetwork, hasUserNamespace: geteuid() != 0,
      memoryBytes: settings.memoryBytes)
  }

  private static func path(_ path: String, isIn directory: String, orIs isEqual: Bool) -> Bool {
    if path == directory { return isEqual }
    return directory != "/" && path.utf8.starts(with: "\(directory)/".utf8)
  }

  private static func realPath(_ path: String) -> String? {
    guard let resolved = realpath(path, nil) else { return nil }
    defer { free(resolved) }
    return String(cString: resolved)
  }
}
