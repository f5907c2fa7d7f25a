import Glibc

// Where an export goes. A file is made for its owner alone; one that is broken off is cut back to its last checkpoint and
// gone on with, so that in the end it has the same lines as if nothing had happened.

/// The file of an export, or standard output, open for writing.
struct ExportFile {
  /// `nil` for standard output.
  let path: String?
  private let descriptor: Int32

  static let standardOutput = ExportFile(path: nil, descriptor: STDOUT_FILENO)

  /// What of an export stands in a file already.
  struct Beginning {
    let header: ExportHeader
    let checkpoint: ExportCheckpoint
    /// As it was after the checkpoint.
    let seal: ExportSeal
    fileprivate let byteCount: Int
    let isComplete: Bool
  }

  /// Makes a file.
  static func make(_ path: String) throws(CommandFailure) -> ExportFile {
    let descriptor = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
    if descriptor < 0 && errno == EEXIST {
      throw CommandFailure(
        message: "\(path) is there already",
        hints: ["--resume goes on with an export that was broken off; else remove it, or name another"], status: .usage)
    }
    guard descriptor >= 0 else {
      throw CommandFailure(message: "cannot make \(path): \(errorText(errno))", status: .failed)
    }
    return ExportFile(path: path, descriptor: descriptor)
  }

  /// Opens the file of an export that was broken off, or makes it if it is not there.
  /// - Parameter store: of which it must be.
  /// - Returns: with what stands in it; `nil` when that is not enough to go on with, and was cut away.
  static func resume(
    _ path: String, of store: StoreIdentity
  ) throws(CommandFailure) -> (file: ExportFile, beginning: Beginning?) {
    let descriptor = open(path, O_RDWR | O_CLOEXEC)
    if descriptor < 0 && errno == ENOENT { return (try make(path), nil) }
    guard descriptor >= 0 else {
      throw CommandFailure(message: "cannot open \(path): \(errorText(errno))", status: .failed)
    }
    let file = ExportFile(path: path, descriptor: descriptor)
    let beginning = try file.readBeginning(path)
    if let header = beginning?.header, header.store != store {
      throw CommandFailure(
        message: "cannot go on with \(path): it is an export of another store", hints: ["it was left as it is"],
        status: .failed)
    }
    guard ftruncate(descriptor, beginning?.byteCount ?? 0) == 0, lseek(descriptor, 0, SEEK_END) >= 0 else {
      throw file.failure("cut", errno)
    }
    return (file, beginning)
  }

  private func readBeginning(_ path: String) throws(CommandFailure) -> Beginning? {
    var reader = ExportReader(descriptor, named: path)
    var header: ExportHeader?
    var last: Beginning?
    do throws(ExportDamage) {
      while let line = try reader.next() {
        switch line {
        case .header(let found): header = found
        case .checkpoint(let checkpoint), .end(let checkpoint):
          last = Beginning(
            header: header!, checkpoint: checkpoint, seal: reader.seal.copy(), byteCount: reader.byteCount,
            isComplete: reader.isComplete)
        case .runner, .job: break
        }
      }
    } catch {
      switch error {
      case .brokenOff: break
      // What follows the last checkpoint is written anew, whatever has become of it.
      case .line(let number, _) where number > 1: break
      case .line, .unreadable:
        throw CommandFailure(
          message: "cannot go on with \(path): \(error)", hints: ["it was left as it is"], status: .failed)
      }
    }
    return last
  }

  func write(_ bytes: [UInt8]) throws(CommandFailure) {
    guard path != nil else { return StandardStreams.out(bytes) }
    var written = 0
    while written < bytes.count {
      let count = bytes.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress! + written, $0.count - written) }
      if count >= 0 { written += count } else if errno != EINTR { throw failure("write", errno) }
    }
  }

  /// Returns when all is on disk.
  func close() throws(CommandFailure) {
    guard path != nil else { return }
    guard fsync(descriptor) == 0 else { throw failure("write", errno) }
    Glibc.close(descriptor)
  }

  private func failure(_ verb: String, _ code: Int32) -> CommandFailure {
    CommandFailure(
      message: "cannot \(verb) \(path ?? "standard output"): \(errorText(code))",
      hints: ["when that is over, the same command with --resume goes on"], status: .failed)
  }
}
