/// Why a store cannot be opened. Each says what to do.
public enum SQLiteJobStoreError: Error, Hashable, Sendable, CustomStringConvertible {
  /// Another live process has it open; what its lock file says.
  case inUse(by: String)
  /// The file was written by a newer version.
  case newerVersion(found: Int, known: Int)
  /// The file was written by an older version, and may not be brought up to date: it is opened for reading only.
  case olderVersion(found: Int, known: Int)
  /// The file is a database of something else, or no database.
  case foreignFile
  /// The file is damaged; what SQLite found first.
  case corrupt(String)
  /// The file system or SQLite refused; the reason in words.
  case cannotOpen(String)

  public var description: String {
    switch self {
    case .inUse(let holder): "it is in use by another node (\(holder)); give this node a data directory of its own"
    case .newerVersion(let found, let known):
      "it has schema version \(found), this program knows versions up to \(known); start the newer program"
    case .olderVersion(let found, let known):
      "it has schema version \(found), this program reads version \(known); start a node on it once, which updates it"
    case .foreignFile: "the file is not a database of Hero Supervisor; name another path"
    case .corrupt(let finding):
      "the file is damaged (\(finding)); move it away together with its -wal file, and recover what is left with "
        + "`sqlite3 FILE .dump`"
    case .cannotOpen(let reason): reason
    }
  }
}
