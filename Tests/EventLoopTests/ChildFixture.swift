import EventLoop
import Glibc

// What the tests of children share: shell scripts, a run from start to end, and directories that go away.

/// Swift Testing has an `ExitStatus` too; this file does not import it.
typealias ChildEnd = ExitStatus

extension ChildProcess.Options {
  static func shell(
    _ script: String, stdin: ChildProcess.Stream = .null, stdout: ChildProcess.Stream = .null,
    stderr: ChildProcess.Stream = .null, newSession: Bool = false
  ) -> Self {
    .init(
      executable: "/bin/sh", arguments: ["-c", script], environment: ["PATH=/usr/bin:/bin"], stdin: stdin,
      stdout: stdout, stderr: stderr, newSession: newSession)
  }
}

extension ChildProcess {
  /// Closes its handle and its pipes.
  func closeAll() {
    for stream in [stdin, stdout, stderr] { stream?.close() }
    close()
  }
}

/// Runs a program to its end, and answers what it wrote to stdout.
func run(_ options: ChildProcess.Options, on loop: EventLoop) async throws -> (status: ChildEnd, output: String) {
  var options = options
  options.stdout = .pipe
  let child = try ChildProcess.spawn(options, on: loop)
  defer { child.closeAll() }
  let output = try await Inbox(child.stdout!).whole()
  return (await child.exit(), output)
}

/// A directory of one test's own.
final class TestDirectory: Sendable {
  let path: String

  init() {
    var template = Array("/tmp/hero-loop-tests-XXXXXX".utf8CString)
    precondition(mkdtemp(&template) != nil, "cannot make a directory: \(errno)")
    path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  /// A link to a program. One that was just written may not start: a child that is being forked for another test
  /// may still hold the file open (execve(2), ETXTBSY).
  func addLink(_ name: String, to program: String) {
    precondition(symlink(program, "\(path)/\(name)") == 0, "cannot link \(name): \(errno)")
  }

  func addPlainFile(_ name: String) {
    let file = open("\(path)/\(name)", O_WRONLY | O_CREAT | O_CLOEXEC, 0o600)
    precondition(file >= 0, "cannot make \(name): \(errno)")
    Glibc.close(file)
  }

  deinit {
    // It has no directories of its own in it.
    if let stream = opendir(path) {
      while let entry = readdir(stream) {
        let name = withUnsafePointer(to: &entry.pointee.d_name) {
          $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
        }
        unlink("\(path)/\(name)")
      }
      closedir(stream)
    }
    rmdir(path)
  }
}
