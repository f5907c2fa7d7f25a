import Glibc

/// Where a node keeps its state when nobody says so. The command line looks in the same place for the local node's key.
enum DataDirectory {
  /// `HERO_DATA_DIR`; else for root `/var/lib/hero-supervisor` (hier(7)), and for others
  /// `$XDG_STATE_HOME/hero-supervisor` or `~/.local/state/hero-supervisor` (XDG Base Directory Specification).
  static func standard(environment: [String: String], isRoot: Bool = geteuid() == 0) -> String {
    if let chosen = environment["HERO_DATA_DIR"], !chosen.isEmpty { return absolute(chosen) }
    if isRoot { return "/var/lib/hero-supervisor" }
    if let state = environment["XDG_STATE_HOME"], state.hasPrefix("/") { return "\(state)/hero-supervisor" }
    if let home = environment["HOME"], home.hasPrefix("/") { return "\(home)/.local/state/hero-supervisor" }
    return "/tmp/hero-supervisor-\(getuid())"
  }

  /// Where the node listens for the command line of its machine (unix(7)).
  static func socket(in directory: String) -> String { "\(directory)/api.sock" }

  /// A path made absolute by the working directory.
  static func absolute(_ path: String) -> String { absolutePath(path, relativeTo: workingDirectory) }

  static var workingDirectory: String {
    guard let path = getcwd(nil, 0) else { return "/" }
    defer { free(path) }
    return String(cString: path)
  }

  /// Makes the directory if it is missing, and looks whose it is: who else may write it could put another store, another
  /// key, or links in the place of the node's own files.
  /// - Throws: for a directory of another user than the node's own or root, and for one that group or others may write;
  ///   the reason says what to do.
  static func prepare(_ path: String) throws(FileBytes.Failure) {
    try create(path)
    var status = stat()
    guard stat(path, &status) == 0 else { throw FileBytes.Failure(path: path, reason: errorText(errno), code: errno) }
    guard status.st_uid == geteuid() || status.st_uid == 0 else {
      throw FileBytes.Failure(
        path: path,
        reason: "belongs to uid \(status.st_uid), and not to the node's own, \(geteuid()), or root; `chown` it",
        code: EPERM)
    }
    guard status.st_mode & mode_t(S_IWGRP | S_IWOTH) == 0 else {
      throw FileBytes.Failure(
        path: path,
        reason: "may be written by group or others (mode \(String(status.st_mode & 0o7777, radix: 8))); "
          + "do `chmod go-w \(path)`", code: EPERM)
    }
  }

  /// Makes the directory and those above it that are missing, for the owner alone (0700).
  private static func create(_ path: String) throws(FileBytes.Failure) {
    var status = stat()
    if stat(path, &status) == 0 {
      guard status.st_mode & S_IFMT == S_IFDIR else {
        throw FileBytes.Failure(path: path, reason: "is not a directory", code: ENOTDIR)
      }
      return
    }
    if let slash = path.lastIndex(of: "/"), slash != path.startIndex { try create(String(path[..<slash])) }
    guard mkdir(path, 0o700) == 0 || errno == EEXIST else {
      throw FileBytes.Failure(path: path, reason: errorText(errno), code: errno)
    }
  }
}

/// The variables of this process.
func processEnvironment() -> [String: String] {
  var result: [String: String] = [:]
  var entry = environ
  while let pointer = entry.pointee {
    let text = String(cString: pointer)
    if let equals = text.firstIndex(of: "=") {
      result[String(text[..<equals])] = String(text[text.index(after: equals)...])
    }
    entry += 1
  }
  return result
}
