import Glibc
import Supervisor

/// `instance` in the data directory: who a node is to a store that it shares with others. What the store knows under this
/// identity, and is not this process, is a former life of this node, since only one process has the directory at a time.
struct InstanceFile {
  let identity: String
  private let lock: FileLock

  /// Takes the directory, and reads the identity or makes one.
  init(in dataDirectory: String) throws(CommandFailure) {
    do throws(FileLock.Failure) { lock = try FileLock(path: "\(dataDirectory)/instance.lock") } catch {
      switch error {
      case .inUse(let holder):
        throw CommandFailure(
          message: "the data directory \(dataDirectory) is in use by another node (\(holder))",
          hints: ["give this node a data directory of its own with --data-dir or HERO_DATA_DIR"], status: .failed)
      case .cannotOpen(let reason): throw CommandFailure(message: "cannot open \(reason)", status: .failed)
      }
    }
    do throws(FileBytes.Failure) {
      identity = try SecretFile.loadOrCreate("\(dataDirectory)/instance", bytes: 16).reveal()
    } catch {
      lock.release()
      throw CommandFailure(message: "cannot make an identity: \(error.path): \(error.reason)", status: .failed)
    }
  }

  func release() { lock.release() }
}
