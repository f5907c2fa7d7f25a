import EventLoop
import Glibc
import Testing

@Suite("A unix socket", .timeLimit(.minutes(5)))
struct LocalSocketTests {
  /// Calls `body` with a directory that is removed afterwards.
  private func withDirectory(
    _ body: @escaping @Sendable (EventLoop, String) async throws -> Void
  ) async throws {
    try await withLoop { loop in
      var template = Array("/tmp/hero-socket-XXXXXX".utf8CString)
      try #require(mkdtemp(&template) != nil)
      let directory = String(decoding: template.dropLast().map(UInt8.init(bitPattern:)), as: UTF8.self)
      defer { Self.remove(directory) }
      try await body(loop, directory)
    }
  }

  /// A tree of directories and sockets.
  private static func remove(_ path: String) {
    if let directory = opendir(path) {
      while let entry = readdir(directory) {
        let name = withUnsafeBytes(of: &entry.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
        if name != "." && name != ".." { remove("\(path)/\(name)") }
      }
      closedir(directory)
    }
    Glibc.remove(path)
  }

  private func mode(_ path: String) -> mode_t? {
    var status = stat()
    return lstat(path, &status) == 0 ? status.st_mode : nil
  }

  /// What comes back from an echo over the socket at `path`.
  private func echo(_ path: String, on loop: EventLoop) async throws -> String {
    var server: LocalStream?
    let listener = try LocalListener.listen(on: loop, path: path) { stream in
      server = stream
      stream.startReading { event in
        switch event {
        case .bytes(let bytes): stream.write(Array(bytes))
        default: stream.close()
        }
      }
    }
    #expect(mode(path) == S_IFSOCK | 0o600 || path.utf8.count > 4000)
    let client = try await LocalStream.connect(to: path, on: loop)
    let inbox = Inbox(client)
    client.write(Array("hello".utf8))
    try await client.shutdownWrite()
    let text = try await inbox.whole()
    #expect(client.peerUID == geteuid() && server?.peerUID == geteuid())
    client.close()
    listener.close()
    #expect(mode(path) == nil, "the file is left")
    return text
  }

  @Test("carries bytes both ways, and tells who is at the other end")
  func carries() async throws {
    try await withDirectory { loop, directory in
      let text = try await echo("\(directory)/s", on: loop)
      #expect(text == "hello")
    }
  }

  @Test("may have a path of any length", arguments: [107, 108, 109, 250, 1000, 3000])
  func long(bytes: Int) async throws {
    try await withDirectory { loop, directory in
      var path = directory
      while path.utf8.count < bytes - 10 {
        path += "/" + String(repeating: "d", count: min(200, bytes - 9 - path.utf8.count))
        try #require(mkdir(path, 0o700) == 0)
      }
      path += "/" + String(repeating: "s", count: bytes - path.utf8.count - 1)
      try #require(path.utf8.count == bytes)
      #expect(try await echo(path, on: loop) == "hello")
    }
  }

  @Test("whose name alone is too long is refused")
  func tooLong() async throws {
    try await withDirectory { loop, directory in
      let path = "\(directory)/" + String(repeating: "s", count: 200)
      #expect(throws: UVError.self) { try LocalListener.listen(on: loop, path: path) { $0.close() } }
      await #expect(throws: UVError.self) { try await LocalStream.connect(to: path, on: loop) }
    }
  }

  @Test("that a killed process left is replaced")
  func stale() async throws {
    try await withDirectory { loop, directory in
      let path = "\(directory)/s"
      try leaveStale(path)
      await #expect(throws: UVError(code: UVError.connectionRefused, operation: "connect to \(path)")) {
        try await LocalStream.connect(to: path, on: loop)
      }
      #expect(try await echo(path, on: loop) == "hello")
    }
  }

  /// The file of a listener that did not come to close it.
  private func leaveStale(_ path: String) throws {
    let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
    let code = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
      }
    }
    try #require(code == 0)
    close(descriptor)
  }

  @Test("at which somebody listens is left to them")
  func taken() async throws {
    try await withDirectory { loop, directory in
      let path = "\(directory)/s"
      let first = try LocalListener.listen(on: loop, path: path) { $0.close() }
      #expect(throws: UVError(code: UVError.addressInUse, operation: "listen at \(path)")) {
        try LocalListener.listen(on: loop, path: path) { $0.close() }
      }
      let client = try await LocalStream.connect(to: path, on: loop)
      client.close()
      first.close()
    }
  }

  @Test("takes the name of no other file, and removes none that took its own")
  func otherFiles() async throws {
    try await withDirectory { loop, directory in
      let path = "\(directory)/s"
      close(open(path, O_WRONLY | O_CREAT, 0o644))
      #expect(throws: UVError(code: UVError.notSocket, operation: "listen at \(path)")) {
        try LocalListener.listen(on: loop, path: path) { $0.close() }
      }
      #expect(mode(path) == S_IFREG | 0o644)
      unlink(path)
      let listener = try LocalListener.listen(on: loop, path: path) { $0.close() }
      unlink(path)
      close(open(path, O_WRONLY | O_CREAT, 0o644))
      listener.close()
      #expect(mode(path) == S_IFREG | 0o644)
    }
  }

  @Test("ends a wait for room in the backlog when its task is cancelled")
  func cancelled() async throws {
    try await withDirectory { loop, directory in
      let path = "\(directory)/s"
      let listener = try LocalListener.listen(on: loop, path: path, backlog: 0) { $0.close() }
      listener.pause()
      let first = try await LocalStream.connect(to: path, on: loop)
      let second = Task(executorPreference: loop) {
        do {
          try await LocalStream.connect(to: path, on: loop).close()
          return false
        } catch {
          return (error as? UVError)?.code == UVError.cancelled
        }
      }
      try await loop.sleep(for: .milliseconds(30))
      second.cancel()
      #expect(await second.value)
      first.close()
      listener.close()
    }
  }
}
