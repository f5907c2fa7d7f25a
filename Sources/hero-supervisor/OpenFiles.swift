import Glibc

/// The node's limit of open files (getrlimit(2), RLIMIT_NOFILE). Each connection takes one, each running job up to five.
enum OpenFiles {
  private static var besideConnections: rlim_t { 1024 }

  /// Raises the soft limit as far as the connections need it and the hard limit allows.
  /// - Returns: the limit, when it is too low for that many connections; `nil` when it will do.
  static func allow(connections: Int) -> rlim_t? {
    let wanted = rlim_t(connections) + besideConnections
    let resource = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
    var limit = rlimit()
    guard getrlimit(resource, &limit) == 0, limit.rlim_cur < wanted else { return nil }
    limit.rlim_cur = min(wanted, limit.rlim_max)
    guard setrlimit(resource, &limit) == 0, limit.rlim_cur < wanted else { return nil }
    return limit.rlim_cur
  }
}
