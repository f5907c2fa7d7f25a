import Glibc

/// A whole file as bytes, and who may read it; Glibc only, since Foundation would cost start-up time and memory.
struct FileBytes {
  var bytes: [UInt8]
  /// `st_mode` of the file.
  var mode: mode_t

  /// Whether users other than the owner may read it.
  var isReadableByOthers: Bool { lets(mode_t(S_IRGRP | S_IROTH)) }

  /// Whether users other than the owner may write it.
  var isWritableByOthers: Bool { lets(mode_t(S_IWGRP | S_IWOTH)) }

  /// The permissions as chmod(1) takes them.
  var permissions: String { String(mode & 0o777, radix: 8) }

  /// A pipe or a device says nothing by its mode.
  private func lets(_ bits: mode_t) -> Bool { mode & bits != 0 && mode & mode_t(S_IFMT) == mode_t(S_IFREG) }

  /// What an operator should change about a secret's file, if others may read it.
  func exposure(at path: String) -> String? {
    guard isReadableByOthers else { return nil }
    let mode = String(mode & 0o777, radix: 8)
    return "\(path) is readable by other users (mode \(mode)); do `chmod 600 \(path)`"
  }

  /// Why a file cannot be read; `reason` is strerror(3)'s text or a sentence of ours.
  struct Failure: Error, Equatable {
    let path: String
    let reason: String
    let code: Int32
  }

  /// Reads a file to its end.
  /// - Parameter limit: the most bytes it may hold.
  static func read(_ path: String, limit: Int = 64 << 20) throws(Failure) -> FileBytes {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw Failure(path: path, reason: errorText(errno), code: errno) }
    defer { close(descriptor) }
    var status = stat()
    guard fstat(descriptor, &status) == 0 else { throw Failure(path: path, reason: errorText(errno), code: errno) }
    return FileBytes(bytes: try readAll(descriptor, named: path, limit: limit), mode: status.st_mode)
  }

  /// Reads a descriptor (standard input) to its end.
  static func readAll(_ descriptor: Int32, named path: String, limit: Int = 64 << 20) throws(Failure) -> [UInt8] {
    var bytes: [UInt8] = []
    while true {
      var count = 0
      let chunk = [UInt8](unsafeUninitializedCapacity: 1 << 16) { buffer, initialized in
        repeat { count = Glibc.read(descriptor, buffer.baseAddress, buffer.count) } while count < 0 && errno == EINTR
        initialized = max(count, 0)
      }
      if count < 0 { throw Failure(path: path, reason: errorText(errno), code: errno) }
      if count == 0 { return bytes }
      bytes += chunk
      if bytes.count > limit { throw Failure(path: path, reason: "is larger than \(limit) bytes", code: EFBIG) }
    }
  }
}

/// strerror(3) with a small first letter, to stand after a colon.
func errorText(_ code: Int32) -> String {
  let text = String(cString: strerror(code))
  return text.prefix(1).lowercased() + text.dropFirst()
}
