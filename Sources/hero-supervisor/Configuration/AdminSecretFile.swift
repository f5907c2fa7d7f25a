import Glibc
import SupervisorClient

/// `admin.secret` in the data directory: the key of a node that was given none, readable by its owner only (0600).
enum AdminSecretFile {
  static func path(in dataDirectory: String) -> String { "\(dataDirectory)/admin.secret" }

  /// Whether a socket lies in a directory of whoever owns the key: root's own key is not for another user's node.
  static func isOfOwner(ofSocket socket: String, in dataDirectory: String) -> Bool {
    var key = stat()
    return stat(path(in: dataDirectory), &key) == 0 && key.st_uid == SocketOwner.owner(ofDirectoryOf: socket)
  }

  /// The key of the local node, `nil` when there is none or it belongs to another user.
  static func load(from dataDirectory: String) -> Secret? {
    guard let file = try? FileBytes.read(path(in: dataDirectory), limit: 4096) else { return nil }
    let text = trimmed(String(decoding: file.bytes, as: UTF8.self))
    return text.isEmpty ? nil : Secret(text)
  }

  /// The key of this node, made at its first start.
  static func loadOrCreate(in dataDirectory: String) throws(FileBytes.Failure) -> Secret {
    let path = path(in: dataDirectory)
    let secret = try SecretFile.loadOrCreate(path, bytes: 32)
    guard !secret.isShorterThanKeys else {
      throw FileBytes.Failure(
        path: path, reason: "has fewer than \(Secret.minimumKeyBytes) bytes; remove it", code: EINVAL)
    }
    return secret
  }
}

/// A file of random bits in hexadecimal, readable by its owner only.
enum SecretFile {
  /// What the file says, made now if it is not there. It is complete on disk (fsync) under its name or not there at all.
  static func loadOrCreate(_ path: String, bytes: Int) throws(FileBytes.Failure) -> Secret {
    do throws(FileBytes.Failure) {
      let file = try FileBytes.read(path, limit: 4096)
      guard !file.isWritableByOthers else {
        throw FileBytes.Failure(
          path: path, reason: "is writable by other users (mode \(file.permissions)); remove it", code: EPERM)
      }
      let text = trimmed(String(decoding: file.bytes, as: UTF8.self))
      guard !text.isEmpty else { throw FileBytes.Failure(path: path, reason: "is empty; remove it", code: EINVAL) }
      return Secret(text)
    } catch {
      guard error.code == ENOENT else { throw error }
    }

    var random = SystemRandomNumberGenerator()
    let digits = Array("0123456789abcdef")
    let secret = String((0..<2 * bytes).map { _ in digits[Int(random.next() & 15)] })
    let draft = "\(path).new"
    unlink(draft)
    let descriptor = open(draft, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else { throw FileBytes.Failure(path: draft, reason: errorText(errno), code: errno) }
    let line = Array("\(secret)\n".utf8)
    let written = write(descriptor, line, line.count) == line.count && fsync(descriptor) == 0
    let code = errno
    close(descriptor)
    guard written, rename(draft, path) == 0 else {
      let reason = written ? errno : code
      unlink(draft)
      throw FileBytes.Failure(path: path, reason: errorText(reason), code: reason)
    }
    return Secret(secret)
  }
}
