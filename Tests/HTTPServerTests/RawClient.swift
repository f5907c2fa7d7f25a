// A client that speaks bytes, over a blocking socket of its own: nothing of the code under test is in it.
import Glibc
import Testing

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

  private var descriptor: Int32
  private var received: [UInt8] = []

  /// - Parameter receiveBuffer: the socket's receive buffer in bytes, small to let a server meet a slow reader.
  init(port: Int, receiveBuffer: Int32? = nil) throws {
    descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    guard descriptor >= 0 else { throw Failure(description: "socket: \(errno)") }
    if var size = receiveBuffer {
      setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &size, socklen_t(MemoryLayout<Int32>.size))
    }
    var limit = timeval(tv_sec: 10, tv_usec: 0)
    setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
    setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
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
  func isReadable(withinMilliseconds time: Int32) -> Bool {
    var entry = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
    return poll(&entry, 1, time) > 0
  }

  func halfClose() { shutdown(descriptor, Int32(SHUT_WR)) }

  /// Closes so that the server gets a reset.
  func reset() {
    var now = linger(l_onoff: 1, l_linger: 0)
    setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &now, socklen_t(MemoryLayout<linger>.size))
    close()
  }

  /// Sends all bytes; a server that has closed is no failure here, since its answer is what tests look at.
  func send(_ bytes: [UInt8]) {
    var offset = 0
    while offset < bytes.count {
      let sent = bytes[offset...].withUnsafeBytes {
        Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
      }
      guard sent > 0 else { return }
      offset += sent
    }
  }

  func send(_ text: String) { send(Array(text.utf8)) }

  /// Reads one answer, by its Content-Length.
  /// - Parameter isHead: the answer has no body whatever it says.
  func answer(isHead: Bool = false) throws -> Answer {
    let head = try bytes(until: [13, 10, 13, 10])
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
    while received.count < length { try receive() }
    let body = Array(received[..<length])
    received.removeFirst(length)
    return Answer(status: status, headers: headers, body: body)
  }

  /// Whether the server closes now, without another byte; a reset counts too.
  func isAtEnd() throws -> Bool {
    guard received.isEmpty else { return false }
    var byte: UInt8 = 0
    let count = recv(descriptor, &byte, 1, 0)
    if count < 0, errno == EAGAIN { throw Failure(description: "the server did not close in time") }
    if count > 0 { received.append(byte) }
    return count <= 0
  }

  /// All bytes up to the end.
  func rest() throws -> [UInt8] {
    while try !isAtEnd() {
      try? receive()
      if received.isEmpty { break }
      rested += received
      received = []
    }
    defer { rested = [] }
    return rested
  }
  private var rested: [UInt8] = []

  private func bytes(until end: [UInt8]) throws -> [UInt8] {
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
      try receive()
    }
  }

  private func receive() throws {
    var chunk = [UInt8](repeating: 0, count: 65536)
    let count = recv(descriptor, &chunk, chunk.count, 0)
    guard count > 0 else {
      let text = String(decoding: received, as: UTF8.self)
      throw Failure(description: count == 0 ? "the server closed after: \(text)" : "recv: errno \(errno)")
    }
    received += chunk[..<count]
  }
}
