import Glibc

/// How the node's open files (getrlimit(2), RLIMIT_NOFILE) are shared: what clients may take, and what is kept for jobs,
/// the store and peers, so that idle clients never make a job fail.
struct OpenFiles: Equatable {
  /// The limit.
  let limit: Int
  /// Connections of clients.
  let connections: Int
  /// What is kept for all else.
  let kept: Int

  /// What a node keeps at least, when the limit allows it: for its store, its peers, and the jobs of runners that are
  /// registered later.
  private static let leastKept = 1024
  /// A running job has up to five.
  private static let filesOfJob = 5

  /// - Parameters:
  ///   - wanted: connections that the configuration allows.
  ///   - slots: jobs that configured runners may run at a time.
  init(limit: Int, connections wanted: Int, slots: Int) {
    self.limit = limit
    // With a low limit, half of it: clients could not be served at all otherwise.
    kept = min(max(Self.leastKept, 256 + Self.filesOfJob * slots), limit / 2)
    let room = limit - kept
    // Clients that are being told that there are too many have a file as well (`HTTPServerConfiguration.maxRejections`).
    connections = min(wanted, max(1, room - min(256, room / 9 + 1)))
  }

  /// What they take together.
  private static func wanted(connections: Int, slots: Int) -> Int {
    connections + 256 + max(leastKept, 256 + filesOfJob * slots)
  }

  /// Raises the soft limit as far as it is needed and the hard limit allows, and shares it.
  static func share(connections: Int, slots: Int) -> OpenFiles {
    let wanted = wanted(connections: connections, slots: slots)
    let resource = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
    var limit = rlimit()
    guard getrlimit(resource, &limit) == 0 else {
      return OpenFiles(limit: wanted, connections: connections, slots: slots)
    }
    if limit.rlim_cur < rlim_t(wanted) {
      let before = limit.rlim_cur
      limit.rlim_cur = min(rlim_t(wanted), limit.rlim_max)
      if setrlimit(resource, &limit) != 0 { limit.rlim_cur = before }
    }
    return OpenFiles(limit: Int(min(limit.rlim_cur, rlim_t(Int32.max))), connections: connections, slots: slots)
  }
}
