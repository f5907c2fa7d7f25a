import Foundation

/// A client that speaks bytes, over a socket of its own: nothing of the code under test is in it. It blocks none of the
/// threads that the server's handlers need: what is not ready at once is waited for on a thread of its own.
final class RawClient {
  struct Answer: Equatable {
    var status: Int
    var headers: [String: String]
    var body: [UInt8]
    var text: String { String(decoding: body, as: UTF8.self) }
  }

  struct Failure: Error, CustomStringConvertible {
    let description: String
  }

  /// How long an answer, an end, or room for what is sent may take on a busy machine, in milliseconds.
  private static let patience: Int32 = 120_000

  private var descriptor: Int32
  private var received: [UInt8] = []

  /// Connects; on the loopback interface the kernel does that at once.
  /// - Parameter receiveBuffer: the socket's receive buffer in bytes, small to let a server meet a slow reader.
  init(port: Int, receiveBuffer: Int32? = nil) throws {
    descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    guard descriptor >= 0 else { throw Failure(description: "socket: \(errno)") }
    if var size = receiveBuffer {
      setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &size, socklen_t(MemoryLayout<Int32>.size))
    }
    var on: Int32 = 1
    setsockopt(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &on, socklen_t(MemoryLayout<Int32>.size))
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = UInt16(port).bigEndian
    address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    let outcome = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
    guard outcome == 0 else { throw Failure(description: "connect: \(errno)") }
  }

  deinit { close() }

  func close() {
    guard descriptor >= 0 else { return }
    Glibc.close(descriptor)
    descriptor = -1
  }

  /// Whether bytes, or the end, arrive soon.
  func isReadable(withinMilliseconds time: Int32) async -> Bool { await isReady(for: POLLIN, within: time) }

  /// Waits for poll(2).
  private func isReady(for events: Int32, within milliseconds: Int32 = patience) async -> Bool {
    let descriptor = descriptor
    return await withCheckedContinuation { continuation in
      Thread.detachNewThread {
        var entry = pollfd(fd: descriptor, events: Int16(events), revents: 0)
        var count: Int32
        repeat { count = poll(&entry, 1, milliseconds) } while count < 0 && errno == EINTR
        continuation.resume(returning: count > 0)
      }
    }
  }

  func halfClose() { shutdown(descriptor, Int32(SHUT_WR)) }

  /// Closes so that the server gets a reset.
  func reset() {
    var now = linger(l_onoff: 1, l_linger: 0)
    setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &now, socklen_t(MemoryLayout<linger>.size))
    close()
  }

  /// Sends all bytes; a server that has closed is no failure here, since its answer is what tests look at.
  func send(_ bytes: [UInt8]) async {
    var offset = 0
    while offset < bytes.count {
      let sent = bytes[offset...].withUnsafeBytes {
        Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL | MSG_DONTWAIT))
      }
      if sent > 0 {
        offset += sent
      } else {
        guard errno == EAGAIN, await isReady(for: POLLOUT) else { return }
      }
    }
  }

  func send(_ text: String) async { await send(Array(text.utf8)) }

  /// Reads one answer, by its Content-Length.
  /// - Parameter isHead: the answer has no body whatever it says.
  func answer(isHead: Bool = false) async throws -> Answer {
    let head = try await bytes(until: [13, 10, 13, 10])
    let lines = String(decoding: head, as: UTF8.self).split(separator: "\r\n")
    guard let first = lines.first, first.hasPrefix("HTTP/1.1 "), let status = Int(first.dropFirst(9).prefix(3)) else {
      throw Failure(description: "no status line: \(lines)")
    }
    var headers: [String: String] = [:]
    for line in lines.dropFirst() {
      guard let colon = line.firstIndex(of: ":") else { throw Failure(description: "no field: \(line)") }
      headers[line[..<colon].lowercased()] = String(line[line.index(colon, offsetBy: 2)...])
    }
    let length = isHead ? 0 : Int(headers["content-length"] ?? "0")!
    while received.count < length { try await receive() }
    let body = Array(received[..<length])
    received.removeFirst(length)
    return Answer(status: status, headers: headers, body: body)
  }

  /// Whether the server closes now, without another byte; a reset counts too.
  func isAtEnd() async throws -> Bool {
    guard received.isEmpty else { return false }
    let count = try await read(1)
    return count <= 0
  }

  /// All bytes up to the end.
  func rest() async throws -> [UInt8] {
    while try await !isAtEnd() {
      try? await receive()
      if received.isEmpty { break }
      rested += received
      received = []
    }
    defer { rested = [] }
    return rested
  }
  private var rested: [UInt8] = []

  private func bytes(until end: [UInt8]) async throws -> [UInt8] {
    var searched = 0
    while true {
      if received.count >= end.count {
        for start in searched...(received.count - end.count) where Array(received[start..<start + end.count]) == end {
          let found = Array(received[..<start])
          received.removeFirst(start + end.count)
          return found
        }
        searched = received.count - end.count + 1
      }
      try await receive()
    }
  }

  private func receive() async throws {
    let count = try await read(65536)
    guard count > 0 else {
      let text = String(decoding: received, as: UTF8.self)
      throw Failure(description: count == 0 ? "the server closed after: \(text)" : "recv: errno \(errno)")
    }
  }

  /// Takes over what has arrived, or waits for it.
  /// - Returns: what recv(2) says: how many bytes, 0 at the end, -1 for an error.
  private func read(_ limit: Int) async throws -> Int {
    var chunk = [UInt8](repeating: 0, count: limit)
    while true {
      let count = recv(descriptor, &chunk, limit, Int32(MSG_DONTWAIT))
      if count < 0, errno == EAGAIN {
        guard await isReady(for: POLLIN) else {
          throw Failure(description: "the server neither answered nor closed within \(Self.patience / 1000) s")
        }
        continue
      }
      if count > 0 { received += chunk[..<count] }
      return count
    }
  }
}
